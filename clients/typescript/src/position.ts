/**
 * Positions and cursors: does a state include an event?
 *
 * A Position is where one acked event is stored; a Cursor holds the newest sequence of each
 * partition that a state was folded from. They compare partition by partition: sequences of two
 * partitions say nothing about each other, and a partition absent from a cursor stands for 0.
 * Pure.
 */
import type { Cursor, Position } from "./gen/grandstand/event/v1/event_pb.js";

type At = Pick<Position, "partition" | "sequence">;
type Seen = { readonly positions: readonly At[] };

/** The newest sequence of `partition` that the cursor holds; 0 for none. */
export function sequenceIn(cursor: Seen | undefined, partition: number): bigint {
  return cursor?.positions.find((at) => at.partition === partition)?.sequence ?? 0n;
}

/** Whether a state with this cursor includes the events at all of these positions. */
export function includes(cursor: Seen | Cursor | undefined, positions: readonly At[]): boolean {
  return positions.every((at) => sequenceIn(cursor, at.partition) >= at.sequence);
}
