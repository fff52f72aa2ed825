/**
 * The stand: rows of seats in a half circle, coloured by how the crowd voted. Pure.
 *
 * While there are fewer voters than seats, one seat is one voter and the stand fills from the front row;
 * once it is full, a seat is an equal share. Options sit side by side, in the poll's order, so that
 * a change moves a border rather than scatter colours.
 */
import { shareOut } from "./model";

export interface Seat {
  readonly x: number;
  readonly y: number;
  /** Degrees from the left end, 0 to 180. */
  readonly angle: number;
  /** 0 is the front. */
  readonly row: number;
}

export const STAND = { width: 400, height: 204, centreX: 200, centreY: 196, rows: 5, front: 108, step: 20, pitch: 19.6 };

/** All seats, the front row first and each row from its middle outwards: the order in which they are taken. */
export function seats(): Seat[] {
  const all: Seat[] = [];
  for (let row = 0; row < STAND.rows; row++) {
    const radius = STAND.front + row * STAND.step;
    const count = Math.round((Math.PI * radius) / STAND.pitch);
    const inRow = Array.from({ length: count }, (_, i) => {
      const angle = (180 * (i + 0.5)) / count;
      const turn = (angle * Math.PI) / 180;
      return { row, angle, x: STAND.centreX - radius * Math.cos(turn), y: STAND.centreY - radius * Math.sin(turn) };
    });
    inRow.sort((a, b) => Math.abs(a.angle - 90) - Math.abs(b.angle - 90));
    all.push(...inRow);
  }
  return all;
}

/** For each seat the index of its option; -1 for an empty one. `votes` by option, in the poll's order. */
export function seated(places: readonly Seat[], votes: readonly number[]): number[] {
  const taken = Math.min(
    places.length,
    votes.reduce((sum, count) => sum + count, 0),
  );
  const shares = shareOut(votes, taken);
  const fromTheLeft = Array.from({ length: taken }, (_, i) => i).sort(
    (a, b) => (places[a]?.angle ?? 0) - (places[b]?.angle ?? 0),
  );
  const options = Array<number>(places.length).fill(-1);
  let next = 0;
  shares.forEach((share, option) => {
    for (const place of fromTheLeft.slice(next, next + share)) options[place] = option;
    next += share;
  });
  return options;
}
