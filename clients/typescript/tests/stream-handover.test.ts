import { create, type MessageInitShape } from "@bufbuild/protobuf";
import { Code } from "@connectrpc/connect";
import { describe, expect, test } from "vitest";
import { type SubscribeResponse, SubscribeResponseSchema } from "../src/gen/grandstand/gateway/v1/gateway_pb.js";
import { RETRY_AFTER_MAX_MS, retryAfterMs } from "../src/retry-info.js";
import { type Heard, StreamHandover } from "../src/stream-handover.js";

const BACKOFF = { baseMs: 1_000, capMs: 8_000 };

type Said = MessageInitShape<typeof SubscribeResponseSchema>["message"];
const said = (message: Said): SubscribeResponse => create(SubscribeResponseSchema, { ...(message && { message }) });
const SNAPSHOT = said({ case: "snapshot", value: {} });
const UPDATE = said({ case: "update", value: {} });
const HEARTBEAT = said({ case: "heartbeat", value: {} });
const drain = (seconds: number) => said({ case: "drain", value: { reconnectAfter: { seconds: BigInt(seconds) } } });
const expiring = (endsAtS: number, asOfS: number) =>
  create(SubscribeResponseSchema, {
    asOf: { seconds: BigInt(asOfS) },
    message: { case: "tokenExpiring", value: { expiresAt: { seconds: BigInt(endsAtS) } } },
  });
const announcement = (gameId: string) => said({ case: "announcement", value: { gameId } });

const heard = (what: Partial<Heard> = {}): Heard => ({ shows: true, takesOver: false, ends: undefined, ...what });
const cut = { code: Code.Unavailable, barrier: false, retryAfterMs: undefined };

/** With one stream that is shown. */
function watching(): { streams: StreamHandover; first: number } {
  const streams = new StreamHandover(() => 0.5, BACKOFF);
  const first = streams.opened();
  expect(streams.heard(first, SNAPSHOT, 0)).toEqual(heard({ takesOver: true }));
  expect(streams.opensAtMs).toBeUndefined();
  return { streams, first };
}

test("a drained stream is shown until the snapshot of the next is there", () => {
  const { streams, first } = watching();
  expect(streams.heard(first, drain(5), 10_000).shows).toBe(true);
  expect(streams.opensAtMs).toBe(15_000);
  const next = streams.opened();
  expect(streams.opensAtMs).toBeUndefined();
  expect(streams.heard(first, UPDATE, 15_100)).toEqual(heard());
  expect(streams.heard(next, HEARTBEAT, 15_200)).toEqual(heard({ shows: false }));
  expect(streams.heard(next, SNAPSHOT, 15_300)).toEqual(heard({ takesOver: true, ends: first }));
  expect(streams.heard(next, UPDATE, 15_400)).toEqual(heard());
  expect(streams.drained).toBe(1);
});

test("a stream that ends before its drain said is followed when the drain said", () => {
  const { streams, first } = watching();
  streams.heard(first, drain(5), 10_000);
  expect(streams.ended(first, cut, 11_000)).toBe("goes on");
  expect(streams.opensAtMs).toBe(15_000);
});

test("a stream whose successor is opened already is followed by that", () => {
  const { streams, first } = watching();
  streams.heard(first, drain(0), 0);
  const next = streams.opened();
  expect(streams.ended(first, cut, 10)).toBe("goes on");
  expect(streams.opensAtMs).toBeUndefined();
  expect(streams.heard(next, SNAPSHOT, 20)).toEqual(heard({ takesOver: true }));
});

test("a successor that fails is tried again while the old one is shown", () => {
  const { streams, first } = watching();
  streams.heard(first, drain(0), 0);
  streams.ended(streams.opened(), cut, 100);
  expect(streams.opensAtMs).toBe(600);
  expect(streams.heard(first, UPDATE, 200)).toEqual(heard());
});

test("a mismatch is followed after a backoff that grows though streams bring something", () => {
  const { streams, first } = watching();
  let stream = first;
  const waits = [];
  for (let n = 0; n < 3; n++) {
    streams.mismatched(stream, 0);
    waits.push(streams.opensAtMs);
    stream = streams.opened();
    streams.heard(stream, SNAPSHOT, 0);
  }
  expect(waits).toEqual([500, 1_000, 2_000]);
  streams.ended(stream, cut, 0);
  expect(streams.opensAtMs).toBe(500);
});

test("a wait that the server asked for is the least, and gets some jitter", () => {
  const { streams, first } = watching();
  streams.ended(first, { code: Code.ResourceExhausted, barrier: false, retryAfterMs: 40_000 }, 0);
  expect(streams.opensAtMs).toBe(45_000);
});

test("a second drain opens no third stream, nor later than the first said", () => {
  const { streams, first } = watching();
  streams.heard(first, drain(1), 0);
  streams.heard(first, drain(5), 0);
  expect(streams.opensAtMs).toBe(1_000);
  streams.opened();
  streams.heard(first, drain(0), 1_100);
  expect(streams.opensAtMs).toBeUndefined();
});

test("a drain far in the future is not waited for", () => {
  const { streams, first } = watching();
  streams.heard(first, drain(1e9), 0);
  expect(streams.opensAtMs).toBe(600_000);
});

