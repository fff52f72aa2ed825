/**
 * One poll to vote in: the question, the options as radio buttons with bars, the person's vote.
 *
 * Arrows move between the options without voting, as a vote may be final; Space, Enter, a click or
 * a number key votes. Options stay active after a vote: whether a second one counts is the server's
 * to say, and its answer is shown.
 */
import type { OwnVote } from "./ballot";
import { el, icon, set, setText } from "./dom";
import type { OptionView, PollView } from "./model";
import { COLOURS, Stand } from "./stand";
import { countdownText, votersText, wholeText } from "./words";

/** A vote without an answer for this long is said to be sent again. */
const SLOW_MS = 2_000;

interface OptionRow {
  readonly button: HTMLButtonElement;
  readonly bar: HTMLElement;
  readonly label: HTMLElement;
  readonly badge: HTMLElement;
  readonly percent: HTMLElement;
  readonly votes: HTMLElement;
}

export class PollCard {
  readonly element: HTMLElement;
  readonly #tag = el("span", { class: "tag", "data-testid": "poll-phase" });
  readonly #timer = el("span", { class: "timer", role: "timer", "data-testid": "countdown" });
  readonly #question: HTMLElement;
  readonly #group: HTMLElement;
  readonly #status = el("p", { class: "own-vote", role: "status", "data-testid": "own-vote", "data-state": "none" });
  readonly #foot = el("p", { class: "poll-foot" });
  readonly #voters = el("span", { class: "voters", "data-testid": "voters" });
  readonly #rule = el("span", {});
  readonly #stand: Stand | undefined;
  readonly #rows = new Map<string, OptionRow>();
  #order: readonly string[] = [];
  #poll: PollView | undefined;
  #own: OwnVote | undefined;

