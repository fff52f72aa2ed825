/**
 * Taps become reactions: the first goes at once, those made while it travels go together after it.
 *
 * So a lone tap is quick and a drum roll costs one event for each round trip and kind. Overflow:
 * of one kind at most 100 wait (the most one event may carry); further taps are shed, as the
 * design lets reactions be (I7).
 */
const WAITING_MAX = 100;

export class Bursts {
  readonly #waiting = new Map<string, number>();
  readonly #travelling = new Set<string>();

  /** `send` resolves when the server answered; it reports failures itself and does not reject. */
  constructor(private readonly send: (kind: string, count: number) => Promise<void>) {}

  tap(kind: string): void {
    this.#waiting.set(kind, Math.min(WAITING_MAX, (this.#waiting.get(kind) ?? 0) + 1));
    if (!this.#travelling.has(kind)) void this.#drain(kind);
  }

  async #drain(kind: string): Promise<void> {
    this.#travelling.add(kind);
    for (let count = this.#take(kind); count > 0; count = this.#take(kind)) await this.send(kind, count);
    this.#travelling.delete(kind);
  }

  #take(kind: string): number {
    const count = this.#waiting.get(kind) ?? 0;
    this.#waiting.delete(kind);
    return count;
  }
}
