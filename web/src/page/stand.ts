/** Draws the stand: the crowd in its seats, in the colours of its votes. Decoration; the bars carry the numbers. */
import { el, prefersStill, set, setText, svg } from "./dom";
import type { PollView } from "./model";
import { STAND, seated, seats } from "./seating";
import { shortText } from "./words";

const PLACES = seats();
export const COLOURS = 8;

export class Stand {
  readonly element: HTMLElement;
  readonly #seats: SVGRectElement[];
  readonly #count = el("span", { class: "stand-count" });
  readonly #unit = el("span", { class: "stand-unit" });
  #own = -1;

  constructor() {
    const size = 13;
    const half = size / 2;
    this.#seats = PLACES.map(() => svg("rect", { class: "seat", x: -half, y: -half, width: size, height: size, rx: 4 }));
    const placed = PLACES.map(({ x, y, angle }, i) => {
      const seat = this.#seats[i];
      const turn = `translate(${x.toFixed(2)} ${y.toFixed(2)}) rotate(${(angle - 90).toFixed(2)})`;
      return svg("g", { transform: turn }, ...(seat ? [seat] : []));
    });
    this.element = el(
      "figure",
      { class: "stand", "aria-hidden": "true" },
      svg("svg", { viewBox: `0 0 ${STAND.width} ${STAND.height}` }, ...placed),
      el("p", { class: "stand-total" }, this.#count, this.#unit),
    );
  }

  /** Shows a poll; `own` is the index of the option that has the person's counted vote, or -1. */
  show(poll: PollView, own: number): void {
    const options = seated(
      PLACES,
      poll.options.map((option) => option.votes),
    );
    const mine = own < 0 ? -1 : middle(options, own);
    this.#seats.forEach((seat, i) => {
      const option = options[i] ?? -1;
      const colour = option < 0 ? "seat" : `seat c${option % COLOURS}`;
      set(seat, { class: i === mine ? `${colour} mine` : colour });
    });
    setText(this.#count, shortText(poll.voters));
    setText(this.#unit, poll.voters === 1 ? "vote" : "votes");
    if (mine >= 0 && this.#own < 0) this.wave(mine);
    this.#own = mine;
  }

  /** The crowd rises, from one seat outwards. */
  wave(from: number): void {
    const start = PLACES[from];
    if (!start || prefersStill()) return;
    this.#seats.forEach((seat, i) => {
      const place = PLACES[i];
      if (!place) return;
      const delay = Math.hypot(place.x - start.x, place.y - start.y) * 2.2;
      seat.animate([{ scale: 1 }, { scale: 1.38, offset: 0.4 }, { scale: 1 }], { duration: 460, delay, easing: "ease-out" });
    });
  }
}

/** The seat in the middle of an option's block; its first seats are in the front row. */
function middle(options: readonly number[], own: number): number {
  const block = options.flatMap((option, i) => (option === own ? [i] : []));
  const angles = block.map((i) => PLACES[i]?.angle ?? 0);
  const centre = angles.reduce((sum, angle) => sum + angle, 0) / Math.max(1, angles.length);
  const rows = block.map((i) => PLACES[i]?.row ?? 0);
  const row = Math.round(rows.reduce((sum, it) => sum + it, 0) / Math.max(1, rows.length));
  let best = -1;
  for (const i of block) {
    const place = PLACES[i];
    const known = PLACES[best];
    if (!place) continue;
    const distance = (it: { angle: number; row: number }) => Math.abs(it.angle - centre) + 6 * Math.abs(it.row - row);
    if (!known || distance(place) < distance(known)) best = i;
  }
  return best;
}
