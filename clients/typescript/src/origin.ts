/**
 * An origin: the numbers under which this session's events are counted once (I2). Pure.
 *
 * The server's anti-replay window covers the newest `credit` numbers, so the span from the oldest
 * unanswered number to the newest may not exceed it: `take` then gives none, and the caller says so
 * rather than queue (a person's events are few; a queue here would only hide a dead connection).
 *
 * Its end is judged twice, as this device's clock may be wrong: by the server's `expires_at`, and
 * by age. A clock that runs ahead makes a session ask for origins more often, which costs nothing; one that
 * runs behind is caught by the age.
 */
const AGE_MAX_MS = 12 * 3_600_000;

export class Origin {
  #next = 1n;
  readonly #unanswered = new Set<bigint>();

  constructor(
    readonly id: string,
    readonly credit: number,
    readonly issuedAtMs: number,
    readonly expiresAtMs: number,
  ) {}

  /** The next number, or undefined while the credit is used up. */
  take(): bigint | undefined {
    const oldest = this.#oldest();
    if (oldest !== undefined && this.#next - oldest >= BigInt(this.credit)) return undefined;
    const seq = this.#next++;
    this.#unanswered.add(seq);
    return seq;
  }

  /** Takes a number that was given up again. False: it is too far back for the server to tell a resend. */
  retake(seq: bigint): boolean {
    if (this.#next - seq > BigInt(this.credit)) return false;
    this.#unanswered.add(seq);
    return true;
  }

  /** The server answered, or the event is given up. */
  settle(seq: bigint): void {
    this.#unanswered.delete(seq);
  }

  /** Whether an event that may be resent for `reserveMs` can still be sent under this origin. */
  lives(nowMs: number, reserveMs: number): boolean {
    return nowMs + reserveMs < Math.min(this.expiresAtMs, this.issuedAtMs + AGE_MAX_MS);
  }

  #oldest(): bigint | undefined {
    let oldest: bigint | undefined;
    for (const seq of this.#unanswered) if (oldest === undefined || seq < oldest) oldest = seq;
    return oldest;
  }
}
