/**
 * Watches a game: one stream at a time, opened again for as long as it takes, never going back (I5).
 *
 * The shell around Screen (what is shown) and Resume (what to do next). A stream that is silent for
 * `silenceMs` is dead, as the server speaks at least every 10 s; a lost radio link tells nobody else.
 *
 * Handlers are called synchronously, one at a time, in the stream's order. `onTopics` is called
 * when the screen already shows the new states.
 *
 * Bound: nothing is queued here. A reader too slow for the stream is pushed back on by the browser
 * and conflated by the gateway (I8).
 */
import { timestampMs } from "@bufbuild/protobuf/wkt";
import { type Client, Code, ConnectError } from "@connectrpc/connect";
import type { Position } from "../gen/grandstand/event/v1/event_pb";
import type { GatewayService, SubscribeResponse } from "../gen/grandstand/gateway/v1/gateway_pb";
import type { Announcement } from "../gen/grandstand/notify/v1/notify_pb";
import { ServerClock } from "./clock";
import { Resume } from "./resume";
import { Screen } from "./screen";

/** How the subscription stands. Times are monotonic, as of performance.now(). */
export type Connection =
  | { readonly phase: "connecting" }
  | { readonly phase: "live" }
  | { readonly phase: "reconnecting"; readonly retryAtMs: number; readonly why: string }
  | { readonly phase: "paused" }
  | { readonly phase: "refused"; readonly code: Code; readonly message: string }
  | { readonly phase: "closed" };

export interface SubscriptionOptions {
  readonly gameId: string;
  /** Such as "poll/mvp", "poll/*"; none means all. */
  readonly topics?: readonly string[];
  readonly maxUpdatesPerS?: number;
  readonly silenceMs?: number;
  readonly random?: () => number;
  /** The read barrier (I6): asked each time a stream opens; its Snapshot includes these. At most 64. */
  readonly positions?: () => readonly Position[];
  readonly onTopics?: (changed: readonly string[], atMs: number) => void;
  readonly onAnnouncement?: (announcement: Announcement) => void;
  readonly onConnection?: (connection: Connection) => void;
}

export class Subscription {
  readonly screen = new Screen();
  readonly clock = new ServerClock();
  readonly #resume: Resume;
  readonly #silenceMs: number;
  #connection: Connection = { phase: "connecting" };
  #withCursors = true;
  #stream: AbortController | undefined;
  #retry: ReturnType<typeof setTimeout> | undefined;

  constructor(
    private readonly gateway: Client<typeof GatewayService>,
    private readonly options: SubscriptionOptions,
  ) {
    this.#resume = new Resume(options.random ?? Math.random);
    this.#silenceMs = options.silenceMs ?? 25_000;
  }

  get connection(): Connection {
    return this.#connection;
  }

  /** Opens the stream now, instead of at the end of a wait, a pause or a refusal. */
  open(): void {
    if (this.#stream || this.#connection.phase === "closed") return;
    clearTimeout(this.#retry);
    void this.#watch();
  }

  /** Ends the stream until `open`; the screen stays. */
  pause(): void {
    this.#end({ phase: "paused" });
  }

  /** Ends the subscription for good. */
  close(): void {
    this.#end({ phase: "closed" });
  }

  #end(connection: Connection): void {
    if (this.#connection.phase === "closed") return;
    clearTimeout(this.#retry);
    this.#stream?.abort();
    this.#stream = undefined;
    this.#tell(connection);
  }

  async #watch(): Promise<void> {
    const stream = new AbortController();
    this.#stream = stream;
    if (this.#connection.phase !== "reconnecting") this.#tell({ phase: "connecting" });
    const request = this.#request();
    const barrier = request.cursors.length + request.positions.length > 0;
    let delivered = false;
    let failure: ConnectError | undefined;
    let watchdog: ReturnType<typeof setTimeout> | undefined;
    const listen = () => {
      clearTimeout(watchdog);
      watchdog = setTimeout(() => stream.abort(), this.#silenceMs);
    };
    listen();
    try {
      for await (const response of this.gateway.subscribe(request, { signal: stream.signal })) {
        if (this.#stream !== stream) return;
        listen();
        delivered = true;
        this.#resume.delivered();
        this.#take(response);
      }
    } catch (reason) {
      failure = ConnectError.from(reason);
    } finally {
      clearTimeout(watchdog);
    }
    // Paused, closed or opened anew meanwhile: then this stream's end is nobody's business.
    if (this.#stream !== stream) return;
    this.#stream = undefined;
    const silent = stream.signal.aborted;
    const next = this.#resume.ended(silent ? undefined : failure?.code, { delivered, barrier });
    if (next.kind === "refused" && failure) {
      this.#tell({ phase: "refused", code: failure.code, message: failure.rawMessage });
    } else if (next.kind === "retry") {
      this.#withCursors = next.withCursors;
      const why = silent ? `nothing heard for ${this.#silenceMs / 1000} s` : (failure?.rawMessage ?? "the server ended the stream");
      this.#tell({ phase: "reconnecting", retryAtMs: performance.now() + next.afterMs, why });
      this.#retry = setTimeout(() => this.open(), next.afterMs);
    }
  }

  #request() {
    const cursors = this.#withCursors
      ? [...this.screen.states.values()].map(({ topic, cursor }) => ({ topic, ...(cursor && { cursor }) }))
      : [];
    return {
      gameId: this.options.gameId,
      topics: [...(this.options.topics ?? [])],
      maxUpdatesPerS: this.options.maxUpdatesPerS ?? 0,
      cursors,
      positions: this.#withCursors ? [...(this.options.positions?.() ?? [])] : [],
    };
  }

  #take(response: SubscribeResponse): void {
    const atMs = performance.now();
    if (response.asOf) this.clock.observe(timestampMs(response.asOf), atMs);
    switch (response.message.case) {
      case "snapshot": {
        const changed = this.screen.takeSnapshot(response.message.value.topics);
        this.#tell({ phase: "live" });
        this.options.onTopics?.(changed, atMs);
        break;
      }
      case "update": {
        const changed = this.screen.takeUpdate(response.message.value.topics);
        if (changed.length > 0) this.options.onTopics?.(changed, atMs);
        break;
      }
      case "announcement":
        this.options.onAnnouncement?.(response.message.value);
        break;
    }
  }

  #tell(connection: Connection): void {
    if (connection.phase === "live" && this.#connection.phase === "live") return;
    this.#connection = connection;
    this.options.onConnection?.(connection);
  }
}
