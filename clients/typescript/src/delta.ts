/**
 * Applies a TopicDelta to a topic's state; the result equals the server's state exactly. Pure.
 *
 * Numbers in a delta are values, never increments. A delta that does not fit the state throws DeltaMismatch, and
 * the stream is reopened, so a wrong state is never shown. The server makes deltas in Python; both
 * implementations are checked against the same vectors (tests/delta_vectors.json). States are never changed,
 * only replaced; unchanged parts are shared.
 *
 * Bound: a board of ENTRIES_MAX entries.
 */
import { create } from "@bufbuild/protobuf";
import {
  type BoardEntry,
  BoardEntrySchema,
  type BoardResult,
  BoardResultSchema,
  type PulseResult,
  PulseResultSchema,
  type TallyResult,
  TallyResultSchema,
  type TopicState,
  TopicStateSchema,
} from "./gen/grandstand/aggregate/v1/aggregate_pb.js";
import { type Cursor, CursorSchema, type Position } from "./gen/grandstand/event/v1/event_pb.js";
import type { BoardDelta, PulseDelta, TallyDelta, TopicDelta } from "./gen/grandstand/gateway/v1/delta_pb.js";

export const ENTRIES_MAX = 1_000;

/** A delta does not fit the state that it was applied to. */
export class DeltaMismatch extends Error {
  override readonly name = "DeltaMismatch";
}

/** Returns the state after the delta. Throws DeltaMismatch. */
export function applied(before: TopicState, delta: TopicDelta): TopicState {
  if (delta.topic !== before.topic) throw new DeltaMismatch(`a delta of ${delta.topic} for ${before.topic}`);
  const cursor = moved(before.cursor, delta.cursor);
  return create(TopicStateSchema, {
    topic: before.topic,
    stage: delta.stage,
    value: valueAfter(before, delta),
    ...(cursor && { cursor }),
  });
}

function valueAfter(before: TopicState, { value: change }: TopicDelta): TopicState["value"] {
  const { value } = before;
  if (change.case === undefined) return value;
  if (change.case === "tally" && value.case === "tally") {
    return { case: "tally", value: tallyAfter(value.value, change.value) };
  }
  if (change.case === "board" && value.case === "board") {
    return { case: "board", value: boardAfter(value.value, change.value) };
  }
  if (change.case === "pulse" && value.case === "pulse") {
    return { case: "pulse", value: pulseAfter(value.value, change.value) };
  }
  // These values are short and are sent in full.
  if (change.case === "audience" && value.case === "audience") return change;
  if (change.case === "metric" && value.case === "metric") return change;
  if (change.case === "custom" && value.case === "custom") return change;
  throw new DeltaMismatch(`${before.topic}: a delta of a ${change.case} for a ${value.case ?? "topic without a value"}`);
}

/** Replaces the positions that moved; the result is ordered by partition. */
function moved(before: Cursor | undefined, positions: readonly Position[]): Cursor | undefined {
  if (positions.length === 0) return before;
  const newest = new Map([...(before?.positions ?? []), ...positions].map((position) => [position.partition, position]));
  return create(CursorSchema, { positions: [...newest.values()].sort((a, b) => a.partition - b.partition) });
}

function tallyAfter(before: TallyResult, { options: changes, voters, guestVoters, voided }: TallyDelta): TallyResult {
  const options = [...before.options];
  for (const { place, votes, weight, guestVotes } of changes) {
    options[place] = { ...at(options, place, "option"), votes, weight, guestVotes };
  }
  return create(TallyResultSchema, { options, voters, guestVoters, voided });
}

function pulseAfter(before: PulseResult, { kinds: changes, late, panes }: PulseDelta): PulseResult {
  const kinds = [...before.kinds];
  for (const { place, ratePerS, total } of changes) kinds[place] = { ...at(kinds, place, "kind"), ratePerS, total };
  return create(PulseResultSchema, { kinds, late, panes });
}

function boardAfter(before: BoardResult, { entries: runs, actors }: BoardDelta): BoardResult {
  const entries: BoardEntry[] = [];
  for (const { first, count, put } of runs) {
    if (first + count > before.entries.length) {
      throw new DeltaMismatch(`a delta of ${count} entries from ${first} on, of ${before.entries.length}, from 0`);
    }
    if (entries.length + count + put.length > ENTRIES_MAX) {
      throw new DeltaMismatch(`a delta of more than ${ENTRIES_MAX} entries`);
    }
    // A kept entry takes the rank of its new place.
    for (const kept of before.entries.slice(first, first + count)) {
      const { actorId, points } = kept;
      const rank = entries.length + 1;
      entries.push(kept.rank === rank ? kept : create(BoardEntrySchema, { rank, actorId, points }));
    }
    entries.push(...put);
  }
  const { season, previous } = before;
  return create(BoardResultSchema, { entries, actors, ...(season && { season }), ...(previous && { previous }) });
}

function at<T>(of: readonly T[], place: number, what: string): T {
  const found = of[place];
  if (found === undefined) throw new DeltaMismatch(`a delta of ${what} ${place} of ${of.length}, from 0`);
  return found;
}
