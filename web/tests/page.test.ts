import { create } from "@bufbuild/protobuf";
import { Code, ConnectError } from "@connectrpc/connect";
import { describe, expect, test } from "vitest";
import { type TopicState, TopicStateSchema } from "@grandstand/client/gen/grandstand/aggregate/v1/aggregate_pb";
import { GetGameResponseSchema, Stage } from "@grandstand/client/gen/grandstand/catalog/v1/catalog_pb";
import { AnnouncementSchema } from "@grandstand/client/gen/grandstand/notify/v1/notify_pb";
import { Bursts } from "../src/page/bursts";
import { GameModel, wholePercents } from "../src/page/model";
import { seated, seats } from "../src/page/seating";
import { agoText, badgeText, countdownText, guestWaitText, rateText, voteRefused, votersText, waitText } from "../src/page/words";

const opened = (seconds: number) => ({ seconds: BigInt(seconds), nanos: 0 });

function model(): GameModel {
  const it = new GameModel("demo");
  it.takeCatalog(
    create(GetGameResponseSchema, {
      game: { gameId: "demo", title: "Final", pulses: [{ pulseId: "cheer", kinds: ["fire", "clap"] }] },
      polls: [
        { pollId: "old", question: "Old?", stage: Stage.SEALED, openedAt: opened(10), options: [{ optionId: "a", label: "A" }] },
        {
          pollId: "mvp",
          question: "Who?",
          stage: Stage.OPEN,
          openedAt: opened(20),
          closesAt: opened(80),
          options: [
            { optionId: "l", label: "Left" },
            { optionId: "r", label: "Right" },
          ],
        },
      ],
    }),
  );
  return it;
}

function states(...topics: TopicState[]): ReadonlyMap<string, TopicState> {
  return new Map(topics.map((state) => [state.topic, state]));
}

function tally(topic: string, votes: Record<string, number>, stage = Stage.OPEN, voided = 0n): TopicState {
  const options = Object.entries(votes).map(([optionId, count]) => ({ optionId, votes: BigInt(count) }));
  const voters = Object.values(votes).reduce((sum, count) => sum + count, 0);
  return create(TopicStateSchema, { topic, stage, value: { case: "tally", value: { options, voters: BigInt(voters), voided } } });
}

describe("model", () => {
  test("joins the catalog's words with the topic's numbers, the newest poll first", () => {
    const [mvp, old] = model().polls(states(tally("poll/mvp", { l: 1, r: 2 })));
    expect(mvp).toMatchObject({ question: "Who?", phase: "open", voters: 3, closesAtMs: 80_000 });
    expect(mvp?.options.map(({ label, votes, percent, leads }) => [label, votes, percent, leads])).toEqual([
      ["Left", 1, 33, false],
      ["Right", 2, 67, true],
    ]);
    expect(old).toMatchObject({ pollId: "old", phase: "sealed" });
  });

  test("voided votes are said beside the voters", () => {
    const [mvp] = model().polls(states(tally("poll/mvp", { l: 1 }, Stage.OPEN, 2n)));
    expect(mvp && votersText(mvp)).toBe("1 voter, 2 voided");
    const [other] = model().polls(states(tally("poll/mvp", { l: 2 })));
    expect(other && votersText(other)).toBe("2 voters");
  });

  test("a poll without votes shows every option at zero, and none leads", () => {
    const [mvp] = model().polls(states());
    expect(mvp?.options.map(({ votes, percent, leads }) => [votes, percent, leads])).toEqual([
      [0, 0, false],
      [0, 0, false],
    ]);
  });

  test("shows the furthest stage that catalog or topic tells", () => {
    const it = model();
    expect(it.polls(states(tally("poll/mvp", { l: 1 }, Stage.CLOSED)))[0]?.phase).toBe("closed");
    expect(it.polls(states(tally("poll/old", { a: 1 }, Stage.OPEN)))[1]?.phase).toBe("sealed");
  });

  test("a topic that the catalog does not name is shown by its ids, last, and asked for", () => {
    const it = model();
    const seen = states(tally("poll/new", { x: 4 }));
    expect(it.unnamed(seen)).toEqual(["poll/new"]);
    expect(it.polls(seen).at(-1)).toMatchObject({ question: "new", options: [{ label: "x", votes: 4 }] });
  });

  test("an announced poll stands in front at once", () => {
    const it = model();
    it.takeAnnouncement(
      create(AnnouncementSchema, {
        news: { case: "pollOpened", value: { pollId: "next", question: "Next?", openedAt: opened(30), stage: Stage.OPEN } },
      }),
    );
    expect(it.polls(states())[0]).toMatchObject({ pollId: "next", question: "Next?" });
  });

  test("a pulse shows every kind of its definition, also those that never came", () => {
    const pulse = create(TopicStateSchema, {
      topic: "pulse/cheer",
      value: { case: "pulse", value: { kinds: [{ kind: "fire", ratePerS: 2.5, total: 9n }] } },
    });
    expect(model().pulses(states(pulse))).toEqual([
      { pulseId: "cheer", kinds: [{ kind: "fire", ratePerS: 2.5, total: 9 }, { kind: "clap", ratePerS: 0, total: 0 }] },
    ]);
  });

  test.each([[[1, 1, 1]], [[1, 2, 3, 5, 7]], [[999, 1]], [[1, 0, 0]]])("percents of %j add up to 100", (counts) => {
    expect(wholePercents(counts).reduce((sum, it) => sum + it, 0)).toBe(100);
  });
});

