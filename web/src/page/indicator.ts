/** The connection indicator: whether the numbers are live, and how long the person's last vote took. */
import type { Connection } from "@grandstand/client";
import { el, set, setText } from "./dom";
import { waitText } from "./words";

export class Indicator {
  readonly #text: Element;
  readonly #latency: Element;
  #connection: Connection = { phase: "connecting" };

  constructor(private readonly pill: HTMLElement) {
    this.#text = pill.querySelector(".pill-text") ?? pill;
    this.#latency = pill.querySelector(".pill-latency") ?? pill;
  }

  /** The person's last vote was on screen this long after the click. */
  took(ms: number): void {
    const shown = Math.max(1, Math.round(ms));
    set(this.#latency, { "data-ms": shown, title: `Your last vote was on screen ${shown} ms after the click` });
    this.#latency.replaceChildren(el("span", { class: "pill-words" }, "your vote on screen in "), `${shown} ms`);
  }

  show(connection: Connection): void {
    this.#connection = connection;
  }

  /** `behind`: the server still answers with less than is shown. */
  tick(nowMs: number, behind: boolean): void {
    const { phase } = this.#connection;
    const state = phase === "live" && behind ? "behind" : phase;
    set(this.pill, { "data-state": state });
    if (this.#connection.phase === "reconnecting") set(this.pill, { title: this.#connection.why });
    else set(this.pill, { title: undefined });
    setText(this.#text, this.#words(state, nowMs));
  }

  #words(state: string, nowMs: number): string {
    if (this.#connection.phase === "reconnecting") {
      const wait = waitText(this.#connection.retryAtMs, nowMs);
      return wait ? `Reconnecting ${wait}` : "Reconnecting";
    }
    const words: Record<string, string> = {
      connecting: "Connecting",
      live: "Live",
      behind: "Catching up",
      paused: "Paused",
      refused: "Not here",
      ended: "Ended",
      closed: "Ended",
    };
    return words[state] ?? state;
  }
}
