/**
 * Wires the page: what the server tells goes into the model, what the model says goes on screen.
 *
 * Everything is shown in the task in which it arrived: at most 20 updates a second come, and a
 * frame's wait would be the greater part of the latency.
 */
import { timestampMs } from "@bufbuild/protobuf/wkt";
import { Code } from "@connectrpc/connect";
import type { Announcement } from "@grandstand/client/gen/grandstand/notify/v1/notify_pb";
import { type Connection, connect, followPresence, type Session, type Subscription } from "@grandstand/client";
import { ActorDialog } from "./actor-dialog";
import { Ballot } from "./ballot";
import { Bell } from "./bell";
import { BoardCard } from "./board-card";
import { Bursts } from "./bursts";
import { CatalogWatch } from "./catalog-watch";
import { claimsOf } from "./claims";
import { Credentials, type Issued, type Standing } from "./credentials";
import { byId, set, setText } from "./dom";
import { Earlier } from "./earlier";
import { nothingYet, unknownGame } from "./empty";
import { Indicator } from "./indicator";
import { GameModel, type PollView } from "./model";
import { PollCard } from "./poll-card";
import { Reactions } from "./reactions";
import { Sky } from "./sky";
import { browserStorage, tabStorage } from "./storage";
import { Toasts } from "./toasts";
import { guestWaitText } from "./words";

const TICK_MS = 250;
const SAMPLE_MS = 500;
const BOARDS_MAX = 3;
const LIVE_POLLS_MAX = 4;
/** How long the first stream waits to know whose inbox it brings; later that takes another stream. */
const ACTOR_PATIENCE_MS = 250;

export class App {
  readonly #model: GameModel;
  readonly #session: Session;
  readonly #subscription: Subscription;
  readonly #catalog: CatalogWatch;
  readonly #indicator = new Indicator(byId("connection"));
  readonly #toasts = new Toasts(byId("toasts"));
  readonly #bell: Bell;
  readonly #earlier = new Earlier(byId("earlier"), byId("earlier-list"));
  readonly #reactions: Reactions;
  readonly #bursts = new Map<string, Bursts>();
  readonly #storage = browserStorage();
  readonly #credentials: Credentials;
  #ballot: Ballot;
  #cards: PollCard[] = [];
  #boards: BoardCard[] = [];
  #unknown: string | undefined;
  #named = false;

