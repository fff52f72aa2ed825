/** One game: its results as they move, its polls to close, and a form that opens another. */
import type { Client } from "@connectrpc/connect";
import { ConnectError } from "@connectrpc/connect";
import type { CatalogService } from "@grandstand/client/gen/grandstand/catalog/v1/catalog_pb";
import type { Grandstand, Subscription } from "@grandstand/client";
import { byId, el, setText } from "../page/dom";
import { type BoardView, GameModel, type PollView } from "../page/model";
import { numberText, optionsOf, pollIdOf } from "./words";

const OPTIONS = { timeoutMs: 8_000 };
const BOARD_ROWS_MAX = 10;

export class GamePanel {
  readonly #panel = byId("game");
  readonly #title = el("h2", { id: "game-title", "data-testid": "game-title" });
  readonly #status = el("p", { class: "soft", role: "status", "data-testid": "game-status" });
  readonly #polls = el("div", { class: "polls" });
  readonly #boards = el("div", { class: "polls" });
  readonly #form: HTMLFormElement;
  readonly #said = el("p", { role: "status", "data-testid": "opened" });
  #model: GameModel | undefined;
  #subscription: Subscription | undefined;
  #asked = 0;

  constructor(private readonly stand: Grandstand, private readonly catalog: Client<typeof CatalogService>) {
    this.#form = el(
      "form",
      { class: "open-poll", "data-testid": "open-poll", "aria-labelledby": "open-title" },
      el("h3", { id: "open-title" }, "Open a poll"),
      el("label", { for: "question" }, "Question"),
      el("input", { id: "question", required: true, maxlength: 200, autocomplete: "off" }),
      el("label", { for: "options" }, "Options, one a line, 2 to 64"),
      el("textarea", { id: "options", rows: 4, required: true }),
      el("label", { class: "check" }, el("input", { id: "changeable", type: "checkbox" }), " A vote may be changed"),
      el("p", { class: "row" }, el("button", { class: "solid", type: "submit" }, "Open the poll")),
    );
    this.#form.addEventListener("submit", (event) => {
      event.preventDefault();
      void this.#open();
    });
    this.#panel.append(this.#title, this.#status, this.#polls, this.#boards, this.#form, this.#said);
  }

  /** Shows a game from now on, in place of the one before. */
  show(gameId: string): void {
    this.close();
    this.#panel.hidden = false;
    const model = new GameModel(gameId);
    this.#model = model;
    setText(this.#title, gameId);
    setText(this.#said, "");
    this.#subscription = this.stand.subscribe({
      gameId,
      topics: ["poll/*", "board/*"],
      maxUpdatesPerS: 4,
      onTopics: () => {
        if (this.#subscription && model.unnamed(this.#subscription.cache.states).length > 0) void this.#learn(model);
        this.#show();
      },
      onAnnouncement: (announcement) => {
        model.takeAnnouncement(announcement);
        this.#show();
      },
      onConnection: (connection) => {
        if (connection.phase === "live") setText(this.#status, `${gameId}, live`);
        if (connection.phase === "reconnecting") setText(this.#status, `${gameId}, reconnecting: ${connection.why}`);
        if (connection.phase === "refused") setText(this.#status, `${gameId}: ${connection.message}`);
        if (connection.phase === "ended") setText(this.#status, `${gameId} has ended; its results are final`);
        this.#form.hidden = connection.phase === "ended" || connection.phase === "refused";
      },
    });
    void this.#learn(model);
    this.#show();
    this.#panel.focus();
    this.#panel.scrollIntoView({ block: "nearest" });
  }

  close(): void {
    this.#subscription?.close();
    this.#subscription = undefined;
    this.#panel.hidden = true;
    this.#model = undefined;
  }

  /** At most once a second: a topic that nobody names is asked for with the next change. */
  async #learn(model: GameModel): Promise<void> {
    if (performance.now() < this.#asked) return;
    this.#asked = performance.now() + 1_000;
    try {
      model.takeCatalog(await this.stand.game(model.gameId));
    } catch (reason) {
      if (this.#model === model) setText(this.#status, ConnectError.from(reason).rawMessage);
    }
    this.#show();
  }

  #show(): void {
    const model = this.#model;
    if (!model) return;
    const states = this.#subscription?.cache.states ?? new Map();
    setText(this.#title, model.title);
    // A button that has the focus keeps it.
    const focused = document.activeElement?.getAttribute("data-close");
    const polls = model.polls(states).map((poll) => this.#poll(poll));
    this.#polls.replaceChildren(...(polls.length > 0 ? polls : [el("p", { class: "soft" }, "No poll yet.")]));
    this.#boards.replaceChildren(...model.boards(states).map(boardCard));
    if (focused) this.#polls.querySelector<HTMLElement>(`[data-close="${CSS.escape(focused)}"]`)?.focus();
  }

  #poll(poll: PollView): HTMLElement {
    const rows = poll.options.map(({ optionId, label, votes, percent }) =>
      el(
        "tr",
        { "data-testid": "option", "data-option-id": optionId, "data-votes": votes },
        el("th", { scope: "row" }, el("bdi", {}, label)),
        el("td", { class: "number" }, numberText(votes)),
        el("td", { class: "number" }, `${percent} %`),
      ),
    );
    const card = el(
      "article",
      { "data-testid": "poll", "data-poll-id": poll.pollId, "data-phase": poll.phase },
      el("h3", {}, el("bdi", {}, poll.question)),
      el("p", { class: "soft" }, `${poll.phase}, ${numberText(poll.voters)} voters, ${poll.pollId}`),
      el("table", {}, el("caption", { class: "hidden" }, "Votes"), el("thead", { class: "hidden" }, heads("Option", "Votes", "Share")), el("tbody", {}, ...rows)),
    );
    if (poll.phase === "open") {
      const close = el("button", { type: "button", class: "quiet", "data-close": poll.pollId, "data-testid": "close-poll", "aria-label": `Close ${poll.question}` }, "Close");
      close.addEventListener("click", () => void this.#close(poll));
      card.append(close);
    }
    return card;
  }

  async #close({ pollId, question }: PollView): Promise<void> {
    const dialog = byId<HTMLDialogElement>("confirm");
    setText(byId("confirm-text"), `“${question}” takes no more votes then, and cannot be opened again.`);
    dialog.returnValue = "no";
    dialog.showModal();
    await new Promise((resolve) => dialog.addEventListener("close", resolve, { once: true }));
    if (dialog.returnValue !== "yes" || !this.#model) return;
    const gameId = this.#model.gameId;
    await this.#say(() => this.catalog.closePoll({ gameId, pollId }, OPTIONS), `“${question}” closes.`);
  }

  async #open(): Promise<void> {
    const model = this.#model;
    if (!model) return;
    const question = byId<HTMLInputElement>("question").value.trim();
    const options = optionsOf(byId<HTMLTextAreaElement>("options").value);
    if (options.length < 2) {
      setText(this.#said, `${options.length} option${options.length === 1 ? "" : "s"} given; a poll has 2 to 64, one a line.`);
      return;
    }
    const poll = {
      gameId: model.gameId,
      pollId: pollIdOf(question, Date.now().toString(36)),
      question,
      options,
      changeable: byId<HTMLInputElement>("changeable").checked,
    };
    if (await this.#say(() => this.catalog.openPoll({ poll }, OPTIONS), `“${question}” is open.`)) this.#form.reset();
    await this.#learn(model);
  }

  async #say(call: () => Promise<unknown>, done: string): Promise<boolean> {
    try {
      await call();
      setText(this.#said, done);
      return true;
    } catch (reason) {
      setText(this.#said, ConnectError.from(reason).rawMessage);
      return false;
    }
  }
}

function boardCard({ boardId, title, phase, rows, actors }: BoardView): HTMLElement {
  const items = rows.slice(0, BOARD_ROWS_MAX).map(({ rank, name, points }) =>
    el("tr", {}, el("td", { class: "number" }, String(rank)), el("th", { scope: "row" }, el("bdi", {}, name)), el("td", { class: "number" }, numberText(points))),
  );
  return el(
    "article",
    { "data-testid": "board", "data-board-id": boardId },
    el("h3", {}, el("bdi", {}, title)),
    el("p", { class: "soft" }, `${phase}, ${numberText(actors)} actors, ${boardId}`),
    el("table", {}, el("caption", { class: "hidden" }, "The top"), el("thead", { class: "hidden" }, heads("Rank", "Actor", "Points")), el("tbody", {}, ...items)),
  );
}

function heads(...names: string[]): HTMLTableRowElement {
  return el("tr", {}, ...names.map((name) => el("th", { scope: "col" }, name)));
}
