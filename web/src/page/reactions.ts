/**
 * The reaction row: a button for each kind with its live rate, a trace of the last twenty seconds, and
 * what the crowd feels rising over the page.
 */
import { el, hasIcon, icon, set, setText, svg } from "./dom";
import type { KindView, PulseView } from "./model";
import type { Sky } from "./sky";
import { rateText } from "./words";

const SAMPLES = 40;

interface Kind {
  readonly kind: string;
  readonly button: HTMLButtonElement;
  readonly rate: HTMLElement;
  readonly trace: SVGPathElement;
  readonly samples: number[];
  ratePerS: number;
}

export class Reactions {
  readonly #kinds = new Map<string, Kind>();
  readonly #keys = new Map<string, string>();
  #pulseId = "";
  #built = "";

  constructor(
    private readonly dock: HTMLElement,
    private readonly sky: Sky,
    private readonly onTap: (pulseId: string, kind: string) => void,
  ) {}

  show(pulse: PulseView | undefined): void {
    this.dock.hidden = pulse === undefined || pulse.kinds.length === 0;
    document.body.toggleAttribute("data-dock", !this.dock.hidden);
    if (!pulse) return;
    const built = `${pulse.pulseId}/${pulse.kinds.map((it) => it.kind).join()}`;
    if (built !== this.#built) this.#build(pulse, built);
    for (const view of pulse.kinds) this.#fill(view);
  }

  /** Every half second: moves the traces on, and lets the crowd's reactions rise. */
  sample(): void {
    const loudest = Math.max(4, ...[...this.#kinds.values()].flatMap((kind) => kind.samples));
    for (const kind of this.#kinds.values()) {
      kind.samples.push(kind.ratePerS);
      if (kind.samples.length > SAMPLES) kind.samples.shift();
      set(kind.trace, { d: tracePath(kind.samples, loudest) });
      this.sky.feel(kind.kind, kind.ratePerS, kind.button);
    }
  }

  /** The kind that a key stands for. */
  byKey(key: string): string | undefined {
    return this.#keys.get(key.toLowerCase());
  }

  tap(kind: string): void {
    const found = this.#kinds.get(kind);
    if (!found) return;
    this.onTap(this.#pulseId, kind);
    this.sky.rise(kind, found.button);
  }

  #build(pulse: PulseView, built: string): void {
    this.#built = built;
    this.#pulseId = pulse.pulseId;
    this.#kinds.clear();
    this.#keys.clear();
    const buttons = pulse.kinds.map(({ kind }) => {
      const key = [...kind.toLowerCase()].find((letter) => /[a-z]/.test(letter) && !this.#keys.has(letter));
      if (key) this.#keys.set(key, kind);
      return this.#make(kind, key);
    });
    this.dock.replaceChildren(el("div", { class: "dock-row" }, ...buttons));
  }

  #make(kind: string, key: string | undefined): HTMLElement {
    const trace = svg("path", { class: "trace" });
    const made: Kind = {
      kind,
      trace,
      samples: [],
      ratePerS: 0,
      rate: el("span", { class: "rate" }, "0"),
      button: el("button", {
        type: "button",
        class: "reaction",
        "data-testid": "reaction",
        "data-kind": kind,
        "data-key": key?.toUpperCase(),
        "aria-keyshortcuts": key,
      }),
    };
    made.button.append(
      svg("svg", { class: "trace-box", viewBox: `0 0 ${SAMPLES} 20`, preserveAspectRatio: "none", "aria-hidden": "true" }, trace),
      hasIcon(kind) ? el("span", { class: "glyph" }, icon(kind, 30)) : el("span", { class: "glyph glyph-text" }, kind),
      " ",
      el("span", { class: "reaction-meta" }, made.rate, el("span", { class: "per" }, "/s")),
    );
    made.button.addEventListener("click", () => this.tap(kind));
    this.#kinds.set(kind, made);
    return made.button;
  }

  #fill(view: KindView): void {
    const kind = this.#kinds.get(view.kind);
    if (!kind) return;
    kind.ratePerS = view.ratePerS;
    const rate = rateText(view.ratePerS);
    setText(kind.rate, rate);
    set(kind.button, { "aria-label": `${view.kind} ${rate}/s`, "data-rate": view.ratePerS, "data-total": view.total });
  }
}

/** A closed area under the samples, the newest at the right edge. */
function tracePath(samples: readonly number[], loudest: number): string {
  const first = SAMPLES - samples.length;
  const points = samples.map((sample, i) => `L${first + i + 1} ${(20 - (18 * sample) / loudest).toFixed(1)}`);
  return `M${first + 1} 20${points.join("")}L${SAMPLES} 20Z`;
}
