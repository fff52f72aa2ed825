/**
 * Watches a game: one stream after the other, for as long as it takes, never going back (I5).
 *
 * A token that expires is renewed: the next stream asks the token's source for another one, and stands before the old
 * stream ends.
 *
 * The I/O around StateCache (the states shown) and StreamHandover (when to open and end streams; on Drain the next
 * stream is open before the old one ends). A stream that is silent for `silenceMs` counts as dead: the server
 * sends at least every 10 s, and a lost radio link is not reported otherwise.
 *
 * Handlers are called synchronously, one at a time, in the order in which states are shown. `onTopics` is called
 * when the cache already holds the new states.
 *
 * Bound: nothing is queued here. A reader too slow for the stream is pushed back on by the browser
 * and conflated by the gateway (I8).
 */
import { timestampDate, timestampMs } from "@bufbuild/protobuf/wkt";
import { type Client, Code, ConnectError, createContextValues } from "@connectrpc/connect";
import type { Position } from "./gen/grandstand/event/v1/event_pb.js";
import type { GatewayService, SubscribeResponse } from "./gen/grandstand/gateway/v1/gateway_pb.js";
import type { Announcement, Notification } from "./gen/grandstand/notify/v1/notify_pb.js";
import { ServerClock } from "./clock.js";
import { DeltaMismatch } from "./delta.js";
import { Notifications } from "./notifications.js";
import { retryAfterMs } from "./retry-info.js";
import { StateCache } from "./state-cache.js";
import { StreamHandover } from "./stream-handover.js";
import { RENEWS } from "./token.js";

/** How the subscription stands. Times are monotonic, as of performance.now(). */
export type Connection =
  | { readonly phase: "connecting" }
  | { readonly phase: "live" }
  | { readonly phase: "reconnecting"; readonly retryAtMs: number; readonly why: string }
  | { readonly phase: "paused" }
  | { readonly phase: "refused"; readonly code: Code; readonly message: string }
  /** The game has ended: its results are final, and no stream is opened any more. */
  | { readonly phase: "ended"; readonly endedAt: Date | undefined }
  | { readonly phase: "closed" };

export interface SubscriptionOptions {
  readonly gameId: string;
  /** Such as "poll/mvp", "poll/*"; none means all. A function is asked each time a stream opens. */
  readonly topics?: readonly string[] | (() => readonly string[]);
  /** The first stream is opened when this has settled. */
  readonly after?: Promise<unknown>;
  readonly maxUpdatesPerS?: number;
  readonly silenceMs?: number;
  readonly random?: () => number;
  /** The read barrier (I6): asked each time a stream opens; its Snapshot includes these. At most 64. */
  readonly positions?: () => readonly Position[];
  readonly onTopics?: (changed: readonly string[], atMs: number) => void;
  readonly onAnnouncement?: (announcement: Announcement) => void;
  /**
   * Each notification that comes while one watches, once: an announced notice, and what is new in the topic "inbox"
   * if that is watched.
   */
  readonly onNotification?: (notification: Notification) => void;
  readonly onConnection?: (connection: Connection) => void;
}

/** How often the gateway sends updates. */
export interface Rendition {
  /** At most. */
  readonly updatesPerS: number;
  /** Why it is not what was asked for, for people; "" where nothing was said. */
  readonly reason: string;
}

/** One call. */
interface Stream {
  readonly abort: AbortController;
  /** The topics of which it was said what was seen. */
  readonly barrier: boolean;
}

const CURSORS_MAX = 64;

export class Subscription {
  readonly cache = new StateCache();
  readonly clock = new ServerClock();
  readonly #handover: StreamHandover;
  readonly #silenceMs: number;
  readonly #streams = new Map<number, Stream>();
  readonly #notifications = new Notifications();
  #connection: Connection = { phase: "connecting" };
  #rendition: Rendition | undefined;
  #mismatches = 0;
  #next: ReturnType<typeof setTimeout> | undefined;

