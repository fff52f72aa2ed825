import { create } from "@bufbuild/protobuf";
import { expect, test } from "vitest";
import { type TopicState, TopicStateSchema } from "../src/gen/grandstand/aggregate/v1/aggregate_pb.js";
import { Stage } from "../src/gen/grandstand/catalog/v1/catalog_pb.js";
import { type TopicDelta, TopicDeltaSchema } from "../src/gen/grandstand/gateway/v1/delta_pb.js";
import { DeltaMismatch } from "../src/delta.js";
import { includes } from "../src/position.js";
import { StateCache, TOPICS_KEPT_MAX } from "../src/state-cache.js";

function tally(topic: string, votes: number, ...positions: [number, number][]): TopicState {
  return create(TopicStateSchema, {
    topic,
    cursor: { positions: positions.map(([partition, sequence]) => ({ partition, sequence: BigInt(sequence) })) },
    value: { case: "tally", value: { options: [{ optionId: "a", votes: BigInt(votes) }], voters: BigInt(votes) } },
  });
}

function votesOf(cache: StateCache, topic: string): bigint | undefined {
  const value = cache.states.get(topic)?.value;
  return value?.case === "tally" ? value.value.voters : undefined;
}

test("a cursor includes an event of its partition at the same or a smaller sequence", () => {
  const cursor = { positions: [{ partition: 3, sequence: 10n }] };
  expect(includes(cursor, [{ partition: 3, sequence: 10n }])).toBe(true);
  expect(includes(cursor, [{ partition: 3, sequence: 9n }])).toBe(true);
  expect(includes(cursor, [{ partition: 3, sequence: 11n }])).toBe(false);
});

test("a cursor says nothing about another partition", () => {
  const cursor = { positions: [{ partition: 3, sequence: 10n }] };
  expect(includes(cursor, [{ partition: 4, sequence: 1n }])).toBe(false);
  expect(includes(undefined, [{ partition: 4, sequence: 1n }])).toBe(false);
});

test("an update replaces the topics it names and no others", () => {
  const cache = new StateCache();
  cache.takeSnapshot([tally("poll/a", 1, [0, 1]), tally("poll/b", 1, [0, 1])]);
  expect(cache.takeUpdate([tally("poll/b", 2, [0, 2])])).toEqual(["poll/b"]);
  expect(votesOf(cache, "poll/a")).toBe(1n);
  expect(votesOf(cache, "poll/b")).toBe(2n);
});

test("a snapshot takes nothing away, and of too many topics sealed ones go, the oldest first", () => {
  const cache = new StateCache();
  cache.takeSnapshot([tally("poll/a", 1, [0, 1]), tally("poll/b", 1, [0, 1])]);
  expect(cache.takeSnapshot([tally("poll/a", 2, [0, 2])])).toEqual(["poll/a"]);
  expect([...cache.states.keys()]).toEqual(["poll/a", "poll/b"]);
  const sealed = Array.from({ length: TOPICS_KEPT_MAX }, (_, n) => ({ ...tally(`poll/s${n}`, 1, [0, 1]), stage: Stage.SEALED }));
  cache.takeUpdate(sealed);
  expect(cache.takeSnapshot(sealed.slice(0, 1))).toEqual(["poll/s1", "poll/s2", "poll/s0"]);
  expect(cache.states.size).toBe(TOPICS_KEPT_MAX);
  expect(cache.states.has("poll/b")).toBe(true);
});

test("I5: an older state is not shown, in no partition, and its topic is behind until it caught up", () => {
  const cache = new StateCache();
  cache.takeSnapshot([tally("poll/a", 5, [0, 5], [1, 5])]);
  expect(cache.takeSnapshot([tally("poll/a", 4, [0, 6], [1, 4])])).toEqual([]);
  expect(votesOf(cache, "poll/a")).toBe(5n);
  expect([...cache.behind]).toEqual(["poll/a"]);
  expect(cache.takeUpdate([tally("poll/a", 6, [0, 6], [1, 5])])).toEqual(["poll/a"]);
  expect(votesOf(cache, "poll/a")).toBe(6n);
  expect(cache.behind.size).toBe(0);
});

