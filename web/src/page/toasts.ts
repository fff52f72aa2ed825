/** News for everyone in the game, and notifications, at the edge of the page for a few seconds. At most four at once; the oldest goes. */
import { el } from "./dom";

const SHOWN_MAX = 4;
const SHOWN_MS = 7_000;

export class Toasts {
  constructor(private readonly region: HTMLElement) {}

  say(title: string, text: string): void {
    const toast = el(
      "div",
      { class: "toast", "data-testid": "toast" },
      el("strong", {}, title),
      el("span", {}, text),
    );
    this.region.append(toast);
    while (this.region.childElementCount > SHOWN_MAX) this.region.firstElementChild?.remove();
    let leaving = setTimeout(() => toast.remove(), SHOWN_MS);
    // Whoever reads it keeps it.
    toast.addEventListener("pointerenter", () => clearTimeout(leaving));
    toast.addEventListener("pointerleave", () => {
      leaving = setTimeout(() => toast.remove(), SHOWN_MS / 2);
    });
    toast.addEventListener("click", () => toast.remove());
  }
}
