import { create, type MessageInitShape } from "@bufbuild/protobuf";
import { Code, ConnectError, createRouterTransport } from "@connectrpc/connect";
import { afterEach, beforeEach, expect, test, vi } from "vitest";
import {
  GatewayService,
  type SubscribeRequest,
  SubscribeResponseSchema,
} from "../src/gen/grandstand/gateway/v1/gateway_pb";
import { type Connection, connect, type SubscriptionOptions } from "../src/grandstand";

beforeEach(() => void vi.useFakeTimers());
afterEach(() => void vi.useRealTimers());

type Message = MessageInitShape<typeof SubscribeResponseSchema>;
/** What one stream does: messages, then a code to fail with, "hang" or "end". */
type Script = readonly (Message | Code | "hang" | "end")[];

function state(sequence: number, voters: number): Message {
  return topics("update", sequence, voters);
}
function snapshot(sequence: number, voters: number): Message {
  return topics("snapshot", sequence, voters);
}
function topics(kind: "snapshot" | "update", sequence: number, voters: number): Message {
  const topic = {
    topic: "poll/mvp",
    cursor: { positions: [{ partition: 2, sequence: BigInt(sequence) }] },
    value: { case: "tally" as const, value: { voters: BigInt(voters) } },
  };
  return { message: { case: kind, value: { topics: [topic] } } } as Message;
}

function watch(scripts: Script[], options: Partial<SubscriptionOptions> = {}) {
  const requests: SubscribeRequest[] = [];
  const phases: Connection["phase"][] = [];
  const shown: bigint[] = [];
  const transport = createRouterTransport(({ service }) => {
    service(GatewayService, {
      async *subscribe(request, context) {
        requests.push(request);
        for (const step of scripts.shift() ?? ["hang" as const]) {
          if (step === "end") return;
          if (step === "hang") await new Promise((resolve) => context.signal.addEventListener("abort", resolve));
          else if (typeof step === "number") throw new ConnectError("scripted", step);
          else yield create(SubscribeResponseSchema, step as Message);
        }
      },
    });
  });
  const subscription = connect(transport).subscribe({
    gameId: "demo",
    random: () => 1,
    onConnection: (connection) => phases.push(connection.phase),
    onTopics: () => {
      const value = subscription.screen.states.get("poll/mvp")?.value;
      if (value?.case === "tally") shown.push(value.value.voters);
    },
    ...options,
  });
  return { subscription, requests, phases, shown };
}

const cursorsOf = (request: SubscribeRequest | undefined) =>
  request?.cursors.map(({ topic, cursor }) => `${topic}@${cursor?.positions[0]?.sequence}`);

test("shows the snapshot, then each update", async () => {
  const { subscription, shown, phases } = watch([[snapshot(1, 1), state(2, 2), state(3, 3), "hang"]]);
  await vi.waitFor(() => expect(shown).toEqual([1n, 2n, 3n]));
  expect(phases).toEqual(["connecting", "live"]);
  subscription.close();
});

test("I5: a new stream is asked for with the cursors of what is shown, and shows nothing older", async () => {
  const { subscription, requests, shown, phases } = watch([
    [snapshot(1, 1), state(5, 5), Code.Unavailable],
    [snapshot(4, 4), state(6, 6), "hang"],
  ]);
  await vi.waitFor(() => expect(shown.at(-1)).toBe(6n));
  expect(shown).not.toContain(4n);
  expect(cursorsOf(requests[1])).toEqual(["poll/mvp@5"]);
  expect(phases).toEqual(["connecting", "live", "reconnecting", "live"]);
  subscription.close();
});

test("after DEADLINE_EXCEEDED one stream is asked for without cursors, then with them again", async () => {
  const { subscription, requests } = watch([
    [snapshot(5, 5), "end"],
    [Code.DeadlineExceeded],
    [Code.Unavailable],
    ["hang"],
  ]);
  await vi.waitFor(() => expect(requests).toHaveLength(4));
  expect(requests.map(cursorsOf)).toEqual([[], ["poll/mvp@5"], [], ["poll/mvp@5"]]);
  subscription.close();
});

test("I6: the barrier is handed in with every stream that carries cursors", async () => {
  const position = { $typeName: "grandstand.event.v1.Position" as const, partition: 2, sequence: 8n };
  const { subscription, requests } = watch([["end"], ["hang"]], { positions: () => [position] });
  await vi.waitFor(() => expect(requests).toHaveLength(2));
  expect(requests.map((request) => request.positions.map(({ sequence }) => sequence))).toEqual([[8n], [8n]]);
  subscription.close();
});

test("a silent stream is given up and opened again", async () => {
  const { subscription, requests, phases } = watch([[snapshot(1, 1), "hang"], [snapshot(1, 1), "hang"]]);
  await vi.advanceTimersByTimeAsync(24_000);
  expect(phases.at(-1)).toBe("live");
  expect(requests).toHaveLength(1);
  await vi.advanceTimersByTimeAsync(2_000);
  expect(requests).toHaveLength(2);
  expect(phases).toEqual(["connecting", "live", "reconnecting", "live"]);
  subscription.close();
});

test("a refusal is told with the server's words, and nothing is tried until asked", async () => {
  const { subscription, requests } = watch([[Code.NotFound], [snapshot(1, 1), "hang"]]);
  await vi.advanceTimersByTimeAsync(60_000);
  expect(subscription.connection).toMatchObject({ phase: "refused", code: Code.NotFound, message: "scripted" });
  expect(requests).toHaveLength(1);
  subscription.open();
  await vi.waitFor(() => expect(subscription.connection.phase).toBe("live"));
  subscription.close();
});

test("paused it holds no stream and keeps the screen; opened again it resumes from there", async () => {
  const { subscription, requests, phases } = watch([[snapshot(3, 3), "hang"], [snapshot(4, 4), "hang"]]);
  await vi.waitFor(() => expect(phases).toContain("live"));
  subscription.pause();
  await vi.advanceTimersByTimeAsync(120_000);
  expect(requests).toHaveLength(1);
  expect(subscription.screen.states.size).toBe(1);
  subscription.open();
  await vi.waitFor(() => expect(requests).toHaveLength(2));
  expect(cursorsOf(requests[1])).toEqual(["poll/mvp@3"]);
  subscription.close();
});

test("closed it stays closed", async () => {
  const { subscription, requests } = watch([["end"]]);
  await vi.waitFor(() => expect(requests).toHaveLength(1));
  subscription.close();
  subscription.open();
  await vi.advanceTimersByTimeAsync(60_000);
  expect(requests).toHaveLength(1);
  expect(subscription.connection.phase).toBe("closed");
});
