import { create, type MessageInitShape } from "@bufbuild/protobuf";
import { Code, ConnectError, createRouterTransport } from "@connectrpc/connect";
import { afterEach, beforeEach, expect, test, vi } from "vitest";
import {
  GatewayService,
  type SubscribeRequest,
  SubscribeResponseSchema,
} from "../src/gen/grandstand/gateway/v1/gateway_pb.js";
import { bearer, type Connection, connect, type SubscriptionOptions, type TokenSource } from "../src/index.js";

beforeEach(() => void vi.useFakeTimers());
afterEach(() => void vi.useRealTimers());

type Message = MessageInitShape<typeof SubscribeResponseSchema>;
/** What one stream does: messages, waits, then a code or an error to fail with, "hang" or "end". */
type Script = readonly (Message | Code | ConnectError | Promise<void> | "hang" | "end")[];

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

/** Its tally has one option, with as many votes as there are voters. */
function delta(topic: string, sequence: number): Message {
  const change = {
    topic,
    cursor: [{ partition: 2, sequence: BigInt(sequence) }],
    value: { case: "tally" as const, value: { voters: BigInt(sequence) } },
  };
  return { message: { case: "update", value: { deltas: [change] } } };
}
function drain(milliseconds: number): Message {
  return { message: { case: "drain", value: { reconnectAfter: { nanos: milliseconds * 1_000_000 } } } };
}
/** Resolves when told to. */
function gate(): { readonly passed: Promise<void>; readonly open: () => void } {
  let open = () => {};
  const passed = new Promise<void>((resolve) => (open = resolve));
  return { passed, open };
}

