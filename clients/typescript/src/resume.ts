/**
 * What to do when a subscription's stream ends. Pure: the stream itself is subscription.ts.
 *
 * A new stream is asked for with the cursors of what is shown, so its Snapshot is as new or newer.
 * If the server cannot reach them in its 5 s (DEADLINE_EXCEEDED: aggregation is behind), the next
 * stream is asked for without them, once and at once: it shows what is there, and StateCache
 * still takes no older state. Giving cursors up for good was rejected: then a lagging gateway could keep
 * a viewer behind for as long as it liked, unnoticed.
 *
 * A stream that delivered something was a success: the next failure starts the backoff again. Its token was good,
 * too: if it ends with UNAUTHENTICATED, that has expired or was revoked, and the next stream asks for another one.
 */
import { Code } from "@connectrpc/connect";
import { type Backoff, delayMs } from "./backoff.js";
import { endsStream } from "./codes.js";

export type Next =
  | { readonly kind: "retry"; readonly afterMs: number; readonly withCursors: boolean }
  | { readonly kind: "refused" };

export const STREAM_BACKOFF: Backoff = { baseMs: 250, capMs: 5_000 };

export class Resume {
  #failures = 0;
  #withCursors = true;

  constructor(
    private readonly random: () => number,
    private readonly backoff: Backoff = STREAM_BACKOFF,
  ) {}

  /** A stream that delivered something ended in good order. */
  delivered(): void {
    this.#failures = 0;
  }

  /** The stream ended with this code (undefined: with OK), having been given a barrier or not. */
  ended(code: Code | undefined, stream: { readonly delivered: boolean; readonly barrier: boolean }): Next {
    const lostItsToken = code === Code.Unauthenticated && stream.delivered;
    if (code !== undefined && endsStream(code) && !lostItsToken) return { kind: "refused" };
    if (stream.delivered) this.delivered();
    if (code === Code.DeadlineExceeded && !stream.delivered && stream.barrier && this.#withCursors) {
      this.#withCursors = false;
      return { kind: "retry", afterMs: 0, withCursors: false };
    }
    this.#withCursors = true;
    return { kind: "retry", afterMs: delayMs(this.backoff, this.#failures++, this.random), withCursors: true };
  }
}
