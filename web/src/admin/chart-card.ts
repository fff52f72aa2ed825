/** A chart of the last hour with its legend, and the same as a table, a row a minute, for who opens it. */
import type { OverviewPoint } from "@grandstand/client/gen/grandstand/operator/v1/operator_pb";
import { el, set, setText, svg } from "../page/dom";
import { pathOf, roundUp } from "./chart";
import { clockText, numberText } from "./words";

export interface Line {
  readonly name: string;
  readonly unit: string;
  readonly pick: (point: OverviewPoint) => number | undefined;
}

const HOUR_S = 3_600;
const WIDTH = 600;
const HEIGHT = 150;

export class ChartCard {
  readonly #most = el("span", {});
  readonly #chart = svg("svg", { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, preserveAspectRatio: "none", role: "img", class: "chart" });
  readonly #paths: SVGPathElement[];
  readonly #values: HTMLElement[];
  readonly #table = el("tbody");
  readonly #details: HTMLDetailsElement;
  readonly #empty: HTMLElement;
  #points: readonly OverviewPoint[] = [];

  /** `empty`: what is said where no line has a value. */
  constructor(card: HTMLElement, title: string, private readonly lines: readonly Line[], empty: string) {
    this.#paths = lines.map((_, i) => svg("path", { class: `line l${i}`, fill: "none", "vector-effect": "non-scaling-stroke" }));
    this.#chart.append(svg("path", { class: "grid", d: `M0 ${HEIGHT / 2}H${WIDTH}M0 ${HEIGHT}H${WIDTH}`, "vector-effect": "non-scaling-stroke" }), ...this.#paths);
    this.#values = lines.map(() => el("strong"));
    this.#empty = el("p", { class: "soft", "data-testid": "chart-empty" }, empty);
    const legend = lines.map(({ name }, i) => el("li", {}, el("span", { class: `key l${i}`, "aria-hidden": "true" }), `${name} `, this.#values[i] ?? ""));
    const heads = lines.map(({ name, unit }) => el("th", { scope: "col", class: "number" }, unit ? `${name}, ${unit}` : name));
    const table = el("table", {}, el("caption", {}, title), el("thead", {}, el("tr", {}, el("th", { scope: "col" }, "Time"), ...heads)), this.#table);
    const scroll = el("div", { class: "scroll", tabindex: 0, role: "group", "aria-label": `${title}, as a table` }, table);
    this.#details = el("details", {}, el("summary", {}, "As a table"), scroll);
    this.#details.addEventListener("toggle", () => this.#fillTable());
    card.append(
      this.#empty,
      el("p", { class: "axis", "aria-hidden": "true" }, this.#most),
      this.#chart,
      el("p", { class: "axis", "aria-hidden": "true" }, el("span", {}, "1 h ago"), el("span", {}, "now")),
      el("ul", { class: "legend" }, ...legend),
      this.#details,
    );
  }

  show(points: readonly OverviewPoint[], nowS: number): void {
    this.#points = points;
    const drawn = this.lines.map(({ pick }) => points.map((point) => ({ atS: atS(point), value: pick(point) })));
    const all = drawn.flat().flatMap(({ value }) => value ?? []);
    const most = roundUp(all.reduce((greatest, value) => Math.max(greatest, value), 0));
    const unit = this.lines[0]?.unit ?? "";
    drawn.forEach((samples, i) => {
      set(this.#paths[i] as Element, { d: pathOf(samples, { fromS: nowS - HOUR_S, toS: nowS, most, width: WIDTH, height: HEIGHT }) });
      const last = samples.at(-1)?.value;
      setText(this.#values[i] as Element, last === undefined ? "–" : `${numberText(last)} ${unit}`.trim());
    });
    this.#empty.hidden = all.length > 0;
    setText(this.#most, all.length > 0 ? `${numberText(most)} ${unit}`.trim() : "");
    const said = this.lines.map(({ name }, i) => `${name} ${this.#values[i]?.textContent ?? ""}`).join(", ");
    set(this.#chart, { "aria-label": `Now: ${said}. The highest of the last hour: ${all.length > 0 ? numberText(Math.max(...all.slice(-4_000))) : "unknown"} ${unit}`.trim(), "data-points": points.length });
    if (this.#details.open) this.#fillTable();
  }

  #fillTable(): void {
    if (!this.#details.open) return;
    const minutes = this.#points.filter((point) => atS(point) % 60 === 0).reverse();
    const rows = minutes.map((point) => {
      const cells = this.lines.map(({ pick }) => {
        const value = pick(point);
        return el("td", { class: "number" }, value === undefined ? "–" : numberText(value));
      });
      return el("tr", {}, el("th", { scope: "row" }, clockText(atS(point) * 1000)), ...cells);
    });
    this.#table.replaceChildren(...rows);
  }
}

export function atS(point: OverviewPoint): number {
  return Number(point.at?.seconds ?? 0n);
}