describe("seating", () => {
  const places = seats();
  const count = (options: readonly number[], option: number) => options.filter((it) => it === option).length;

  test("while the stand is not full, one seat is one voter", () => {
    const options = seated(places, [3, 0, 2]);
    expect([0, 1, 2, -1].map((option) => count(options, option))).toEqual([3, 0, 2, places.length - 5]);
  });

  test("a full stand is shared out, every seat taken", () => {
    const options = seated(places, [6_000, 3_000]);
    expect(count(options, -1)).toBe(0);
    expect(Math.abs(count(options, 0) - (places.length * 2) / 3)).toBeLessThan(1);
  });

  test("options sit side by side in the poll's order", () => {
    const options = seated(places, [5, 5]);
    const widest = (option: number) => places.filter((_, i) => options[i] === option).map((place) => place.angle);
    expect(Math.max(...widest(0))).toBeLessThanOrEqual(Math.min(...widest(1)));
  });

  test("the front row fills first", () => {
    const options = seated(places, [4]);
    expect(places.filter((_, i) => options[i] === 0).every((place) => place.row === 0)).toBe(true);
  });
});

describe("words", () => {
  test("say what a refusal means and keep what the server said", () => {
    const error = new ConnectError("vote: ada has voted in poll mvp", Code.AlreadyExists);
    expect(voteRefused(error, "Left")).toEqual({
      text: "You have already voted in this poll. Your vote for “Left” stands.",
      detail: "vote: ada has voted in poll mvp",
    });
    expect(voteRefused(new ConnectError("x", Code.FailedPrecondition), undefined).text).toContain("closed");
    expect(voteRefused(new ConnectError("x", Code.ResourceExhausted), undefined).text).toContain("Too much");
    expect(voteRefused(new ConnectError("x", Code.Unavailable), undefined).text).toContain("cannot be reached");
    expect(voteRefused(new Error("odd"), undefined).text).not.toBe("");
  });

  test("count down in whole seconds, to zero and not below", () => {
    expect([65_000, 64_001, 999, 0, -5].map(countdownText)).toEqual(["1:05", "1:05", "0:01", "0:00", "0:00"]);
    expect(countdownText(7_325_000)).toBe("2:02:05");
    expect([waitText(2_500, 0), waitText(10, 20)]).toEqual(["in 3 s", ""]);
    expect([guestWaitText(undefined), guestWaitText(12_100)]).toEqual(["", "Many people arrive at once. You can watch now, and vote in about 15 s."]);
  });

  test("rates fit in three characters while they are small", () => {
    expect([0, 0.2, 9.9, 12.4, 25_000].map(rateText)).toEqual(["0", "0.2", "9.9", "12", "25K"]);
  });
});

describe("bursts", () => {
  function recorder() {
    const sent: [string, number][] = [];
    const answers: (() => void)[] = [];
    const bursts = new Bursts((kind, count) => {
      sent.push([kind, count]);
      return new Promise((resolve) => answers.push(resolve));
    });
    return { sent, bursts, answer: async () => { answers.shift()?.(); await Promise.resolve(); await Promise.resolve(); } };
  }

  test("the first tap goes at once, those made meanwhile go together", async () => {
    const { sent, bursts, answer } = recorder();
    for (let n = 0; n < 5; n++) bursts.tap("fire");
    bursts.tap("clap");
    expect(sent).toEqual([["fire", 1], ["clap", 1]]);
    await answer();
    expect(sent.at(-1)).toEqual(["fire", 4]);
  });

  test("I7: at most 100 wait, the rest is shed", async () => {
    const { sent, bursts, answer } = recorder();
    for (let n = 0; n < 500; n++) bursts.tap("fire");
    await answer();
    expect(sent).toEqual([["fire", 1], ["fire", 100]]);
  });
});

test("how long ago something was, and counts in little room", () => {
  const now = Date.UTC(2026, 10, 30, 12);
  const ago = [-5, 30, 90, 3 * 3_600, 40 * 86_400].map((s) => agoText(now - s * 1_000, now));
  expect(ago).toEqual(["just now", "just now", "1 min ago", "3 h ago", "Oct 21"]);
  expect([1, 99, 100].map(badgeText)).toEqual(["1", "99", "99+"]);
});