  /** `token`: what the page was given; undefined for a guest. */
  constructor(server: string, gameId: string, token: string | undefined) {
    const stand = connect(server, (acts, renews) => this.#credentials.source(acts, renews));
    this.#model = new GameModel(gameId);
    this.#session = stand.session();
    this.#ballot = this.#newBallot("");
    const issue = async (guest?: string): Promise<Issued> => {
      const { token, actorId, expiresAt } = await stand.guest(guest);
      const lifeMs = claimsOf(token)?.lifeMs ?? (expiresAt ? timestampMs(expiresAt) - Date.now() : 0);
      return { token, actorId, lifeMs };
    };
    this.#credentials = new Credentials(tabStorage(), issue, (standing) => this.#onStanding(standing));
    this.#credentials.begin(token);
    this.#reactions = new Reactions(byId("dock"), new Sky(byId("sky"), SAMPLE_MS), (pulseId, kind) => this.#react(pulseId, kind));
    this.#bell = new Bell(
      async (notificationIds, all) => {
        if (notificationIds.length > 0) await stand.inbox.acknowledge(notificationIds);
        if (all) await stand.inbox.acknowledgeUpTo((await stand.inbox.list({ pageSize: 1 })).cursor);
      },
      (pageToken) => stand.inbox.list({ watchedGameId: gameId, pageToken }),
      () => this.#subscription.clock.at(performance.now()) ?? Date.now(),
    );
    this.#subscription = stand.subscribe({
      gameId,
      topics: () => (this.#credentials.standing.kind === "acts" ? ["*", "inbox"] : ["*"]),
      after: Promise.race([this.#credentials.known(), new Promise((resolve) => setTimeout(resolve, ACTOR_PATIENCE_MS))]),
      positions: () => this.#ballot.unseen(),
      onTopics: (changed, atMs) => this.#onTopics(changed, atMs),
      onAnnouncement: (announcement) => this.#onAnnouncement(announcement),
      onNotification: ({ title, text }) => this.#bell.isOpen || this.#toasts.say(title, text),
      onConnection: (connection) => this.#onConnection(connection),
    });
    followPresence(this.#subscription);
    this.#catalog = new CatalogWatch(
      () => stand.game(gameId),
      (answer) => {
        this.#model.takeCatalog(answer);
        this.#named = true;
        this.#unknown = undefined;
        if (this.#subscription.connection.phase === "refused") this.#subscription.open();
        this.#show();
      },
      (message) => this.#onUnknown(message),
    );
    this.#catalog.refresh();
    const dialog = new ActorDialog(() => this.#credentials.askForGuest());
    byId("actor").addEventListener("click", () => dialog.show(this.#credentials.standing));
    document.addEventListener("keydown", (event) => this.#onKey(event));
    setInterval(() => this.#tick(), TICK_MS);
    setInterval(() => this.#reactions.sample(), SAMPLE_MS);
    this.#show();
  }

  #newBallot(actorId: string): Ballot {
    const labelOf = (pollId: string, optionId: string) =>
      this.#polls().find((poll) => poll.pollId === pollId)?.options.find((option) => option.optionId === optionId)?.label ?? optionId;
    const ballot: Ballot = new Ballot(this.#session, this.#model.gameId, actorId, this.#storage, labelOf, (_, vote) => {
      // A vote made under an earlier name may still be answered.
      if (this.#ballot !== ballot) return;
      if (vote.state === "counted" && vote.tookMs !== undefined) this.#indicator.took(vote.tookMs);
      this.#showPolls();
      if (vote.code === Code.Unauthenticated) this.#credentials.refused(vote.code, vote.words?.detail ?? "");
    });
    return ballot;
  }

  /** A token is given while the page stands. */
  take(token: string): void {
    this.#credentials.take(token);
  }

  #onStanding(standing: Standing): void {
    const actorId = standing.kind === "acts" ? standing.credential.actorId : "";
    const before = this.#ballot.actorId;
    setText(byId("actor"), actorId || (standing.kind === "watches" ? "Watching" : "…"));
    set(byId("actor"), { "aria-label": actorId ? `You are ${actorId}` : "Who you are", title: "Who you are here" });
    const text = standing.kind === "watches" ? standing.why : standing.kind === "asking" ? guestWaitText(standing.waitMs) : "";
    const notice = byId("notice");
    notice.hidden = text === "";
    setText(notice, text);
    if (standing.kind === "asking" || actorId === before) return;
    this.#ballot = this.#newBallot(actorId);
    if (actorId) this.#session.warm(actorId).catch(() => undefined); // The first vote asks again, and says what is wrong.
    if (this.#subscription) {
      this.#subscription.reopen();
      this.#show();
    }
    if (before && actorId) this.#toasts.say("Hello", `You now play as ${actorId}.`);
  }

  /** A click, or its key. It waits for the server to say who this is; that is known before the first poll is shown. */
  #cast(pollId: string, optionId: string, atMs: number): void {
    if (this.#credentials.standing.kind !== "asking") return this.#ballot.cast(pollId, optionId, atMs);
    void this.#credentials.known().then(() => this.#ballot.cast(pollId, optionId, atMs));
  }

  #onTopics(changed: readonly string[], atMs: number): void {
    this.#show(changed);
    for (const topic of changed) {
      if (topic.startsWith("poll/")) this.#ballot.saw(topic.slice(5), this.#subscription.cache.states.get(topic)?.cursor, atMs);
    }
    this.#catalog.unnamed(this.#model.unnamed(this.#subscription.cache.states));
  }

  #onAnnouncement(announcement: Announcement): void {
    this.#model.takeAnnouncement(announcement);
    const { news } = announcement;
    if (news.case === "pollOpened") this.#toasts.say("New poll", news.value.question);
    if (news.case === "pollClosed") this.#toasts.say("Poll closed", news.value.question);
    if (news.case === "boardOpened") this.#toasts.say("New leaderboard", news.value.title);
    if (news.case === "boardClosed") this.#toasts.say("Leaderboard closed", news.value.title);
    this.#show();
  }

  #onConnection(connection: Connection): void {
    this.#indicator.show(connection);
    if (connection.phase === "refused") {
      if (connection.code === Code.NotFound || connection.code === Code.InvalidArgument) this.#onUnknown(connection.message);
      if (connection.code === Code.Unauthenticated || connection.code === Code.PermissionDenied) {
        this.#credentials.refused(connection.code, connection.message);
        this.#subscription.open();
        return;
      }
      this.#catalog.refresh();
    }
    this.#tick();
  }

  #onUnknown(message: string): void {
    this.#unknown = message;
    this.#show();
  }

  #react(pulseId: string, kind: string): void {
    const bursts =
      this.#bursts.get(pulseId) ??
      new Bursts((it, count) =>
        this.#session.react(this.#model.gameId, "", pulseId, it, count).then(
          () => undefined,
          () => undefined, // A reaction is shed, never a reason to interrupt; the indicator tells of a lost connection.
        ),
      );
    this.#bursts.set(pulseId, bursts);
    bursts.tap(kind);
  }

