import { create } from "@bufbuild/protobuf";
import { Code, ConnectError } from "@connectrpc/connect";
import { expect, test, vi } from "vitest";
import { CursorSchema, EventSchema, type Position, PositionSchema } from "@grandstand/client/gen/grandstand/event/v1/event_pb";
import { type Session, Undelivered } from "@grandstand/client";
import { Ballot, type OwnVote } from "../src/page/ballot";

const stored = (sequence: number): Position[] => [create(PositionSchema, { partition: 1, sequence: BigInt(sequence) })];
const cursor = (sequence: number) => create(CursorSchema, { positions: stored(sequence) });

class MemoryStorage {
  readonly kept = new Map<string, string>();
  getItem = (key: string) => this.kept.get(key) ?? null;
  setItem = (key: string, value: string) => void this.kept.set(key, value);
}

function ballot(storage = new MemoryStorage()) {
  const answers: { resolve: (positions: Position[]) => void; reject: (reason: unknown) => void }[] = [];
  const votes: OwnVote[] = [];
  const session = {
    vote: () => new Promise((resolve, reject) => answers.push({ resolve, reject })),
  } as unknown as Session;
  const it = new Ballot(session, "demo", "ada", storage as unknown as Storage, (_, option) => option.toUpperCase(), (_, vote) => votes.push(vote));
  const settled = (count: number) => vi.waitFor(() => expect(votes).toHaveLength(count));
  return { it, answers, votes, settled, storage };
}

test("a vote is sending, durable, and counted when a state includes its position", async () => {
  const { it, answers, votes, settled } = ballot();
  it.cast("mvp", "left", 100);
  answers[0]?.resolve(stored(7));
  await settled(2);
  expect(it.unseen().map(({ sequence }) => sequence)).toEqual([7n]);
  it.saw("mvp", cursor(6), 110);
  it.saw("mvp", cursor(7), 114);
  expect(votes.map(({ state }) => state)).toEqual(["sending", "durable", "counted"]);
  expect(votes.at(-1)).toMatchObject({ standing: "left", tookMs: 14 });
  expect(it.unseen()).toEqual([]);
});

test("a state that came before the answer counts the vote as soon as the answer is there", async () => {
  const { it, answers, votes, settled } = ballot();
  it.cast("mvp", "left", 100);
  it.saw("mvp", cursor(9), 112);
  answers[0]?.resolve(stored(7));
  await settled(3);
  expect(votes.at(-1)).toMatchObject({ state: "counted", tookMs: 12 });
});

test("one vote of a poll is in flight at a time", () => {
  const { it, answers } = ballot();
  it.cast("mvp", "left", 100);
  it.cast("mvp", "right", 101);
  expect(answers).toHaveLength(1);
});

test("a refused second vote leaves the first one standing, and says so", async () => {
  const { it, answers, votes, settled } = ballot();
  it.cast("mvp", "left", 100);
  answers[0]?.resolve(stored(7));
  await settled(2);
  it.cast("mvp", "right", 200);
  answers[1]?.reject(new ConnectError("has voted", Code.AlreadyExists));
  await settled(4);
  expect(votes.at(-1)).toMatchObject({ state: "refused", choice: "right", standing: "left" });
  expect(votes.at(-1)?.words?.text).toContain("“LEFT” stands");
});

test("a vote nobody answered can be sent again", async () => {
  const { it, answers, votes, settled } = ballot();
  it.cast("mvp", "left", 100);
  const resend = vi.fn(() => Promise.resolve(stored(7)));
  answers[0]?.reject(new Undelivered(create(EventSchema), new ConnectError("gone", Code.Unavailable), resend));
  await settled(2);
  votes.at(-1)?.resend?.();
  await settled(4);
  expect(resend).toHaveBeenCalledOnce();
  expect(votes.at(-1)).toMatchObject({ state: "durable", standing: "left" });
});

test("votes that stand are remembered by the browser, whatever else its storage holds", async () => {
  const { it, answers, settled, storage } = ballot();
  it.cast("mvp", "left", 100);
  answers[0]?.resolve(stored(7));
  await settled(2);
  expect(ballot(storage).it.get("mvp")).toMatchObject({ state: "counted", standing: "left" });
  storage.kept.set("grandstand.votes.demo.ada", '{"not": ["what we wrote"]}');
  expect(ballot(storage).it.get("mvp")).toBeUndefined();
});
