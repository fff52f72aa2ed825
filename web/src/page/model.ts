/**
 * What the page shows of a game: the catalog's words joined with the topics' numbers. Pure.
 *
 * The catalog (GetGame, announcements) knows titles, questions, labels and times; topics know counts
 * and are newer. A topic the catalog does not name yet is shown under its ids. Stages only move on:
 * open, closed, sealed; the furthest that either source tells is shown.
 *
 * Bound: as many polls and boards as GetGame lists (32) plus those announced or seen since.
 */
import { timestampMs } from "@bufbuild/protobuf/wkt";
import type { TopicState } from "@grandstand/client/gen/grandstand/aggregate/v1/aggregate_pb";
import {
  type Board,
  type Game,
  type GetGameResponse,
  type Poll,
  Stage,
} from "@grandstand/client/gen/grandstand/catalog/v1/catalog_pb";
import type { Announcement } from "@grandstand/client/gen/grandstand/notify/v1/notify_pb";

export type Phase = "open" | "closed" | "sealed";

export interface OptionView {
  readonly optionId: string;
  readonly label: string;
  readonly votes: number;
  /** Of all votes, 0 to 1. */
  readonly share: number;
  /** Whole numbers that add up to 100, or all 0. */
  readonly percent: number;
  readonly leads: boolean;
}

export interface PollView {
  readonly pollId: string;
  readonly question: string;
  readonly changeable: boolean;
  readonly phase: Phase;
  readonly closesAtMs: number | undefined;
  readonly options: readonly OptionView[];
  readonly voters: number;
  /** Actors whose vote the game's owner has voided and who have not voted since. */
  readonly voided: number;
}

export interface RowView {
  readonly rank: number;
  readonly actorId: string;
  readonly points: number;
}

export interface BoardView {
  readonly boardId: string;
  readonly title: string;
  readonly phase: Phase;
  readonly rows: readonly RowView[];
  readonly actors: number;
}

export interface KindView {
  readonly kind: string;
  readonly ratePerS: number;
  readonly total: number;
}

export interface PulseView {
  readonly pulseId: string;
  readonly kinds: readonly KindView[];
}

type States = ReadonlyMap<string, TopicState>;

export class GameModel {
  #game: Game | undefined;
  readonly #polls = new Map<string, Poll>();
  readonly #boards = new Map<string, Board>();

  constructor(readonly gameId: string) {}

  get title(): string {
    return this.#game?.title || this.gameId;
  }

  /** Takes the catalog's answer. */
  takeCatalog(answer: GetGameResponse): void {
    this.#game = answer.game;
    for (const poll of answer.polls) this.#polls.set(poll.pollId, poll);
    for (const board of answer.boards) this.#boards.set(board.boardId, board);
  }

  /** Takes the definition that an announcement carries. */
  takeAnnouncement({ news }: Announcement): void {
    if (news.case === "pollOpened" || news.case === "pollClosed") this.#polls.set(news.value.pollId, news.value);
    if (news.case === "boardOpened" || news.case === "boardClosed") this.#boards.set(news.value.boardId, news.value);
  }