function watch(scripts: Script[], options: Partial<SubscriptionOptions> = {}, source: TokenSource = () => undefined) {
  const tokens: (string | null)[] = [];
  const requests: SubscribeRequest[] = [];
  const phases: Connection["phase"][] = [];
  const shown: bigint[] = [];
  const ended: number[] = [];
  const transport = createRouterTransport(({ service }) => {
    service(GatewayService, {
      async *subscribe(request, context) {
        const number = requests.push(request);
        tokens.push(context.requestHeader.get("authorization"));
        context.signal.addEventListener("abort", () => ended.push(number));
        for (const step of scripts.shift() ?? ["hang" as const]) {
          if (step === "end") return;
          if (step === "hang") await new Promise((resolve) => context.signal.addEventListener("abort", resolve));
          else if (typeof step === "number") throw new ConnectError("scripted", step);
          else if (step instanceof ConnectError) throw step;
          else if (step instanceof Promise) await step;
          else yield create(SubscribeResponseSchema, step as Message);
        }
      },
    });
  }, { transport: { interceptors: [bearer(source)] } });
  const subscription = connect(transport).subscribe({
    gameId: "demo",
    random: () => 1,
    onConnection: (connection) => phases.push(connection.phase),
    onTopics: () => {
      const value = subscription.cache.states.get("poll/mvp")?.value;
      if (value?.case === "tally") shown.push(value.value.voters);
    },
    ...options,
  });
  return { subscription, requests, phases, shown, ended, tokens };
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

test("I5: applied positions are handed in for all topics, the greatest of each partition", async () => {
  const applied = (message: Message, sequence: number) =>
    ({ ...message, applied: [{ partition: 2, sequence: BigInt(sequence) }] }) as Message;
  const { subscription, requests, shown } = watch([
    [applied(snapshot(1, 1), 7), Code.Unavailable],
    [applied(snapshot(1, 1), 7), applied(state(9, 9), 9), Code.Unavailable],
    ["hang"],
  ]);
  await vi.waitFor(() => expect(requests).toHaveLength(3));
  expect(requests.map((request) => request.applied.map(({ sequence }) => sequence))).toEqual([[], [7n], [9n]]);
  expect(requests.map(cursorsOf)).toEqual([[], [], []]);
  expect(shown.at(-1)).toBe(9n);
  subscription.close();
});

test("the end of the game ends the subscription: its results stay, and no stream is opened again", async () => {
  const endedAt = { seconds: 1_800_000_000n };
  const { subscription, requests, phases } = watch([
    [snapshot(1, 1), { message: { case: "gameEnded", value: { endedAt } } }, "end"],
  ]);
  await vi.waitFor(() => expect(phases.at(-1)).toBe("ended"));
  expect(subscription.connection).toEqual({ phase: "ended", endedAt: new Date(1_800_000_000_000) });
  subscription.pause();
  subscription.open();
  await vi.advanceTimersByTimeAsync(60_000);
  expect(requests).toHaveLength(1);
  expect(phases).toEqual(["connecting", "live", "ended"]);
  expect([...subscription.cache.states.keys()]).toEqual(["poll/mvp"]);
  subscription.close();
  expect(phases.at(-1)).toBe("closed");
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

test("paused it holds no stream and keeps its states; opened again it resumes from there", async () => {
  const { subscription, requests, phases } = watch([[snapshot(3, 3), "hang"], [snapshot(4, 4), "hang"]]);
  await vi.waitFor(() => expect(phases).toContain("live"));
  subscription.pause();
  await vi.advanceTimersByTimeAsync(120_000);
  expect(requests).toHaveLength(1);
  expect(subscription.cache.states.size).toBe(1);
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

test("updates are asked for as deltas, and states are whole", async () => {
  const { subscription, requests, shown } = watch([[snapshot(1, 1), delta("poll/mvp", 2), delta("poll/mvp", 7), "hang"]]);
  await vi.waitFor(() => expect(shown).toEqual([1n, 2n, 7n]));
  expect(requests[0]?.deltas).toBe(true);
  expect(subscription.cache.states.get("poll/mvp")).toMatchObject({ cursor: { positions: [{ sequence: 7n }] } });
  subscription.close();
});

test("a delta that does not fit opens the stream again with cursors, and shows nothing wrong", async () => {
  const { subscription, requests, shown, ended } = watch([
    [snapshot(1, 1), delta("poll/other", 2), "hang"],
    [snapshot(3, 3), "hang"],
  ]);
  await vi.waitFor(() => expect(shown).toEqual([1n, 3n]));
  expect(subscription.mismatches).toBe(1);
  expect(ended).toEqual([1]);
  expect(cursorsOf(requests[1])).toEqual(["poll/mvp@1"]);
  subscription.close();
});

test("drained it shows the old stream until the new one stands, and never something older", async () => {
  const more = gate();
  const ready = gate();
  const { subscription, requests, shown, phases, ended } = watch([
    [snapshot(1, 1), drain(500), more.passed, delta("poll/mvp", 2), "hang"],
    [ready.passed, snapshot(1, 1), delta("poll/mvp", 3), "hang"],
  ]);
  await vi.waitFor(() => expect(subscription.drained).toBe(1));
  expect(requests).toHaveLength(1);
  await vi.advanceTimersByTimeAsync(600);
  expect(cursorsOf(requests[1])).toEqual(["poll/mvp@1"]);
  more.open();
  await vi.waitFor(() => expect(shown).toEqual([1n, 2n]));
  expect(ended).toEqual([]);
  ready.open();
  await vi.waitFor(() => expect(ended).toEqual([1]));
  await vi.waitFor(() => expect(shown.at(-1)).toBe(3n));
  expect(shown).toEqual([1n, 2n, 2n, 3n]);
  expect(phases).toEqual(["connecting", "live"]);
  await vi.advanceTimersByTimeAsync(10_000);
  expect(requests).toHaveLength(2);
  subscription.close();
  expect(ended).toEqual([1, 2]);
});

test("taken over, it keeps what came since the new stream was asked for, and tells no news twice", async () => {
  const news: Message = { message: { case: "announcement", value: { gameId: "demo" } } };
  const opened: Message = { message: { case: "update", value: { topics: [{ topic: "poll/new" }] } } };
  const more = gate();
  const ready = gate();
  const told: string[] = [];
  const { subscription, requests, ended } = watch(
    [
      [snapshot(1, 1), drain(10), more.passed, news, opened, "hang"],
      [ready.passed, snapshot(1, 1), news, delta("poll/mvp", 2), "hang"],
    ],
    { onAnnouncement: ({ gameId }) => told.push(gameId) },
  );
  await vi.waitFor(() => expect(requests).toHaveLength(2));
  more.open();
  await vi.waitFor(() => expect(subscription.cache.states.has("poll/new")).toBe(true));
  ready.open();
  await vi.waitFor(() => expect(ended).toEqual([1]));
  await vi.waitFor(() => expect(subscription.cache.states.get("poll/mvp")?.cursor?.positions[0]?.sequence).toBe(2n));
  expect([...subscription.cache.states.keys()]).toEqual(["poll/mvp", "poll/new"]);
  expect(told).toEqual(["demo"]);
  subscription.close();
});

test("no more cursors are handed in than may be", async () => {
  const many = Array.from({ length: 65 }, (_, n) => ({
    topic: `poll/${n}`,
    cursor: { positions: [{ partition: 2, sequence: 1n }] },
  }));
  const { subscription, requests } = watch([[{ message: { case: "snapshot", value: { topics: many } } }, "end"], ["hang"]]);
  await vi.waitFor(() => expect(requests).toHaveLength(2));
  expect(requests[1]?.cursors).toHaveLength(64);
  subscription.close();
});

test("drained and cut off at once it comes when it was told to, and no sooner", async () => {
  const { subscription, requests, phases } = watch([
    [snapshot(1, 1), drain(900), Code.Unavailable],
    [snapshot(2, 2), "hang"],
  ]);
  await vi.waitFor(() => expect(phases.at(-1)).toBe("reconnecting"));
  await vi.advanceTimersByTimeAsync(700);
  expect(requests).toHaveLength(1);
  await vi.advanceTimersByTimeAsync(300);
  expect(requests).toHaveLength(2);
  await vi.waitFor(() => expect(phases.at(-1)).toBe("live"));
  subscription.close();
});

test("paused while one stream takes over from another, both are ended", async () => {
  const { subscription, requests, ended } = watch([[snapshot(1, 1), drain(100), "hang"], ["hang"]]);
  await vi.advanceTimersByTimeAsync(200);
  expect(requests).toHaveLength(2);
  subscription.pause();
  await vi.advanceTimersByTimeAsync(60_000);
  expect(ended).toEqual([1, 2]);
  expect(requests).toHaveLength(2);
  subscription.close();
});

test("turned away it waits as long as it was told, and some more", async () => {
  const full = new ConnectError("full", Code.ResourceExhausted);
  full.details = [{ type: "google.rpc.RetryInfo", value: Uint8Array.from([0x0a, 2, 0x08, 40]) }];
  const { subscription, requests } = watch([[full], [snapshot(1, 1), "hang"]]);
  await vi.advanceTimersByTimeAsync(49_000);
  expect(requests).toHaveLength(1);
  await vi.advanceTimersByTimeAsync(2_000);
  expect(requests).toHaveLength(2);
  subscription.close();
});

test("personal topics are shown beside, and the rate is what was said last", async () => {
  const personal: Message = { message: { case: "personal", value: { topics: [{ topic: "inbox" }] } } };
  const rendition: Message = { message: { case: "rendition", value: { updatesPerS: 5, reason: "hot" } } };
  const still: Message = { message: { case: "snapshot", value: { updatesPerS: 5, topics: [{ topic: "audience" }] } } };
  const { subscription } = watch([
    [{ message: { case: "snapshot", value: { updatesPerS: 20 } } }, personal, snapshot(2, 2), rendition, still, "hang"],
  ]);
  expect(subscription.rendition).toBeUndefined();
  await vi.waitFor(() => expect([...subscription.cache.states.keys()]).toEqual(["inbox", "poll/mvp", "audience"]));
  expect(subscription.rendition).toEqual({ updatesPerS: 5, reason: "hot" });
  subscription.close();
});

/** Its token ends at `endsAtS`, and it is `asOfS` now. */
function expiring(endsAtS: number, asOfS: number): Message {
  const at = (seconds: number) => ({ seconds: BigInt(seconds) });
  return { asOf: at(asOfS), message: { case: "tokenExpiring", value: { expiresAt: at(endsAtS) } } } as Message;
}

test("a token that expires is renewed while the old stream is shown, and nothing is lost or shown twice", async () => {
  const [isAsked, stands, goesOn] = [gate(), gate(), gate()];
  const asked: boolean[] = [];
  const source: TokenSource = (_, renews) => `t${asked.push(renews)}`;
  const { subscription, requests, shown, phases, ended, tokens } = watch(
    [
      [snapshot(1, 1), expiring(100, 90), isAsked.passed, state(2, 2), goesOn.passed, state(9, 9), "hang"],
      [stands.passed, snapshot(2, 2), state(3, 3), "hang"],
    ],
    {},
    source,
  );
  await vi.waitFor(() => expect(requests).toHaveLength(2));
  isAsked.open();
  await vi.waitFor(() => expect(shown).toEqual([1n, 2n]));
  expect([tokens, asked]).toEqual([["Bearer t1", "Bearer t2"], [false, true]]);
  expect(cursorsOf(requests[1])).toEqual(["poll/mvp@1"]);
  stands.open();
  await vi.waitFor(() => expect(shown.at(-1)).toBe(3n));
  expect(ended).toEqual([1]);
  goesOn.open();
  await vi.advanceTimersByTimeAsync(1_000);
  expect(shown).toEqual([1n, 2n, 2n, 3n]); // Its Snapshot is as new as what was shown.
  expect(phases).toEqual(["connecting", "live"]);
  subscription.close();
});

test("while the source gives the same token it is asked again after half of what is left, not in a loop", async () => {
  const script = (asOfS: number): Script => [snapshot(1, 1), expiring(1_000, asOfS), "hang"];
  const { subscription, requests } = watch([script(900), script(900), script(950), script(975), ["hang"]]);
  await vi.waitFor(() => expect(requests).toHaveLength(2));
  await vi.advanceTimersByTimeAsync(20_000);
  expect(requests).toHaveLength(2);
  await vi.advanceTimersByTimeAsync(4_000); // The silent stream is opened again, too.
  await vi.advanceTimersByTimeAsync(90_000);
  expect(requests.length).toBeLessThan(12);
  subscription.close();
});

test("a stream that is ended for its token is followed once with another one", async () => {
  const source: TokenSource = (_, renews) => (renews ? "new" : "old");
  const { subscription, tokens, shown } = watch(
    [[snapshot(1, 1), Code.Unauthenticated], [snapshot(2, 2), Code.Unauthenticated], [Code.Unauthenticated]],
    {},
    source,
  );
  await vi.waitFor(() => expect(subscription.connection.phase).toBe("refused"));
  expect(tokens).toEqual(["Bearer old", "Bearer new", "Bearer new"]);
  expect(shown).toEqual([1n, 2n]);
});

test("a source that fails is asked again, and the connection says why", async () => {
  let isAway = true;
  const source: TokenSource = () => {
    if (isAway) throw new Error("the platform is away");
    return "t";
  };
  const { subscription } = watch([[snapshot(1, 1), "hang"]], {}, source);
  await vi.waitFor(() => expect(subscription.connection).toMatchObject({ phase: "reconnecting", why: "the platform is away" }));
  isAway = false;
  await vi.waitFor(() => expect(subscription.connection.phase).toBe("live"));
  subscription.close();
});

const notice = (id: string, read = false) => ({ notificationId: id, title: `notice ${id}`, read });
function inbox(sequence: number, ...newest: ReturnType<typeof notice>[]): Message {
  const positions = [{ partition: 0, sequence: BigInt(sequence) }];
  const topic = { topic: "inbox", cursor: { positions }, value: { case: "inbox" as const, value: { newest } } };
  return { message: { case: "personal", value: { topics: [topic] } } } as Message;
}
function announced(id: string): Message {
  return { message: { case: "announcement", value: { gameId: "demo", news: { case: "notice", value: notice(id) } } } } as Message;
}

test("a notification is told once, as an announcement or by the inbox, and what was there before is not", async () => {
  const told: string[] = [];
  const { subscription } = watch(
    [
      [
        snapshot(1, 1), announced("5"), inbox(5, notice("5"), notice("4")), announced("6"), inbox(7, notice("7"), notice("6"), notice("5"), notice("4")),
        inbox(9, notice("9"), notice("8", true), notice("7")), Code.Unavailable,
      ],
      [snapshot(2, 2), inbox(11, notice("b"), notice("9", true)), "hang"],
    ],
    { topics: ["*", "inbox"], onNotification: ({ notificationId }) => told.push(notificationId) },
  );
  await vi.waitFor(() => expect(told.at(-1)).toBe("b"));
  expect(told).toEqual(["5", "6", "7", "9", "b"]);
  subscription.close();
});

test("another actor's stream asks for its topics, and nothing of the former one's own is shown or handed in", async () => {
  let topics = ["*"];
  const changed: string[][] = [];
  const { subscription, requests, ended } = watch(
    [
      [snapshot(1, 1), inbox(5, notice("5")), "hang"],
      [snapshot(2, 2), "hang"],
    ],
    { topics: () => topics, onTopics: (names) => changed.push([...names]) },
  );
  await vi.waitFor(() => expect(changed).toEqual([["poll/mvp"], ["inbox"]]));
  topics = ["*", "inbox"];
  subscription.reopen();
  expect(subscription.cache.states.has("inbox")).toBe(false);
  await vi.waitFor(() => expect(changed.at(-1)).toEqual(["poll/mvp"]));
  expect(changed[2]).toEqual(["inbox"]);
  expect(requests.map((request) => request.topics)).toEqual([["*"], ["*", "inbox"]]);
  expect(cursorsOf(requests[1])).toEqual(["poll/mvp@1"]);
  expect(ended).toEqual([1]);
  subscription.close();
});

test("the first stream waits for what it is to wait for, and one that is paused does not open for another actor", async () => {
  const { passed, open } = gate();
  const { subscription, requests } = watch([["hang"]], { after: passed });
  await vi.advanceTimersByTimeAsync(1_000);
  subscription.reopen();
  expect(requests).toHaveLength(0);
  open();
  await vi.waitFor(() => expect(requests).toHaveLength(1));
  subscription.close();
});
