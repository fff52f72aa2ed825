/**
 * The streams of a subscription: one at a time, and two during a handover (make before break). Pure.
 *
 *     event                          reaction
 *     a stream is opened             it is shown, unless another one is
 *     Drain on the shown stream      the successor is opened after the delay that the Drain gives
 *     TokenExpiring on it            the successor is opened, with another token; if its token is the same, or
 *                                    is refused, the next one is opened after half of the time that is left
 *     Snapshot on the successor      the successor is shown, the old stream is ended
 *     the shown stream ends          the successor is shown; without one, the next stream is opened when the
 *                                    Drain, Resume or a RetryInfo says
 *     the successor ends             the next stream is opened when Resume says; the old one is still shown
 *
 * A gateway that drains therefore costs its viewers no gap: the old stream delivers until the new one does.
 * Cursors order what the two streams send (see state-cache.ts). An announcement has no cursor: one that both
 * streams send is reported once, identified by its bytes.
 *
 * Streams are numbered in the order they were opened. Times are monotonic milliseconds.
 *
 * Bounds: two streams; ANNOUNCEMENTS_MAX announcements are remembered, the oldest is forgotten first.
 */
import { toBinary } from "@bufbuild/protobuf";
import { durationMs, timestampMs } from "@bufbuild/protobuf/wkt";
import { Code } from "@connectrpc/connect";
import type { SubscribeResponse } from "./gen/grandstand/gateway/v1/gateway_pb.js";
import { type Announcement, AnnouncementSchema } from "./gen/grandstand/notify/v1/notify_pb.js";
import type { Backoff } from "./backoff.js";
import { Resume, STREAM_BACKOFF } from "./resume.js";
import { withJitter } from "./retry-info.js";

const ANNOUNCEMENTS_MAX = 64;
/** The longest delay that a Drain can ask for; a longer one counts as this. */
const RECONNECT_AFTER_MAX_MS = 600_000;
/** The shortest wait before a source that gave the same token is asked again. */
const RENEW_AGAIN_MIN_MS = 1_000;

/** What to do with a message. */
export interface Heard {
  /** Whether the message is to be applied and reported. */
  readonly shows: boolean;
  /** Whether it is the first message shown of its stream: call StateCache.begin before applying it. */
  readonly takesOver: boolean;
  /** The stream to end now, because its successor has taken over. */
  readonly ends: number | undefined;
}

/** How a stream ended. */
export interface Ending {
  /** undefined: with OK, or by silence. */
  readonly code: Code | undefined;
  /** Whether it was opened with cursors or positions to reach. */
  readonly barrier: boolean;
  /** The minimum delay that its status asks for. */
  readonly retryAfterMs: number | undefined;
}

export class StreamHandover {
  /** Number of Drain messages received. */
  drained = 0;
  readonly #resume: Resume;
  readonly #told = new Map<string, number>();
  #count = 0;
  #shown: number | undefined;
  #successor: number | undefined;
  #begun: number | undefined;
  #opensAtMs: number | undefined = Number.NEGATIVE_INFINITY;
  #withCursors = true;
  #renews = false;
  #openedToRenew = false;
  /** The end of the token that was told to expire last: by the server's clock, and by ours. */
  #tokenEnd = { serverMs: 0, ms: 0 };
  /** Streams that delivered a message. */
  readonly #useful = new Set<number>();

  constructor(
    private readonly random: () => number,
    backoff: Backoff = STREAM_BACKOFF,
  ) {
    this.#resume = new Resume(random, backoff);
  }

  /** When to open the next stream; undefined: none is due. */
  get opensAtMs(): number | undefined {
    return this.#opensAtMs;
  }

  /** Whether to open the next stream with cursors and positions. */
  get withCursors(): boolean {
    return this.#withCursors;
  }

  /** Whether to open the next stream with another token than the last one. */
  get renews(): boolean {
    return this.#renews;
  }

  /** The caller has ended all streams; the next one is opened when the caller wants. */
  reset(): void {
    this.#shown = this.#successor = this.#opensAtMs = undefined;
    this.#renews = false;
    this.#useful.clear();
  }

