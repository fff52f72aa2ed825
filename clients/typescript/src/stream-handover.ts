/**
 * The streams of a subscription, one after the other, and two at once while one takes over. Pure.
 *
 *     a stream is opened              it is shown, unless another one is
 *     Drain comes on it               its successor is opened when the time that was given has passed
 *     the successor's Snapshot comes  it is shown, and the old one is ended: make before break
 *     the shown one ends              its successor is shown; without one the next is opened: when the Drain
 *                                     said, or when Resume says, or when a RetryInfo said
 *     the successor ends              the next is opened when Resume says; the old one is shown meanwhile
 *
 * So a gateway that goes away in good order costs its viewers nothing: while it still speaks, the next one does
 * already. What the two say is put in order by the cursors (see screen.ts). An announcement has no cursor: one
 * that both streams brought is told once, by its bytes.
 *
 * Streams are numbered in the order of their opening. Times are monotonic milliseconds.
 *
 * Bounds: two streams; ANNOUNCEMENTS_MAX announcements are remembered, the oldest is forgotten first.
 */
import { toBinary } from "@bufbuild/protobuf";
import { durationMs } from "@bufbuild/protobuf/wkt";
import { Code } from "@connectrpc/connect";
import type { SubscribeResponse } from "./gen/grandstand/gateway/v1/gateway_pb.js";
import { type Announcement, AnnouncementSchema } from "./gen/grandstand/notify/v1/notify_pb.js";
import type { Backoff } from "./backoff.js";
import { Resume, STREAM_BACKOFF } from "./resume.js";
import { withJitter } from "./retry-info.js";

const ANNOUNCEMENTS_MAX = 64;
/** A Drain that asks for a later time is followed then. */
const RECONNECT_AFTER_MAX_MS = 600_000;

/** What to do with a message. */
export interface Heard {
  /** It is for the screen, and for whoever watches. */
  readonly shows: boolean;
  /** It is the first of its stream that is shown: the screen begins anew with it. */
  readonly takesOver: boolean;
  /** This stream is to be ended now: its successor stands. */
  readonly ends: number | undefined;
}

/** How a stream ended. */
export interface Ending {
  /** undefined: with OK, or silently. */
  readonly code: Code | undefined;
  /** It was given cursors or positions to reach. */
  readonly barrier: boolean;
  /** The least wait that its status asks for. */
  readonly retryAfterMs: number | undefined;
}

export class Succession {
  /** Drains heard. */
  drained = 0;
  readonly #resume: Resume;
  readonly #told = new Map<string, number>();
  #count = 0;
  #shown: number | undefined;
  #successor: number | undefined;
  #begun: number | undefined;
  #opensAtMs: number | undefined = Number.NEGATIVE_INFINITY;
  #withCursors = true;
  /** Streams that brought something. */
  readonly #useful = new Set<number>();

  constructor(
    private readonly random: () => number,
    backoff: Backoff = STREAM_BACKOFF,
  ) {
    this.#resume = new Resume(random, backoff);
  }

  /** When the next stream is to be opened; undefined: not as things stand. */
  get opensAtMs(): number | undefined {
    return this.#opensAtMs;
  }

  /** Whether the next stream is to be asked for with cursors and positions. */
  get withCursors(): boolean {
    return this.#withCursors;
  }

  /** All streams were ended by whoever watches; the next is opened when that is wanted. */
  reset(): void {
    this.#shown = this.#successor = this.#opensAtMs = undefined;
    this.#useful.clear();
  }

  /** The next stream is opened; its number. */
  opened(): number {
    this.#opensAtMs = undefined;
    this.#count++;
    if (this.#shown === undefined) this.#shown = this.#count;
    else this.#successor = this.#count;
    return this.#count;
  }

  /** A message came on a stream that has not ended. */
  heard(stream: number, { message }: Pick<SubscribeResponse, "message">, nowMs: number): Heard {
    this.#useful.add(stream);
    let ends: number | undefined;
    if (stream === this.#successor) {
      // Nothing can be shown without it.
      if (message.case !== "snapshot") return { shows: false, takesOver: false, ends: undefined };
      ends = this.#shown;
      this.#shown = stream;
      this.#successor = undefined;
      if (ends !== undefined) this.#useful.delete(ends);
    }
    if (message.case === "drain") {
      this.drained++;
      if (this.#successor === undefined && this.#opensAtMs === undefined) {
        const afterMs = message.value.reconnectAfter ? durationMs(message.value.reconnectAfter) : 0;
        this.#opensAtMs = nowMs + Math.min(Math.max(0, afterMs), RECONNECT_AFTER_MAX_MS);
        this.#withCursors = true;
      }
    }
    const takesOver = stream !== this.#begun;
    this.#begun = stream;
    return { shows: message.case !== "announcement" || this.#isNews(stream, message.value), takesOver, ends };
  }

  /** A stream has ended, and not because it was to. "refused": no other stream can help until asked. */
  ended(stream: number, { code, barrier, retryAfterMs }: Ending, nowMs: number): "refused" | "goes on" {
    const delivered = this.#useful.delete(stream);
    if (stream === this.#successor) {
      this.#successor = undefined;
    } else {
      this.#shown = this.#successor;
      this.#successor = undefined;
      if (this.#shown !== undefined || this.#opensAtMs !== undefined) {
        // Its successor is there already, or it said when to come.
        if (delivered) this.#resume.delivered();
        return "goes on";
      }
    }
    const next = this.#resume.ended(code, { delivered, barrier });
    if (next.kind === "refused") return "refused";
    this.#withCursors = next.withCursors;
    const leastMs = retryAfterMs === undefined ? 0 : withJitter(retryAfterMs, this.random);
    this.#opensAtMs = nowMs + Math.max(next.afterMs, leastMs);
    return "goes on";
  }

  /** A delta did not fit: the stream is given up, and what it brought does not count for it. */
  misfitted(stream: number, nowMs: number): void {
    this.#useful.delete(stream);
    this.ended(stream, { code: undefined, barrier: false, retryAfterMs: undefined }, nowMs);
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
