/** Earlier polls, compact: the question, who won, and on opening the whole count. */
import { el, set, setText } from "./dom";
import type { PollView } from "./model";
import { COLOURS } from "./stand";
import { votersText, wholeText } from "./words";

const SHOWN_MAX = 8;

export class Earlier {
  readonly #items = new Map<string, { element: HTMLDetailsElement; shown: string }>();

  constructor(
    private readonly section: HTMLElement,
    private readonly list: HTMLElement,
  ) {}

  /** Shows the newest of these polls. */
  show(polls: readonly PollView[]): void {
    const shown = polls.slice(0, SHOWN_MAX);
    this.section.hidden = shown.length === 0;
    const ids = new Set(shown.map((poll) => poll.pollId));
    for (const [id, { element }] of this.#items) {
      if (ids.has(id)) continue;
      element.remove();
      this.#items.delete(id);
    }
    shown.forEach((poll, i) => {
      const element = this.#fill(poll);
      if (this.list.children[i] !== element) this.list.insertBefore(element, this.list.children[i] ?? null);
    });
  }

  #fill(poll: PollView): HTMLElement {
    const attributes = { class: "earlier-poll", "data-testid": "earlier-poll", "data-poll-id": poll.pollId };
    const known = this.#items.get(poll.pollId) ?? { element: el("details", attributes), shown: "" };
    this.#items.set(poll.pollId, known);
    set(known.element, { "data-phase": poll.phase });
    const shown = JSON.stringify(poll);
    if (known.shown === shown) return known.element;
    known.shown = shown;
    known.element.replaceChildren(summary(poll), ...rows(poll));
    return known.element;
  }
}

function summary(poll: PollView): HTMLElement {
  const leaders = poll.options.filter((option) => option.leads);
  const [first] = leaders;
  const outcome =
    first === undefined
      ? "No votes"
      : leaders.length > 1
        ? `Tied: ${leaders.map((option) => option.label).join(", ")}`
        : `${first.label}, ${first.percent}%`;
  const strip = el("span", { class: "strip", "aria-hidden": "true" });
  poll.options.forEach((option, i) => {
    const part = el("span", { class: `c${i % COLOURS}` });
    part.style.flexGrow = String(option.share);
    strip.append(part);
  });
  const question = el("span", { class: "earlier-question" });
  setText(question, poll.question);
  const state = poll.phase === "sealed" ? "final" : poll.phase === "closed" ? "counting" : "open";
  const note = el("span", { class: "earlier-note" }, `${outcome} · ${votersText(poll)} · ${state}`);
  return el("summary", {}, question, strip, note);
}

function rows(poll: PollView): HTMLElement[] {
  return poll.options.map((option, i) =>
    el(
      "p",
      { class: `earlier-row c${i % COLOURS}`, "data-option-id": option.optionId, "data-votes": option.votes },
      el("span", { class: "dot", "aria-hidden": "true" }),
      el("span", {}, option.label),
      el("span", { class: "earlier-count" }, `${wholeText(option.votes)} · ${option.percent}%`),
    ),
  );
}
