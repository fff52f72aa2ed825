/** Making and changing elements. Text goes in as text, never as markup. */

type Attributes = Readonly<Record<string, string | number | boolean | undefined>>;

/** An element with attributes (`true`: present, `false` and undefined: absent) and children. */
export function el<K extends keyof HTMLElementTagNameMap>(
  tag: K,
  attributes: Attributes = {},
  ...children: (Node | string)[]
): HTMLElementTagNameMap[K] {
  const element = document.createElement(tag);
  set(element, attributes);
  element.append(...children);
  return element;
}

/** As `el`, in SVG. */
export function svg<K extends keyof SVGElementTagNameMap>(
  tag: K,
  attributes: Attributes = {},
  ...children: Node[]
): SVGElementTagNameMap[K] {
  const element = document.createElementNS("http://www.w3.org/2000/svg", tag);
  set(element, attributes);
  element.append(...children);
  return element;
}

/** A symbol of the page's sprite. */
export function icon(name: string, size: number): SVGSVGElement {
  return svg("svg", { width: size, height: size, "aria-hidden": "true" }, svg("use", { href: `#i-${name}` }));
}

export function hasIcon(name: string): boolean {
  return document.getElementById(`i-${name}`) !== null;
}

/** Sets attributes, touching only what differs. */
export function set(element: Element, attributes: Attributes): void {
  for (const [name, value] of Object.entries(attributes)) {
    if (value === undefined || value === false) element.removeAttribute(name);
    else {
      const text = value === true ? "" : String(value);
      if (element.getAttribute(name) !== text) element.setAttribute(name, text);
    }
  }
}

/** Sets the text, unless it is that already: screen readers hear a status only when it changes. */
export function setText(element: Element, text: string): void {
  if (element.textContent !== text) element.textContent = text;
}

/** An element of index.html. */
export function byId<T extends HTMLElement = HTMLElement>(id: string): T {
  const element = document.getElementById(id);
  if (!element) throw new Error(`index.html has no element with the id ${id}`);
  return element as T;
}

/** True where the person asked the system for less motion. */
export function prefersStill(): boolean {
  return matchMedia("(prefers-reduced-motion: reduce)").matches;
}
