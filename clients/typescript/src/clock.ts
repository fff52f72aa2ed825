/**
 * The server's time, so that a countdown is right on a device whose clock is wrong. Pure.
 *
 * Every message of a subscription says when it was made. It arrives a little later, so each one
 * bounds the server's time from below; the greatest bound is the best, and after a few messages it
 * is off by the shortest network delay seen. Local time is monotonic (performance.now()): a wall
 * clock that jumps moves nothing.
 */
export class ServerClock {
  #offsetMs: number | undefined;

  /** A message made at `asOfMs` (Unix milliseconds) arrived at `localMs` (monotonic). */
  observe(asOfMs: number, localMs: number): void {
    const offsetMs = asOfMs - localMs;
    if (this.#offsetMs === undefined || offsetMs > this.#offsetMs) this.#offsetMs = offsetMs;
  }

  /** The server's Unix milliseconds at the monotonic `localMs`; undefined before the first message. */
  at(localMs: number): number | undefined {
    return this.#offsetMs === undefined ? undefined : localMs + this.#offsetMs;
  }
}
