/**
 * What the crowd feels, rising over the page: one glyph for a tap of one's own, and for the crowd's
 * in proportion to the rate. Decoration; nothing moves where less motion is asked for.
 *
 * Bound: ALIVE_MAX glyphs (ALIVE_NARROW_MAX where the page is narrow); what comes beyond is not drawn.
 */
import { el, hasIcon, icon, prefersStill } from "./dom";

const ALIVE_MAX = 36;
/** On a phone they would cover what one came to read. */
const ALIVE_NARROW_MAX = 12;
const NARROW_PX = 640;
/** Of 10 reactions a second 2 rise; at most 5 a second of one kind do. */
const RISING_SHARE = 0.2;
const RISING_MAX_PER_S = 5;

export class Sky {
  readonly #owed = new Map<string, number>();
  #alive = 0;

  constructor(
    private readonly layer: HTMLElement,
    private readonly everyMs: number,
  ) {}

  /** Called every `everyMs` with a kind's rate; lets its share rise from above `from`. */
  feel(kind: string, ratePerS: number, from: Element): void {
    const perS = ratePerS > 0 ? Math.min(RISING_MAX_PER_S, Math.max(0.25, ratePerS * RISING_SHARE)) : 0;
    let owed = (this.#owed.get(kind) ?? 0) + (perS * this.everyMs) / 1000;
    for (; owed >= 1; owed--) this.rise(kind, from, Math.random() * this.everyMs);
    this.#owed.set(kind, ratePerS > 0 ? owed : 0);
  }

  /** Lets one glyph rise. */
  rise(kind: string, from: Element, delay = 0): void {
    if (this.#alive >= (innerWidth < NARROW_PX ? ALIVE_NARROW_MAX : ALIVE_MAX) || document.hidden || prefersStill()) return;
    const box = from.getBoundingClientRect();
    const glyph = hasIcon(kind) ? el("span", {}, icon(kind, 28)) : el("span", { class: "glyph-text" }, kind);
    glyph.style.left = `${box.left + box.width * (0.25 + Math.random() * 0.5)}px`;
    glyph.style.top = `${box.top}px`;
    this.layer.append(glyph);
    this.#alive++;
    const height = Math.min(320, innerHeight * 0.4) * (0.7 + Math.random() * 0.5);
    const sway = (Math.random() - 0.5) * 90;
    const size = 0.7 + Math.random() * 0.5;
    const animation = glyph.animate(
      [
        { transform: `translate(-50%, -10px) scale(${size * 0.4})`, opacity: 0 },
        { transform: `translate(calc(-50% + ${sway * 0.3}px), ${-height * 0.25}px) scale(${size})`, opacity: 0.9, offset: 0.2 },
        { transform: `translate(calc(-50% + ${sway}px), ${-height}px) scale(${size})`, opacity: 0 },
      ],
      { duration: 2_200 + Math.random() * 900, delay, fill: "both", easing: "cubic-bezier(.2, .5, .5, 1)" },
    );
    const leave = () => {
      glyph.remove();
      this.#alive--;
    };
    animation.finished.then(leave, leave);
  }
}
