/**
 * How long to wait before the next attempt: exponential, with full jitter. Pure.
 *
 * Full jitter (uniform between nothing and the ceiling) rather than equal jitter: when a gateway
 * dies, all its viewers lose their streams in the same instant and must not come back as one wave.
 * See "Exponential Backoff And Jitter", AWS Architecture Blog, 2015.
 */
export interface Backoff {
  /** The ceiling of attempt n is baseMs * 2**n ... */
  readonly baseMs: number;
  /** ... and at most this. */
  readonly capMs: number;
}

/** The longest wait after `failures` in a row, from 0. */
export function ceilingMs(backoff: Backoff, failures: number): number {
  return Math.min(backoff.capMs, backoff.baseMs * 2 ** Math.min(failures, 32));
}

/** The wait after `failures` in a row; `random` gives numbers in [0, 1). */
export function delayMs(backoff: Backoff, failures: number, random: () => number): number {
  return random() * ceilingMs(backoff, failures);
}