  /** Registers the next stream as opened; returns its number. */
  opened(): number {
    this.#opensAtMs = undefined;
    this.#openedToRenew = this.#renews;
    this.#renews = false;
    this.#count++;
    if (this.#shown === undefined) this.#shown = this.#count;
    else this.#successor = this.#count;
    return this.#count;
  }

  /** A message arrived on a stream that has not ended. */
  heard(stream: number, { message, asOf }: Pick<SubscribeResponse, "message" | "asOf">, nowMs: number): Heard {
    this.#useful.add(stream);
    let ends: number | undefined;
    if (stream === this.#successor && message.case !== "gameEnded") {
      // Nothing of a stream can be shown before its Snapshot.
      if (message.case !== "snapshot") return { shows: false, takesOver: false, ends: undefined };
      ends = this.#shown;
      this.#shown = stream;
      this.#successor = undefined;
      if (ends !== undefined) this.#useful.delete(ends);
    }
    if (message.case === "drain") {
      this.drained++;
      if (this.#successor === undefined && (this.#opensAtMs === undefined || this.#renews)) {
        const afterMs = message.value.reconnectAfter ? durationMs(message.value.reconnectAfter) : 0;
        this.#opensAtMs = nowMs + Math.min(Math.max(0, afterMs), RECONNECT_AFTER_MAX_MS);
        this.#withCursors = true;
      }
    }
    if (message.case === "tokenExpiring" && this.#successor === undefined && this.#opensAtMs === undefined) {
      const serverMs = message.value.expiresAt ? timestampMs(message.value.expiresAt) : 0;
      const isSame = serverMs === this.#tokenEnd.serverMs;
      this.#tokenEnd = { serverMs, ms: nowMs + serverMs - (asOf ? timestampMs(asOf) : serverMs) };
      this.#renewAt(isSame ? this.#renewAgainAtMs(nowMs) : nowMs);
    }
    const takesOver = stream !== this.#begun;
    this.#begun = stream;
    return { shows: message.case !== "announcement" || this.#isNews(stream, message.value), takesOver, ends };
  }

  /** A stream ended that was not told to. "refused": another stream would end the same way. */
  ended(stream: number, { code, barrier, retryAfterMs }: Ending, nowMs: number): "refused" | "goes on" {
    const delivered = this.#useful.delete(stream);
    if (stream === this.#successor) {
      this.#successor = undefined;
      if (code === Code.Unauthenticated) {
        this.#renewAt(this.#renewAgainAtMs(nowMs));
        return "goes on";
      }
    } else {
      this.#shown = this.#successor;
      this.#successor = undefined;
      if (this.#shown !== undefined || (this.#opensAtMs !== undefined && !this.#renews)) {
        // The successor is open already, or a Drain set its time.
        if (delivered) this.#resume.delivered();
        return "goes on";
      }
    }
    const next = this.#resume.ended(code, { delivered, barrier });
    if (next.kind === "refused") return "refused";
    this.#withCursors = next.withCursors;
    this.#renews ||= code === Code.Unauthenticated || (this.#openedToRenew && !delivered);
    const leastMs = retryAfterMs === undefined ? 0 : withJitter(retryAfterMs, this.random);
    this.#opensAtMs = nowMs + Math.max(next.afterMs, leastMs);
    return "goes on";
  }

  /** A delta did not fit: the stream is given up and does not count as having delivered. */
  mismatched(stream: number, nowMs: number): void {
    this.#useful.delete(stream);
    this.ended(stream, { code: undefined, barrier: false, retryAfterMs: undefined }, nowMs);
  }

  #renewAt(opensAtMs: number): void {
    this.#opensAtMs = opensAtMs;
    this.#withCursors = this.#renews = true;
  }

  #renewAgainAtMs(nowMs: number): number {
    return nowMs + Math.max((this.#tokenEnd.ms - nowMs) / 2, RENEW_AGAIN_MIN_MS);
  }

  #isNews(stream: number, announcement: Announcement): boolean {
    const key = toBinary(AnnouncementSchema, announcement).toString();
    const toldBy = this.#told.get(key) ?? stream;
    this.#told.set(key, toldBy);
    const [oldest] = this.#told.keys();
    if (this.#told.size > ANNOUNCEMENTS_MAX && oldest !== undefined) this.#told.delete(oldest);
    return toldBy === stream;
  }
}