  #onKey(event: KeyboardEvent): void {
    if (event.ctrlKey || event.metaKey || event.altKey || event.repeat || event.defaultPrevented) return;
    if (event.target instanceof HTMLInputElement || document.querySelector("dialog[open]")) return;
    if (/^[1-9]$/.test(event.key)) {
      const focused = this.#cards.find((card) => card.element.contains(document.activeElement));
      (focused ?? this.#cards[0])?.choose(Number(event.key) - 1, event.timeStamp);
      return;
    }
    const kind = this.#reactions.byKey(event.key);
    if (kind !== undefined) this.#reactions.tap(kind);
  }

  #tick(): void {
    const nowMs = performance.now();
    this.#credentials.tick();
    this.#indicator.tick(nowMs, this.#subscription.cache.behind.size > 0);
    for (const card of this.#cards) card.tick(this.#subscription.clock.at(nowMs));
  }

  #polls(): PollView[] {
    return this.#model.polls(this.#subscription.cache.states);
  }

  /** Shows everything, or what these topics touch. */
  #show(changed?: readonly string[]): void {
    const touches = (kind: string) => changed === undefined || changed.some((topic) => topic.startsWith(kind));
    const states = this.#subscription.cache.states;
    if (changed === undefined) {
      setText(byId("title"), this.#model.title);
      document.title = `${this.#model.title} · Grandstand`;
    }
    if (touches("poll/")) this.#showPolls();
    if (touches("board/")) this.#showBoards();
    if (touches("inbox")) {
      const inbox = states.get("inbox")?.value;
      this.#bell.show(this.#credentials.standing.kind === "acts", inbox?.case === "inbox" ? inbox.value : undefined);
    }
    if (touches("pulse/")) this.#reactions.show(this.#model.pulses(states)[0]);
  }

  #showPolls(): void {
    const polls = this.#polls();
    // The newest poll stays in front after it closed, until the next one opens.
    const open = polls.filter((poll) => poll.phase === "open");
    const shown = (open.length > 0 ? open : polls.slice(0, 1)).slice(0, LIVE_POLLS_MAX);
    const cards = shown.map((poll, i) => this.#card(poll.pollId, i === 0));
    if (cards.length !== this.#cards.length || cards.some((card, i) => card !== this.#cards[i])) {
      this.#cards = cards;
      byId("polls").replaceChildren(...cards.map((card) => card.element));
    }
    cards.forEach((card, i) => {
      const poll = shown[i];
      if (poll) card.show(poll, this.#ballot.get(poll.pollId));
    });
    this.#earlier.show(polls.filter((poll) => !shown.includes(poll)));
    this.#showEmpty(polls.length === 0);
    this.#tick();
  }

  #card(pollId: string, front: boolean): PollCard {
    const known = this.#cards.find((card) => card.pollId === pollId && card.hasStand === front);
    return known ?? new PollCard(pollId, front, (poll, option, atMs) => this.#cast(poll, option, atMs));
  }

  #showBoards(): void {
    const all = this.#model.boards(this.#subscription.cache.states);
    const open = all.filter((board) => board.phase === "open");
    const boards = (open.length > 0 ? open : all.slice(0, 1)).slice(0, BOARDS_MAX);
    const cards = boards.map((board) => this.#boards.find((card) => card.boardId === board.boardId) ?? new BoardCard(board.boardId));
    if (cards.length !== this.#boards.length || cards.some((card, i) => card !== this.#boards[i])) {
      this.#boards = cards;
      byId("boards").replaceChildren(...cards.map((card) => card.element));
    }
    cards.forEach((card, i) => {
      const board = boards[i];
      if (board) card.show(board, this.#session.shownAs || this.#ballot.actorId);
    });
  }

  #showEmpty(noPolls: boolean): void {
    const empty = byId("empty");
    const state = this.#unknown !== undefined ? "unknown" : noPolls && this.#named ? "quiet" : "";
    set(document.body, { "data-empty": state || undefined });
    empty.hidden = state === "";
    if (empty.getAttribute("data-state") === state) return;
    set(empty, { "data-state": state });
    empty.replaceChildren(...(state === "unknown" ? unknownGame(this.#model.gameId, this.#unknown ?? "") : state === "quiet" ? nothingYet() : []));
  }
}