  constructor(
    readonly pollId: string,
    withStand: boolean,
    private readonly onVote: (pollId: string, optionId: string, atMs: number) => void,
  ) {
    const titleId = `question-${pollId}`;
    this.#question = el("h1", { id: titleId, class: "question", "data-testid": "question" });
    this.#group = el("div", { class: "options", role: "radiogroup", "aria-labelledby": titleId });
    this.#group.addEventListener("keydown", (event) => this.#onKey(event));
    this.#stand = withStand ? new Stand() : undefined;
    this.#foot.append(this.#voters, this.#rule);
    this.element = el(
      "section",
      { class: "poll", "aria-labelledby": titleId, "data-testid": "poll", "data-poll-id": pollId },
      el("p", { class: "eyebrow" }, this.#tag, this.#timer),
      this.#question,
      el(
        "div",
        { class: "poll-body" },
        ...(this.#stand ? [this.#stand.element] : []),
        this.#group,
        el("div", { class: "ballot-foot" }, this.#status, this.#foot),
      ),
    );
  }

  /** Whether it holds a place for the stand; the first poll does. */
  get hasStand(): boolean {
    return this.#stand !== undefined;
  }

  show(poll: PollView, own: OwnVote | undefined): void {
    this.#poll = poll;
    this.#own = own;
    set(this.element, { "data-phase": poll.phase });
    setText(this.#question, poll.question);
    this.#showOptions(poll, own);
    this.#showOwn(poll, own, performance.now());
    const seated = own?.state === "counted" || own?.state === "refused";
    this.#stand?.show(poll, seated ? poll.options.findIndex((it) => it.optionId === own.standing) : -1);
    set(this.#voters, { "data-voters": poll.voters });
    setText(this.#voters, votersText(poll));
    setText(this.#rule, poll.phase !== "open" ? "" : poll.changeable ? "You can change your vote" : "One vote, final");
  }

  /** Shows the time left; `nowMs` is the server's clock, undefined while it is unknown. */
  tick(nowMs: number | undefined): void {
    const poll = this.#poll;
    if (!poll) return;
    const leftMs = poll.closesAtMs === undefined || nowMs === undefined ? undefined : poll.closesAtMs - nowMs;
    const over = leftMs !== undefined && leftMs <= 0;
    const tags = { open: over ? "Closing" : "Live poll", closed: "Closed", sealed: "Final result" };
    setText(this.#tag, tags[poll.phase]);
    const times = {
      open: leftMs === undefined || over ? "" : `closes in ${countdownText(leftMs)}`,
      closed: "counting the last votes",
      sealed: "",
    };
    setText(this.#timer, times[poll.phase]);
    set(this.#timer, { "data-urgent": poll.phase === "open" && !over && leftMs !== undefined && leftMs <= 10_000 });
    if (this.#own?.state === "sending") this.#showOwn(poll, this.#own, performance.now());
  }

  /** Votes for the option at `index`, from 0, and moves the focus there. False if there is none. */
  choose(index: number, atMs: number): boolean {
    const optionId = this.#order[index];
    if (optionId === undefined || this.#poll?.phase !== "open") return false;
    this.#rows.get(optionId)?.button.focus({ preventScroll: true });
    this.onVote(this.pollId, optionId, atMs);
    return true;
  }

  #showOptions(poll: PollView, own: OwnVote | undefined): void {
    const order = poll.options.map((option) => option.optionId);
    if (order.join() !== this.#order.join()) {
      this.#order = order;
      this.#rows.clear();
      this.#group.replaceChildren(...poll.options.map((option, i) => this.#makeRow(option, i)));
    }
    const checked = own?.state === "refused" ? own.standing : own?.choice;
    const focused = this.#order.find((id) => this.#rows.get(id)?.button === document.activeElement);
    const entry = focused ?? checked ?? this.#order[0];
    for (const option of poll.options) {
      const row = this.#rows.get(option.optionId);
      if (!row) continue;
      const isChecked = option.optionId === checked;
      set(row.button, {
        "aria-checked": String(isChecked),
        "aria-disabled": poll.phase === "open" ? undefined : "true",
        tabindex: option.optionId === entry ? 0 : -1,
        "data-votes": option.votes,
        "data-percent": option.percent,
        "data-leads": option.leads,
        "data-sending": isChecked && own?.state === "sending",
        // The name of a radio button would else read bar, badge and numbers as one word.
        "aria-label": `${option.label}, ${option.percent}%, ${wholeText(option.votes)} votes`,
      });
      row.bar.style.setProperty("--share", option.share.toFixed(4));
      setText(row.label, option.label);
      setText(row.percent, `${option.percent}%`);
      setText(row.votes, wholeText(option.votes));
      const ties = poll.options.filter((it) => it.leads).length > 1;
      setText(row.badge, poll.phase === "sealed" && option.leads ? (ties ? "Tied" : "Winner") : "");
    }
  }

  #makeRow(option: OptionView, index: number): HTMLElement {
    const row: OptionRow = {
      bar: el("span", { class: "bar" }),
      label: el("span", { class: "option-label" }),
      badge: el("span", { class: "badge" }),
      percent: el("span", { class: "percent" }),
      votes: el("span", { class: "votes" }),
      button: el("button", {
        type: "button",
        role: "radio",
        class: `option c${index % COLOURS}`,
        "data-testid": "option",
        "data-option-id": option.optionId,
        "aria-keyshortcuts": index < 9 ? String(index + 1) : undefined,
      }),
    };
    const mark = el("span", { class: "mark-box", "data-key": index < 9 ? index + 1 : undefined }, icon("check", 16));
    row.button.append(row.bar, mark, el("span", { class: "option-text" }, row.label, row.badge), " ", row.percent, " ", row.votes);
    row.button.addEventListener("click", (event) => {
      if (this.#poll?.phase === "open") this.onVote(this.pollId, option.optionId, event.timeStamp);
    });
    this.#rows.set(option.optionId, row);
    return row.button;
  }

  #showOwn(poll: PollView, own: OwnVote | undefined, nowMs: number): void {
    // A closed poll takes no second vote anyway: what stands is what matters.
    const settled = own?.state === "refused" && own.standing !== undefined && poll.phase !== "open";
    const state = settled ? "counted" : (own?.state ?? "none");
    set(this.#status, { "data-state": state });
    const named = (optionId: string | undefined) =>
      `“${poll.options.find((option) => option.optionId === optionId)?.label ?? optionId ?? ""}”`;
    const label = named(settled ? own.standing : own?.choice);
    if (!own) {
      this.#say(poll.phase === "open" ? "Pick one. Your vote is on every screen in a blink." : "You did not vote in this poll.");
    } else if (state === "sending") {
      const slow = nowMs - own.castAtMs > SLOW_MS;
      this.#say(slow ? `No answer yet. Sending your vote for ${label} again; it counts once …` : `Sending your vote for ${label} …`);
    } else if (state === "durable") {
      this.#say(`Your vote for ${label} is stored …`);
    } else if (state === "counted") {
      const took = own.tookMs === undefined ? "" : ` On screen in ${Math.max(1, Math.round(own.tookMs))}\u00a0ms.`;
      this.#say(`Your vote for ${label} is counted.${took}`);
    } else {
      this.#say(own.words?.text ?? "", own.words?.detail, own.resend);
    }
  }

  #say(text: string, detail = "", resend?: () => void): void {
    // A status that is rewritten is read out again.
    const said = `${text}|${detail}|${resend !== undefined}`;
    if (this.#status.getAttribute("data-said") === said) return;
    set(this.#status, { "data-said": said });
    this.#status.replaceChildren(el("span", { class: "own-vote-text" }, text));
    if (detail) this.#status.append(el("span", { class: "own-vote-detail" }, detail));
    if (resend) {
      const button = el("button", { type: "button", class: "quiet", "data-testid": "resend" }, "Send it again");
      button.addEventListener("click", resend);
      this.#status.append(button);
    }
  }

  #onKey(event: KeyboardEvent): void {
    const steps: Record<string, number> = { ArrowDown: 1, ArrowRight: 1, ArrowUp: -1, ArrowLeft: -1 };
    const step = steps[event.key];
    const from = this.#order.findIndex((id) => this.#rows.get(id)?.button === event.target);
    if (step === undefined || from < 0) return;
    event.preventDefault();
    const to = this.#order[(from + step + this.#order.length) % this.#order.length];
    for (const [id, row] of this.#rows) set(row.button, { tabindex: id === to ? 0 : -1 });
    if (to !== undefined) this.#rows.get(to)?.button.focus();
  }
}
