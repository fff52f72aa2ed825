/**
 * From the click to the screen: when did a state that includes the event arrive? Pure.
 *
 * The answer to Send (with the Position) and the update that includes it travel on two connections
 * and may come in either order, so arrivals are remembered until the Position is known.
 *
 * Bound: ARRIVALS_MAX. Overflow drops the oldest arrival; the reported time can then only be too
 * late, never too early, as every later cursor includes what an earlier one did (I5).
 */
import type { Cursor, Position } from "./gen/grandstand/event/v1/event_pb.js";
import { includes } from "./position.js";

const ARRIVALS_MAX = 256;

export class Landing {
  #arrivals: { cursor: Cursor; atMs: number }[] = [];
  #positions: readonly Position[] | undefined;
  #landedAtMs: number | undefined;

  constructor(readonly startedAtMs: number) {}

  /** Milliseconds from the start to the arrival of the first state that includes the event. */
  get tookMs(): number | undefined {
    return this.#landedAtMs === undefined ? undefined : this.#landedAtMs - this.startedAtMs;
  }

  /** A state with this cursor arrived. True if it is the one that was waited for. */
  saw(cursor: Cursor | undefined, atMs: number): boolean {
    if (!cursor || this.#landedAtMs !== undefined) return false;
    if (this.#positions) return this.#landIf(cursor, atMs);
    this.#arrivals.push({ cursor, atMs });
    if (this.#arrivals.length > ARRIVALS_MAX) this.#arrivals.shift();
    return false;
  }

  /** The event is stored here. True if a state that includes it had already arrived. */
  stored(positions: readonly Position[]): boolean {
    if (positions.length === 0) return false;
    this.#positions = positions;
    const arrivals = this.#arrivals;
    this.#arrivals = [];
    return arrivals.some(({ cursor, atMs }) => this.#landIf(cursor, atMs));
  }

  #landIf(cursor: Cursor, atMs: number): boolean {
    if (!this.#positions || !includes(cursor, this.#positions)) return false;
    this.#landedAtMs = atMs;
    return true;
  }
}
