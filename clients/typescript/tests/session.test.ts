import { create } from "@bufbuild/protobuf";
import { Code, ConnectError, createRouterTransport } from "@connectrpc/connect";
import { afterEach, beforeEach, expect, test, vi } from "vitest";
import {
  GatewayService,
  IssueOriginResponseSchema,
  type SendRequest,
  SendResponseSchema,
} from "../src/gen/grandstand/gateway/v1/gateway_pb.js";
import { connect, Undelivered } from "../src/index.js";

beforeEach(() => void vi.useFakeTimers());
afterEach(() => void vi.useRealTimers());

/** A gateway whose Send answers from a script: a code to fail with, "replaced", or nothing to succeed. */
function gateway(...script: (Code | "replaced" | undefined)[]) {
  const seen: string[] = [];
  let origins = 0;
  let replaced = 0;
  const transport = createRouterTransport(({ service }) => {
    service(GatewayService, {
      issueOrigin: () => create(IssueOriginResponseSchema, { originId: `v${++origins}`, credit: 64 }),
      send: (request: SendRequest) => {
        seen.push(`${request.event?.originId}/${request.event?.originSeq}`);
        const code = script.shift();
        if (code === "replaced") {
          const origin = { originId: `w${++replaced}`, credit: 64 };
          throw new ConnectError("left", Code.FailedPrecondition, undefined, [{ desc: IssueOriginResponseSchema, value: origin }]);
        }
        if (code !== undefined) throw new ConnectError("scripted", code);
        return create(SendResponseSchema, { positions: [{ partition: 1, sequence: 9n }] });
      },
    });
  });
  const session = connect(transport).session({ random: () => 1, resendForMs: 1_000, backoff: { baseMs: 100, capMs: 400 } });
  return { session, seen, origins: () => origins };
}

const vote = (session: ReturnType<typeof gateway>["session"]) => session.vote("demo", "ada", "mvp", "left");

test("events of a session share one origin and are numbered from 1", async () => {
  const { session, seen, origins } = gateway();
  await Promise.all([vote(session), session.react("demo", "ada", "reactions", "fire", 3)]);
  expect(seen.sort()).toEqual(["v1/1", "v1/2"]);
  expect(origins()).toBe(1);
});

test("I2: an unanswered vote is sent again with the same identity", async () => {
  const { session, seen } = gateway(Code.Unavailable, Code.DeadlineExceeded, Code.Unknown);
  const positions = vote(session);
  await vi.runAllTimersAsync();
  expect((await positions).map((position) => position.sequence)).toEqual([9n]);
  expect(seen).toEqual(["v1/1", "v1/1", "v1/1", "v1/1"]);
});

test.each([Code.AlreadyExists, Code.FailedPrecondition, Code.NotFound, Code.InvalidArgument, Code.ResourceExhausted])(
  "a refusal is final: %s",
  async (code) => {
    const { session, seen } = gateway(code);
    await expect(vote(session)).rejects.toMatchObject({ code });
    expect(seen).toHaveLength(1);
  },
);

test("a vote nobody answers ends as Undelivered, and resent by hand keeps its identity", async () => {
  const { session, seen } = gateway(...Array<Code>(5).fill(Code.Unavailable));
  const outcome = vote(session).catch((error: unknown) => error);
  await vi.runAllTimersAsync();
  const undelivered = await outcome;
  expect(undelivered).toBeInstanceOf(Undelivered);
  const attempts = seen.length;
  expect(attempts).toBeGreaterThan(2);
  const resent = (undelivered as Undelivered).resend();
  await vi.runAllTimersAsync();
  await resent;
  expect(new Set(seen)).toEqual(new Set(["v1/1"]));
});

test("another actor sends under an origin of its own", async () => {
  const { session, seen } = gateway();
  await session.warm("ada");
  await vote(session);
  await session.vote("demo", "bob", "mvp", "left");
  await session.react("demo", "bob", "reactions", "fire");
  expect(seen).toEqual(["v1/1", "v2/1", "v2/2"]);
});

test("an origin that is replaced: what was sent under it may be stored, and the session goes on under the new one", async () => {
  const { session, seen, origins } = gateway("replaced", Code.Unavailable);
  await expect(vote(session)).rejects.toMatchObject({ code: Code.Aborted, rawMessage: expect.stringContaining("may be stored or not") });
  const next = vote(session);
  await vi.runAllTimersAsync();
  await next;
  expect(seen).toEqual(["v1/1", "w1/1", "w1/1"]);
  expect(origins()).toBe(1);
});

test("beyond the credit an event is refused here, by number", async () => {
  const { session } = gateway(...Array<Code>(2_000).fill(Code.Unavailable));
  const sent = Array.from({ length: 65 }, () => vote(session).catch((error: ConnectError) => error));
  await vi.advanceTimersByTimeAsync(10);
  const refused = await Promise.race(sent);
  expect(refused).toMatchObject({ code: Code.ResourceExhausted, rawMessage: expect.stringContaining("64 events") });
  await vi.runAllTimersAsync();
});