  constructor(
    private readonly gateway: Client<typeof GatewayService>,
    private readonly options: SubscriptionOptions,
  ) {
    this.#handover = new StreamHandover(options.random ?? Math.random);
    this.#silenceMs = options.silenceMs ?? 25_000;
  }

  get connection(): Connection {
    return this.#connection;
  }

  /** As the gateway said last; undefined before it has. */
  get rendition(): Rendition | undefined {
    return this.#rendition;
  }

  /** How often a gateway said that it goes away. */
  get drained(): number {
    return this.#handover.drained;
  }

  /** Number of streams given up because a delta did not fit. */
  get mismatches(): number {
    return this.#mismatches;
  }

  /** Opens the stream now, instead of at the end of a wait, a pause or a refusal. */
  open(): void {
    if (this.#streams.size > 0 || this.#isOver) return;
    void this.#watch();
  }

  /**
   * Another actor watches from now on: ends the stream and opens another one, with the token and the topics of now.
   * Personal topics are forgotten, what else is shown stays.
   */
  reopen(): void {
    const forgotten = this.cache.forgetPersonal();
    this.#notifications.forgetInbox();
    this.#tellTopics(forgotten, performance.now());
    if (this.#streams.size === 0 && this.#next === undefined) return;
    this.#abortAll();
    void this.#watch();
  }

  /** Ends the stream until `open`; the cache stays. */
  pause(): void {
    this.#end({ phase: "paused" });
  }

  /** Ends the subscription for good. */
  close(): void {
    this.#end({ phase: "closed" });
  }

  get #isOver(): boolean {
    return this.#connection.phase === "closed" || this.#connection.phase === "ended";
  }

  #end(connection: Connection): void {
    if (this.#connection.phase === "closed" || (this.#isOver && connection.phase !== "closed")) return;
    this.#abortAll();
    this.#tell(connection);
  }

  #abortAll(): void {
    clearTimeout(this.#next);
    this.#next = undefined;
    for (const { abort } of this.#streams.values()) abort.abort();
    this.#streams.clear();
    this.#handover.reset();
  }

  async #watch(): Promise<void> {
    clearTimeout(this.#next);
    this.#next = undefined;
    const contextValues = createContextValues().set(RENEWS, this.#handover.renews);
    const number = this.#handover.opened();
    const request = this.#request();
    const abort = new AbortController();
    const barrier = request.applied.length + request.cursors.length + request.positions.length > 0;
    const stream: Stream = { abort, barrier };
    this.#streams.set(number, stream);
    if (this.#streams.size === 1 && this.#connection.phase !== "reconnecting") this.#tell({ phase: "connecting" });
    let failure: ConnectError | undefined;
    let watchdog: ReturnType<typeof setTimeout> | undefined;
    const listen = () => {
      clearTimeout(watchdog);
      watchdog = setTimeout(() => abort.abort(), this.#silenceMs);
    };
    listen();
    try {
      for await (const response of this.gateway.subscribe(request, { signal: abort.signal, contextValues })) {
        // Paused, closed or taken over meanwhile: then nobody listens.
        if (!this.#streams.has(number)) return;
        listen();
        this.#hear(number, response);
      }
    } catch (reason) {
      failure = ConnectError.from(reason);
    } finally {
      clearTimeout(watchdog);
    }
    if (!this.#streams.delete(number)) return;
    const silent = abort.signal.aborted;
    const code = silent ? undefined : failure?.code;
    const ending = { code, barrier: stream.barrier, retryAfterMs: silent ? undefined : retryAfterMs(failure) };
    if (this.#handover.ended(number, ending, performance.now()) === "refused" && failure) {
      this.#end({ phase: "refused", code: failure.code, message: failure.rawMessage });
      return;
    }
    this.#goOn(silent ? `nothing heard for ${this.#silenceMs / 1000} s` : (failure?.rawMessage ?? "the server ended the stream"));
  }

  #hear(number: number, response: SubscribeResponse): void {
    const atMs = performance.now();
    if (response.asOf) this.clock.observe(timestampMs(response.asOf), atMs);
    const heard = this.#handover.heard(number, response, atMs);
    if (heard.ends !== undefined) this.#abort(heard.ends);
    if (heard.takesOver) this.cache.begin();
    if (!heard.shows) return;
    try {
      this.#take(response, atMs);
      this.cache.takeApplied(response.applied);
    } catch (reason) {
      if (!(reason instanceof DeltaMismatch)) throw reason;
      this.#mismatches++;
      this.#abort(number);
      this.#handover.mismatched(number, atMs);
      this.#goOn(reason.message);
    }
  }

  #take({ message }: SubscribeResponse, atMs: number): void {
    switch (message.case) {
      case "snapshot": {
        const { topics, updatesPerS } = message.value;
        if (updatesPerS > 0 && updatesPerS !== this.#rendition?.updatesPerS) this.#rendition = { updatesPerS, reason: "" };
        const changed = this.cache.takeSnapshot(topics);
        this.#tell({ phase: "live" });
        this.options.onTopics?.(changed, atMs);
        break;
      }
      case "update":
        this.#tellTopics(this.cache.takeUpdate(message.value.topics, message.value.deltas), atMs);
        break;
      case "personal":
        this.#tellPersonal(this.cache.takePersonal(message.value.topics), atMs);
        break;
      case "announcement":
        this.options.onAnnouncement?.(message.value);
        if (message.value.news.case === "notice") this.#notify(this.#notifications.takeAnnounced(message.value.news.value));
        break;
      case "rendition":
        this.#rendition = { updatesPerS: message.value.updatesPerS, reason: message.value.reason };
        break;
      case "drain":
        this.#goOn("the gateway goes away");
        break;
      case "tokenExpiring":
        this.#goOn("the token expires");
        break;
      case "gameEnded":
        this.#end({ phase: "ended", endedAt: message.value.endedAt && timestampDate(message.value.endedAt) });
        break;
    }
  }

  /** Opens the next stream when that is due; without any, says so. */
  #goOn(why: string): void {
    const opensAtMs = this.#handover.opensAtMs;
    if (opensAtMs === undefined) return;
    clearTimeout(this.#next);
    this.#next = setTimeout(() => void this.#watch(), opensAtMs - performance.now());
    if (this.#streams.size === 0) this.#tell({ phase: "reconnecting", retryAtMs: opensAtMs, why });
  }

  #abort(number: number): void {
    this.#streams.get(number)?.abort.abort();
    this.#streams.delete(number);
  }

  #request() {
    const handsIn = this.#handover.withCursors;
    const { topics = [] } = this.options;
    return {
      gameId: this.options.gameId,
      topics: [...(typeof topics === "function" ? topics() : topics)],
      maxUpdatesPerS: this.options.maxUpdatesPerS ?? 0,
      deltas: true,
      applied: handsIn ? this.cache.applied : [],
      cursors: handsIn ? this.cache.cursors.slice(0, CURSORS_MAX) : [],
      positions: handsIn ? [...(this.options.positions?.() ?? [])] : [],
    };
  }

  #tellPersonal(changed: readonly string[], atMs: number): void {
    this.#tellTopics(changed, atMs);
    const inbox = changed.includes("inbox") ? this.cache.states.get("inbox")?.value : undefined;
    if (inbox?.case === "inbox") this.#notify(this.#notifications.takeInbox(inbox.value));
  }

  #notify(news: readonly Notification[]): void {
    for (const notification of news) this.options.onNotification?.(notification);
  }

  #tellTopics(changed: readonly string[], atMs: number): void {
    if (changed.length > 0) this.options.onTopics?.(changed, atMs);
  }

  #tell(connection: Connection): void {
    if (connection.phase === "live" && this.#connection.phase === "live") return;
    this.#connection = connection;
    this.options.onConnection?.(connection);
  }
}
