/**
 * The person's own votes: where each stands, from the click until it is in the count.
 *
 *     sending ──▶ durable ──▶ counted        the server stored it; a state that includes it is shown
 *        └──────▶ refused                    with words, and `resend` where nobody answered
 *
 * `standing` is the option known to be stored; a refused second vote leaves it as it is. One vote of a
 * poll is in flight at a time: two could be stored in either order, and the later click must win.
 *
 * Bound: one vote for each poll, of which the 64 newest are kept in the browser's storage.
 */
import { type Code, ConnectError } from "@connectrpc/connect";
import type { Cursor, Position } from "@grandstand/client/gen/grandstand/event/v1/event_pb";
import { Landing, type Session, Undelivered } from "@grandstand/client";
import { read, write } from "./storage";
import { voteRefused, type Words } from "./words";

const KEPT_MAX = 64;

export interface OwnVote {
  readonly state: "sending" | "durable" | "counted" | "refused";
  readonly choice: string;
  /** The click, monotonic. */
  readonly castAtMs: number;
  readonly standing?: string;
  readonly tookMs?: number;
  readonly words?: Words;
  /** Of the refusal. */
  readonly code?: Code;
  readonly resend?: () => void;
}

interface Flight {
  readonly landing: Landing;
  positions: readonly Position[];
}

export class Ballot {
  readonly #votes = new Map<string, OwnVote>();
  readonly #flights = new Map<string, Flight>();
  readonly #key: string;

  constructor(
    private readonly session: Session,
    private readonly gameId: string,
    readonly actorId: string,
    private readonly storage: Storage | undefined,
    private readonly labelOf: (pollId: string, optionId: string) => string,
    private readonly onChange: (pollId: string, vote: OwnVote) => void,
  ) {
    this.#key = `grandstand.votes.${gameId}.${actorId}`;
    for (const [pollId, choice] of parsed(read(storage, this.#key))) {
      this.#votes.set(pollId, { state: "counted", choice, castAtMs: 0, standing: choice });
    }
  }

  get(pollId: string): OwnVote | undefined {
    return this.#votes.get(pollId);
  }

  /** Where votes are stored that no shown state includes yet: the barrier of the next stream (I6). */
  unseen(): Position[] {
    return [...this.#flights.values()].flatMap((flight) => flight.positions);
  }

  /** The click. Ignored while a vote of this poll is on its way. `atMs` is monotonic. */
  cast(pollId: string, optionId: string, atMs: number): void {
    if (this.#votes.get(pollId)?.state === "sending") return;
    const answer = () => this.session.vote(this.gameId, "", pollId, optionId);
    void this.#follow(pollId, optionId, new Landing(atMs), answer);
  }

  /** A state of the poll arrived and is shown. */
  saw(pollId: string, cursor: Cursor | undefined, atMs: number): void {
    const flight = this.#flights.get(pollId);
    if (flight?.landing.saw(cursor, atMs)) this.#counted(pollId, flight.landing);
  }

  async #follow(
    pollId: string,
    choice: string,
    landing: Landing,
    answer: () => Promise<readonly Position[]>,
  ): Promise<void> {
    const standing = this.#votes.get(pollId)?.standing;
    const castAtMs = landing.startedAtMs;
    const flight: Flight = { landing, positions: [] };
    this.#flights.set(pollId, flight);
    this.#set(pollId, { state: "sending", choice, castAtMs, ...(standing !== undefined && { standing }) });
    try {
      flight.positions = await answer();
      this.#set(pollId, { state: "durable", choice, castAtMs, standing: choice });
      this.#keep();
      if (landing.stored(flight.positions)) this.#counted(pollId, landing);
    } catch (reason) {
      this.#flights.delete(pollId);
      const words = voteRefused(reason, standing === undefined ? undefined : this.labelOf(pollId, standing));
      const resend =
        reason instanceof Undelivered
          ? () => void this.#follow(pollId, choice, new Landing(performance.now()), reason.resend)
          : undefined;
      this.#set(pollId, {
        state: "refused",
        choice,
        castAtMs,
        words,
        code: ConnectError.from(reason).code,
        ...(standing !== undefined && { standing }),
        ...(resend && { resend }),
      });
    }
  }

  #counted(pollId: string, landing: Landing): void {
    const vote = this.#votes.get(pollId);
    this.#flights.delete(pollId);
    if (vote?.state !== "durable" || landing.tookMs === undefined) return;
    this.#set(pollId, { ...vote, state: "counted", tookMs: landing.tookMs });
  }

  #set(pollId: string, vote: OwnVote): void {
    this.#votes.delete(pollId);
    this.#votes.set(pollId, vote);
    this.onChange(pollId, vote);
  }

  #keep(): void {
    const stored = [...this.#votes].flatMap(([pollId, { standing }]) => (standing === undefined ? [] : [[pollId, standing]]));
    write(this.storage, this.#key, JSON.stringify(stored.slice(-KEPT_MAX)));
  }
}

function parsed(text: string | undefined): [string, string][] {
  try {
    const pairs: unknown = JSON.parse(text ?? "[]");
    if (!Array.isArray(pairs)) return [];
    return pairs.filter((it): it is [string, string] => Array.isArray(it) && it.length === 2 && it.every((s) => typeof s === "string"));
  } catch {
    return [];
  }
}