test("a state that lost a partition of the one shown is older", () => {
  const cache = new StateCache();
  cache.takeSnapshot([tally("poll/a", 5, [0, 5], [1, 5])]);
  expect(cache.takeUpdate([tally("poll/a", 4, [0, 9])])).toEqual([]);
});

/** `to` votes for the only option, at that sequence of partition 0. */
function change(topic: string, to: number): TopicDelta {
  return create(TopicDeltaSchema, {
    topic,
    cursor: [{ partition: 0, sequence: BigInt(to) }],
    value: { case: "tally", value: { options: [{ place: 0, votes: BigInt(to) }], voters: BigInt(to) } },
  });
}

test("a delta changes the topic it names, and not the state that was given out", () => {
  const cache = new StateCache();
  cache.takeSnapshot([tally("poll/a", 1, [0, 1]), tally("poll/b", 1, [0, 1])]);
  const before = cache.states.get("poll/a");
  expect(cache.takeUpdate([], [change("poll/a", 2)])).toEqual(["poll/a"]);
  expect(cache.states.get("poll/a")).toEqual(tally("poll/a", 2, [0, 2]));
  expect(before).toEqual(tally("poll/a", 1, [0, 1]));
  expect(votesOf(cache, "poll/b")).toBe(1n);
});

test("a delta of a topic that the stream has not shown is a mismatch", () => {
  const cache = new StateCache();
  expect(() => cache.takeUpdate([], [change("poll/a", 2)])).toThrow(DeltaMismatch);
  cache.takeSnapshot([tally("poll/a", 1, [0, 1])]);
  cache.begin();
  expect(() => cache.takeUpdate([], [change("poll/a", 2)])).toThrow(DeltaMismatch);
  expect(votesOf(cache, "poll/a")).toBe(1n);
});

test("I5: a stream that starts behind is followed, and shown once it has caught up", () => {
  const cache = new StateCache();
  cache.takeSnapshot([tally("poll/a", 5, [0, 5])]);
  cache.begin();
  expect(cache.takeSnapshot([tally("poll/a", 3, [0, 3])])).toEqual([]);
  expect(cache.takeUpdate([], [change("poll/a", 4)])).toEqual([]);
  expect(votesOf(cache, "poll/a")).toBe(5n);
  expect([...cache.behind]).toEqual(["poll/a"]);
  expect(cache.takeUpdate([], [change("poll/a", 6)])).toEqual(["poll/a"]);
  expect(cache.states.get("poll/a")).toEqual(tally("poll/a", 6, [0, 6]));
  expect(cache.behind.size).toBe(0);
});

test("a snapshot leaves personal topics alone, also that of the next stream", () => {
  const cache = new StateCache();
  cache.takeSnapshot([tally("poll/a", 1, [0, 1])]);
  expect(cache.takePersonal([tally("inbox", 1)])).toEqual(["inbox"]);
  expect(cache.takeSnapshot([])).toEqual([]);
  cache.begin();
  cache.takeSnapshot([]);
  cache.takeSnapshot([]);
  expect([...cache.states.keys()]).toEqual(["poll/a", "inbox"]);
});

test("a topic that a snapshot does not name has no deltas any more", () => {
  const cache = new StateCache();
  cache.takeSnapshot([tally("poll/a", 1, [0, 1])]);
  cache.takeSnapshot([]);
  expect(() => cache.takeUpdate([], [change("poll/a", 2)])).toThrow(DeltaMismatch);
});

test("a topic is behind no longer when a snapshot does not name it, or when another stream speaks", () => {
  const cache = new StateCache();
  const fallBehind = () => {
    cache.takeSnapshot([tally("poll/a", 5, [0, 5])]);
    cache.takeUpdate([tally("poll/a", 4, [0, 4])]);
    expect(cache.behind.size).toBe(1);
  };
  fallBehind();
  cache.takeSnapshot([]);
  expect(cache.behind.size).toBe(0);
  fallBehind();
  cache.begin();
  expect(cache.behind.size).toBe(0);
});
