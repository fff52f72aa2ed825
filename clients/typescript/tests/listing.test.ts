import { create } from "@bufbuild/protobuf";
import type { Client } from "@connectrpc/connect";
import { expect, test } from "vitest";
import {
  type CatalogService,
  GetGameResponseSchema,
  ListBoardsResponseSchema,
  ListPollsResponseSchema,
  PollSchema,
  Stage,
} from "../src/gen/grandstand/catalog/v1/catalog_pb.js";
import { gameWithTopics } from "../src/listing.js";

const named = (pollId: string) => create(PollSchema, { gameId: "g", pollId });

function catalog(more: boolean, asked: string[]): Client<typeof CatalogService> {
  const pages: Record<string, [string[], string]> = {
    [`${Stage.OPEN} `]: [["first"], "next"],
    [`${Stage.OPEN} next`]: [["opened 700 polls ago"], ""],
    [`${Stage.CLOSED} `]: [[], ""],
    [`${Stage.UNSPECIFIED} `]: [["first", "sealed"], "old ones"],
  };
  return {
    getGame: async () => create(GetGameResponseSchema, { polls: [named("first")], more }),
    listPolls: async ({ stage, pageToken }: { stage: Stage; pageToken: string }) => {
      asked.push(`${stage} ${pageToken}`);
      const [polls = [], nextPageToken = ""] = pages[`${stage} ${pageToken}`] ?? [];
      return create(ListPollsResponseSchema, { polls: polls.map(named), nextPageToken });
    },
    listBoards: async () => create(ListBoardsResponseSchema),
  } as unknown as Client<typeof CatalogService>;
}

test("whatever is open is found, however many came after it, and the newest of the others", async () => {
  const asked: string[] = [];
  const found = await gameWithTopics(catalog(true, asked), "g");
  expect(found.polls.map((poll) => poll.pollId)).toEqual(["first", "opened 700 polls ago", "sealed"]);
  expect(asked.length).toBe(4);
});

test("a game that tells all is asked once", async () => {
  const asked: string[] = [];
  const found = await gameWithTopics(catalog(false, asked), "g");
  expect([found.polls.length, asked.length]).toEqual([1, 0]);
});