test("a stream that brought something and ended as it had said starts the backoff again", () => {
  const { streams, first } = watching();
  streams.ended(first, cut, 0);
  for (let n = 0; n < 3; n++) streams.ended(streams.opened(), cut, 0);
  const good = streams.opened();
  streams.heard(good, SNAPSHOT, 0);
  streams.heard(good, drain(0), 0);
  streams.ended(good, cut, 0);
  streams.ended(streams.opened(), cut, 0);
  expect(streams.opensAtMs).toBe(500);
});

test("after a reset the next stream is the only one", () => {
  const { streams, first } = watching();
  streams.heard(first, drain(0), 0);
  streams.opened();
  streams.reset();
  expect(streams.opensAtMs).toBeUndefined();
  const next = streams.opened();
  expect(streams.heard(next, HEARTBEAT, 0).shows).toBe(true);
  streams.heard(next, drain(1), 0);
  expect(streams.opensAtMs).toBe(1_000);
});

test("what no other stream would cure is a refusal", () => {
  const { streams, first } = watching();
  expect(streams.ended(first, { ...cut, code: Code.NotFound }, 0)).toBe("refused");
});

test("an announcement that two streams bring is told once", () => {
  const { streams, first } = watching();
  expect(streams.heard(first, announcement("a"), 0).shows).toBe(true);
  streams.heard(first, drain(0), 0);
  const next = streams.opened();
  streams.heard(next, SNAPSHOT, 0);
  expect(streams.heard(next, announcement("a"), 0).shows).toBe(false);
  expect(streams.heard(next, announcement("b"), 0).shows).toBe(true);
});

test("announcements are not remembered without bound", () => {
  const { streams, first } = watching();
  for (let n = 0; n <= 64; n++) streams.heard(first, announcement(`${n}`), 0);
  streams.heard(first, drain(0), 0);
  const next = streams.opened();
  streams.heard(next, SNAPSHOT, 0);
  expect(streams.heard(next, announcement("64"), 0).shows).toBe(false);
  expect(streams.heard(next, announcement("0"), 0).shows).toBe(true);
});

describe("retry info", () => {
  const info = (...bytes: number[]) => ({ details: [{ type: "google.rpc.RetryInfo", value: Uint8Array.from(bytes) }] });

  test("is the least wait that a status names", () => {
    // Field 1, a Duration of 40 s and 500,000,000 ns.
    expect(retryAfterMs(info(0x0a, 8, 0x08, 40, 0x10, 0x80, 0xca, 0xb5, 0xee, 0x01))).toBe(40_500);
    // After a field that nobody knows yet.
    expect(retryAfterMs(info(0x10, 1, 0x0a, 2, 0x08, 40))).toBe(40_000);
  });

  test("is bounded", () => {
    expect(retryAfterMs(info(0x0a, 4, 0x08, 0xff, 0xff, 0x7f))).toBe(RETRY_AFTER_MAX_MS);
    // -1 s
    const negative = [0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01];
    expect(retryAfterMs(info(0x0a, 11, 0x08, ...negative))).toBe(0);
  });

  test("is none where nothing is said, or nothing that can be read", () => {
    expect(retryAfterMs(undefined)).toBeUndefined();
    expect(retryAfterMs({ details: [] })).toBeUndefined();
    expect(retryAfterMs(info())).toBeUndefined();
    expect(retryAfterMs(info(0x0a, 9, 0x08))).toBeUndefined();
    const value = Uint8Array.from([0x0a, 2, 0x08, 40]);
    expect(retryAfterMs({ details: [{ type: "google.rpc.Other", value }] })).toBeUndefined();
  });
});

test("a token that expires: another at once, the same again after half of what is left", () => {
  const { streams, first } = watching();
  streams.heard(first, expiring(1_000, 900), 0);
  expect([streams.opensAtMs, streams.renews]).toEqual([0, true]);
  const second = streams.opened();
  expect(streams.renews).toBe(false);
  streams.heard(second, SNAPSHOT, 10);
  streams.heard(second, expiring(1_000, 900), 20); // It was given the same token.
  expect([streams.opensAtMs, streams.renews]).toEqual([50_020, true]);
  const third = streams.opened();
  expect(streams.ended(third, cut, 50_030)).toBe("goes on"); // The source failed.
  expect(streams.renews).toBe(true);
  const again = streams.opened();
  const refused = { code: Code.Unauthenticated, barrier: false, retryAfterMs: undefined };
  expect(streams.ended(again, refused, 60_020)).toBe("goes on"); // The shown one still has a good one.
  expect([streams.opensAtMs, streams.renews]).toEqual([80_020, true]);
  const fourth = streams.opened();
  streams.heard(fourth, SNAPSHOT, 80_030);
  streams.heard(fourth, expiring(9_000, 8_000), 80_040); // Another one, which expires later.
  expect([streams.opensAtMs, streams.renews]).toEqual([80_040, true]);
});

test("a wait for another token keeps nobody waiting whose stream ends or is drained", () => {
  for (const [ends, opensAtMs] of [[false, 7_000], [true, 2_500]] as const) {
    const { streams, first } = watching();
    streams.heard(first, expiring(1_000, 0), 0);
    const second = streams.opened();
    streams.heard(second, SNAPSHOT, 10);
    streams.heard(second, expiring(1_000, 0), 20);
    expect(streams.opensAtMs).toBe(500_020);
    if (ends) streams.ended(second, cut, 2_000);
    else streams.heard(second, drain(5), 2_000);
    expect([streams.opensAtMs, streams.renews]).toEqual([opensAtMs, true]);
  }
});
