/**
 * A game with all that a Snapshot of it may show: every poll and board that is not sealed, and the newest of the others.
 *
 * GetGame tells a few and whether there are more; the rest is listed in pages. Bound: PAGES_MAX pages of PAGE_SIZE of
 * each stage; the newest are listed first.
 */
import type { Client } from "@connectrpc/connect";
import { type CatalogService, type GetGameResponse, Stage } from "./gen/grandstand/catalog/v1/catalog_pb.js";

const PAGE_SIZE = 500;
const PAGES_MAX = 10;
const OPTIONS = { timeoutMs: 5_000 };

type Question = { gameId: string; stage: Stage; pageSize: number; pageToken: string };

export async function gameWithTopics(catalog: Client<typeof CatalogService>, gameId: string): Promise<GetGameResponse> {
  const answer = await catalog.getGame({ gameId }, OPTIONS);
  if (!answer.more) return answer;
  const polls = new Map(answer.polls.map((poll) => [poll.pollId, poll]));
  const boards = new Map(answer.boards.map((board) => [board.boardId, board]));
  await Promise.all([
    pages(gameId, async (question) => {
      const page = await catalog.listPolls(question, OPTIONS);
      for (const poll of page.polls) polls.set(poll.pollId, poll);
      return page.nextPageToken;
    }),
    pages(gameId, async (question) => {
      const page = await catalog.listBoards(question, OPTIONS);
      for (const board of page.boards) boards.set(board.boardId, board);
      return page.nextPageToken;
    }),
  ]);
  return { ...answer, polls: [...polls.values()], boards: [...boards.values()] };
}

/** Of all stages the first page alone: the rest is sealed, and old. */
async function pages(gameId: string, ask: (question: Question) => Promise<string>): Promise<void> {
  for (const stage of [Stage.OPEN, Stage.CLOSED, Stage.UNSPECIFIED]) {
    let pageToken = "";
    for (let page = 0; page < (stage === Stage.UNSPECIFIED ? 1 : PAGES_MAX); page++) {
      pageToken = await ask({ gameId, stage, pageSize: PAGE_SIZE, pageToken });
      if (!pageToken) break;
    }
  }
}
