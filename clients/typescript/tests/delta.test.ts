import { clone, fromJson, type JsonValue, toBinary, toJson } from "@bufbuild/protobuf";
import { expect, test } from "vitest";
import { TopicStateSchema } from "../src/gen/grandstand/aggregate/v1/aggregate_pb.js";
import { TopicDeltaSchema } from "../src/gen/grandstand/gateway/v1/delta_pb.js";
import { applied, DeltaMismatch } from "../src/delta.js";
// Made and checked in Python too: tests/support/delta_vectors.py.
import vectors from "../../../tests/delta_vectors.json" with { type: "json" };

interface Vector {
  readonly name: string;
  readonly before: JsonValue;
  readonly delta: JsonValue;
  readonly after?: JsonValue;
}

test.each(vectors as readonly Vector[])("$name", ({ before, delta, after }) => {
  const state = fromJson(TopicStateSchema, before);
  const kept = clone(TopicStateSchema, state);
  const change = fromJson(TopicDeltaSchema, delta);
  if (after === undefined) {
    expect(() => applied(state, change)).toThrow(DeltaMismatch);
  } else {
    const expected = fromJson(TopicStateSchema, after);
    const now = applied(state, change);
    expect(toJson(TopicStateSchema, now)).toEqual(toJson(TopicStateSchema, expected));
    expect(toBinary(TopicStateSchema, now)).toEqual(toBinary(TopicStateSchema, expected));
  }
  expect(state).toEqual(kept);
});

test("there are vectors", () => expect(vectors.length).toBeGreaterThan(30));