  /** Topics whose words are not known: reason to ask the catalog again. */
  unnamed(states: States): string[] {
    return [...states.keys()].filter((topic) => {
      const [kind, name = ""] = topic.split("/");
      return (kind === "poll" && !this.#polls.has(name)) || (kind === "board" && !this.#boards.has(name));
    });
  }

  /** All polls, the newest first. */
  polls(states: States): PollView[] {
    const ids = idsOf("poll", states, this.#polls);
    return newestFirst(ids, this.#polls).map((id) => this.#poll(id, states.get(`poll/${id}`)));
  }

  /** All boards, the newest first. */
  boards(states: States): BoardView[] {
    const ids = idsOf("board", states, this.#boards);
    return newestFirst(ids, this.#boards).map((id) => this.#board(id, states.get(`board/${id}`)));
  }

  /** The game's pulses with every kind, also those that never came. */
  pulses(states: States): PulseView[] {
    return (this.#game?.pulses ?? []).map(({ pulseId, kinds }) => {
      const value = states.get(`pulse/${pulseId}`)?.value;
      const counted = new Map(value?.case === "pulse" ? value.value.kinds.map((it) => [it.kind, it]) : []);
      return {
        pulseId,
        kinds: kinds.map((kind) => ({
          kind,
          ratePerS: counted.get(kind)?.ratePerS ?? 0,
          total: Number(counted.get(kind)?.total ?? 0n),
        })),
      };
    });
  }

  #poll(pollId: string, state: TopicState | undefined): PollView {
    const poll = this.#polls.get(pollId);
    const tally = state?.value.case === "tally" ? state.value.value : undefined;
    const votes = new Map(tally?.options.map((it) => [it.optionId, Number(it.votes)]));
    const labels = poll?.options ?? tally?.options.map(({ optionId }) => ({ optionId, label: optionId })) ?? [];
    const counts = labels.map(({ optionId }) => votes.get(optionId) ?? 0);
    const all = counts.reduce((sum, count) => sum + count, 0);
    const most = Math.max(0, ...counts);
    const percents = wholePercents(counts);
    return {
      pollId,
      question: poll?.question || pollId,
      changeable: poll?.changeable ?? false,
      phase: furthest(poll?.stage, state?.stage),
      closesAtMs: poll?.closesAt ? timestampMs(poll.closesAt) : undefined,
      voters: Number(tally?.voters ?? 0n),
      voided: Number(tally?.voided ?? 0n),
      options: labels.map(({ optionId, label }, i) => {
        const count = counts[i] ?? 0;
        const share = all > 0 ? count / all : 0;
        return { optionId, label, votes: count, share, percent: percents[i] ?? 0, leads: most > 0 && count === most };
      }),
    };
  }

  #board(boardId: string, state: TopicState | undefined): BoardView {
    const board = this.#boards.get(boardId);
    const result = state?.value.case === "board" ? state.value.value : undefined;
    return {
      boardId,
      title: board?.title || boardId,
      phase: furthest(board?.stage, state?.stage),
      rows: (result?.entries ?? []).map(({ rank, actorId, points }) => ({ rank, actorId, points: Number(points) })),
      actors: Number(result?.actors ?? 0n),
    };
  }
}

function furthest(...stages: (Stage | undefined)[]): Phase {
  const stage = Math.max(...stages.map((it) => it ?? Stage.UNSPECIFIED));
  if (stage === Stage.SEALED) return "sealed";
  return stage === Stage.CLOSED ? "closed" : "open";
}

function idsOf(kind: string, states: States, known: ReadonlyMap<string, unknown>): string[] {
  const seen = [...states.keys()].filter((topic) => topic.startsWith(`${kind}/`)).map((topic) => topic.slice(kind.length + 1));
  return [...new Set([...known.keys(), ...seen])];
}

/** What the catalog does not name is either brand-new or beyond its 32 newest: it stands last until it is named. */
function newestFirst(ids: string[], known: ReadonlyMap<string, Poll | Board>): string[] {
  const openedAt = (id: string) => {
    const at = known.get(id)?.openedAt;
    return at ? timestampMs(at) : Number.NEGATIVE_INFINITY;
  };
  return ids.map((id) => ({ id, at: openedAt(id) })).sort((a, b) => (a.at === b.at ? 0 : b.at - a.at)).map(({ id }) => id);
}

/** Shares out 100 by largest remainder, so that what is read adds up. All 0 without a vote. */
export function wholePercents(counts: readonly number[]): number[] {
  return shareOut(counts, 100);
}

/** Shares out `seats` by largest remainder. All 0 if the counts are. */
export function shareOut(counts: readonly number[], seats: number): number[] {
  const all = counts.reduce((sum, count) => sum + count, 0);
  if (all === 0) return counts.map(() => 0);
  const exact = counts.map((count) => (count * seats) / all);
  const whole = exact.map(Math.floor);
  const left = seats - whole.reduce((sum, it) => sum + it, 0);
  const byRemainder = exact.map((it, i) => ({ i, rest: it - Math.floor(it) })).sort((a, b) => b.rest - a.rest || a.i - b.i);
  for (const { i } of byRemainder.slice(0, left)) whole[i] = (whole[i] ?? 0) + 1;
  return whole;
}
