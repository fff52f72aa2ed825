import { create } from "@bufbuild/protobuf";
import { Code } from "@connectrpc/connect";
import { describe, expect, test } from "vitest";
import { CursorSchema, type Position, PositionSchema } from "../src/gen/grandstand/event/v1/event_pb.js";
import { ceilingMs, delayMs } from "../src/backoff.js";
import { ServerClock } from "../src/clock.js";
import { Landing } from "../src/landing.js";
import { Origin } from "../src/origin.js";
import { Resume } from "../src/resume.js";

const at = (partition: number, sequence: number): Position =>
  create(PositionSchema, { partition, sequence: BigInt(sequence) });
const cursor = (...positions: Position[]) => create(CursorSchema, { positions });

describe("backoff", () => {
  const backoff = { baseMs: 100, capMs: 1_000 };

  test("doubles up to its cap, however many failures there were", () => {
    expect([0, 1, 2, 3, 4, 9_999].map((n) => ceilingMs(backoff, n))).toEqual([100, 200, 400, 800, 1_000, 1_000]);
  });

  test("waits anything from nothing to the ceiling", () => {
    expect(delayMs(backoff, 2, () => 0)).toBe(0);
    expect(delayMs(backoff, 2, () => 0.5)).toBe(200);
  });
});

describe("server clock", () => {
  test("is unknown before the first message", () => {
    expect(new ServerClock().at(5)).toBeUndefined();
  });

  test("trusts the message that was least delayed", () => {
    const clock = new ServerClock();
    clock.observe(1_000_000, 140);
    clock.observe(1_000_500, 610);
    clock.observe(1_001_000, 1_300);
    expect(clock.at(2_000)).toBe(1_001_890);
  });
});

describe("origin", () => {
  const origin = () => new Origin("v1", 3, 0, 24 * 3_600_000);

  test("numbers from 1, without gaps", () => {
    const it = origin();
    expect([it.take(), it.take(), it.take()]).toEqual([1n, 2n, 3n]);
  });

  test("I2: the span from the oldest unanswered number never exceeds the credit", () => {
    const it = origin();
    it.take();
    it.take();
    it.take();
    it.settle(2n);
    it.settle(3n);
    expect(it.take()).toBeUndefined();
    it.settle(1n);
    expect(it.take()).toBe(4n);
  });

  test("I2: a number that fell behind the window is not taken again", () => {
    const it = origin();
    for (let n = 0; n < 3; n++) it.settle(it.take() ?? 0n);
    expect(it.retake(1n)).toBe(true);
    it.settle(1n);
    it.settle(it.take() ?? 0n);
    expect(it.retake(1n)).toBe(false);
  });

  test("ends by the server's word or by age, whichever comes first", () => {
    const soon = new Origin("v1", 3, 0, 60_000);
    expect(soon.lives(0, 30_000)).toBe(true);
    expect(soon.lives(31_000, 30_000)).toBe(false);
    const clockBehind = new Origin("v1", 3, 0, 1e12);
    expect(clockBehind.lives(13 * 3_600_000, 0)).toBe(false);
  });
});

describe("landing", () => {
  test("measures to the first state that includes the event", () => {
    const landing = new Landing(100);
    expect(landing.stored([at(0, 7)])).toBe(false);
    expect(landing.saw(cursor(at(0, 6)), 110)).toBe(false);
    expect(landing.saw(cursor(at(0, 7)), 114)).toBe(true);
    expect(landing.saw(cursor(at(0, 8)), 200)).toBe(false);
    expect(landing.tookMs).toBe(14);
  });

  test("knows a state that came before the answer", () => {
    const landing = new Landing(100);
    landing.saw(cursor(at(0, 6)), 105);
    landing.saw(cursor(at(0, 9)), 112);
    landing.saw(cursor(at(0, 10)), 130);
    expect(landing.stored([at(0, 7)])).toBe(true);
    expect(landing.tookMs).toBe(12);
  });

  test("a long wait for the answer can only make the time longer, and holds a bounded memory", () => {
    const landing = new Landing(0);
    for (let n = 1; n <= 1_000; n++) landing.saw(cursor(at(0, n)), n);
    expect(landing.stored([at(0, 1)])).toBe(true);
    expect(landing.tookMs).toBe(745);
  });
});

describe("resume", () => {
  const unanswered = { delivered: false, barrier: true };

  test("waits longer with each stream that delivers nothing, and starts again after one that did", () => {
    const resume = new Resume(() => 1, { baseMs: 100, capMs: 1_000 });
    const waits = [1, 2, 3].map(() => resume.ended(Code.Unavailable, unanswered));
    expect(waits.map((next) => next.kind === "retry" && next.afterMs)).toEqual([100, 200, 400]);
    expect(resume.ended(undefined, { delivered: true, barrier: true })).toEqual({
      kind: "retry",
      afterMs: 100,
      withCursors: true,
    });
  });

  test("gives up the cursors once after DEADLINE_EXCEEDED, then hands them in again", () => {
    const resume = new Resume(() => 1, { baseMs: 100, capMs: 1_000 });
    expect(resume.ended(Code.DeadlineExceeded, unanswered)).toEqual({ kind: "retry", afterMs: 0, withCursors: false });
    expect(resume.ended(Code.DeadlineExceeded, { delivered: false, barrier: false })).toEqual({
      kind: "retry",
      afterMs: 100,
      withCursors: true,
    });
  });

  test("takes the server's refusal for an answer, and a lost connection for none", () => {
    const resume = new Resume(() => 1);
    expect(resume.ended(Code.NotFound, unanswered).kind).toBe("refused");
    expect(resume.ended(Code.Unknown, unanswered).kind).toBe("retry");
    expect(resume.ended(Code.ResourceExhausted, unanswered).kind).toBe("retry");
  });
});
