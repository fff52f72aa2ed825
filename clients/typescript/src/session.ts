/**
 * One person's session: sends events, each counted once however often it had to be resent (I2).
 *
 * An event gets its identity (origin_id, origin_seq) once. Without an answer it is sent again, as it
 * is, with backoff, for up to `resendForMs`; then it fails with Undelivered, which can be sent
 * again by hand, still under the same identity. A refusal (`refusesEvent`) is final and fails with the
 * server's ConnectError.
 *
 * An origin belongs to the actor whose token it was issued to; another actor gets another one. The server may
 * replace an origin (it is a day old, its key is gone): the event that was sent under it fails with ABORTED, since
 * a copy may be stored and would count twice under the new one; the next events go under the new one.
 *
 * Bounds: at most `credit` unanswered events (64); beyond it RESOURCE_EXHAUSTED, without a call.
 */
import { create } from "@bufbuild/protobuf";
import { timestampMs } from "@bufbuild/protobuf/wkt";
import { type CallOptions, type Client, Code, ConnectError } from "@connectrpc/connect";
import { type Event, EventSchema, type Position } from "./gen/grandstand/event/v1/event_pb.js";
import { type GatewayService, type IssueOriginResponse, IssueOriginResponseSchema } from "./gen/grandstand/gateway/v1/gateway_pb.js";
import { type Backoff, delayMs } from "./backoff.js";
import { refusesEvent } from "./codes.js";
import { Origin } from "./origin.js";

export interface SessionOptions {
  /** How long an event is resent before it counts as undelivered. */
  readonly resendForMs?: number;
  /** The deadline of one attempt: longer than the 5 s ingest gives its event log. */
  readonly attemptMs?: number;
  readonly backoff?: Backoff;
  readonly random?: () => number;
}

/** Nobody answered in time: the event may be stored or not. `resend` asks again, and never counts twice. */
export class Undelivered extends Error {
  override readonly name = "Undelivered";

  constructor(
    readonly event: Event,
    override readonly cause: ConnectError,
    readonly resend: () => Promise<readonly Position[]>,
  ) {
    super(`no answer to event ${event.originSeq} of ${event.originId}: ${cause.message}; resend it`);
  }
}

export class Session {
  readonly #resendForMs: number;
  readonly #attemptMs: number;
  readonly #backoff: Backoff;
  readonly #random: () => number;
  #origin: Promise<Origin> | undefined;
  /** Whose origin it is, where that was said. */
  #actorId: string | undefined;

  constructor(
    private readonly gateway: Client<typeof GatewayService>,
    options: SessionOptions = {},
  ) {
    this.#resendForMs = options.resendForMs ?? 30_000;
    this.#attemptMs = options.attemptMs ?? 6_000;
    this.#backoff = options.backoff ?? { baseMs: 200, capMs: 3_000 };
    this.#random = options.random ?? Math.random;
  }

  /** Asks for the origin ahead of the first event of the token's actor, so that the first vote is as quick as the others. */
  async warm(actorId?: string): Promise<void> {
    await this.#livingOrigin(actorId);
  }

  /** Votes for one option. Resolves when the vote is durable, with the positions where it is stored. */
  vote(gameId: string, actorId: string, pollId: string, optionId: string): Promise<readonly Position[]> {
    return this.#send(gameId, actorId, { case: "vote", value: { pollId, optionIds: [optionId] } });
  }

  /** Reacts `count` times (1 to 100). As vote. */
  react(
    gameId: string,
    actorId: string,
    pulseId: string,
    kind: string,
    count = 1,
  ): Promise<readonly Position[]> {
    return this.#send(gameId, actorId, { case: "reaction", value: { pulseId, kind, count } });
  }

  async #send(
    gameId: string,
    actorId: string,
    body: NonNullable<Parameters<typeof create<typeof EventSchema>>[1]>["body"] & object,
  ): Promise<readonly Position[]> {
    const origin = await this.#livingOrigin(actorId);
    const originSeq = origin.take();
    if (originSeq === undefined) {
      throw new ConnectError(
        `${origin.credit} events wait for an answer, no more may; try again when one has come`,
        Code.ResourceExhausted,
      );
    }
    const event = create(EventSchema, { originId: origin.id, originSeq, gameId, actorId, body });
    return this.#deliver(origin, event);
  }

  async #deliver(origin: Origin, event: Event): Promise<readonly Position[]> {
    try {
      const answer = await this.#resending((options) => this.gateway.send({ event }, options));
      origin.settle(event.originSeq);
      return answer.positions;
    } catch (reason) {
      const error = ConnectError.from(reason);
      origin.settle(event.originSeq);
      const [issued] = error.findDetails(IssueOriginResponseSchema);
      if (issued) {
        this.#replace(origin, issued);
        throw new ConnectError(`it may be stored or not, and cannot be sent again: ${error.rawMessage}`, Code.Aborted);
      }
      if (refusesEvent(error.code)) throw error;
      throw new Undelivered(event, error, () => this.#redeliver(origin, event));
    }
  }

  async #redeliver(origin: Origin, event: Event): Promise<readonly Position[]> {
    if (origin.lives(Date.now(), this.#resendForMs) && origin.retake(event.originSeq)) {
      return this.#deliver(origin, event);
    }
    throw new ConnectError("it is too late to send this again; it may be stored or not", Code.Aborted);
  }

  async #livingOrigin(actorId: string | undefined): Promise<Origin> {
    this.#actorId ||= actorId;
    if (actorId && actorId !== this.#actorId) {
      this.#actorId = actorId;
      this.#origin = undefined;
    }
    const asked = this.#origin;
    const known = await asked?.catch(() => undefined);
    if (known?.lives(Date.now(), this.#resendForMs)) return known;
    // Whoever waited with us may have asked for a new one meanwhile.
    if (this.#origin !== asked && this.#origin) return this.#livingOrigin(actorId);
    this.#origin = this.#issue();
    return this.#origin;
  }

  /** Unless another event of the old origin has brought a new one before, or the actor is another one now. */
  #replace(origin: Origin, issued: IssueOriginResponse): void {
    const asked = this.#origin;
    void asked?.then(
      (known) => {
        if (known === origin && this.#origin === asked) this.#origin = Promise.resolve(originOf(issued));
      },
      () => undefined,
    );
  }

  async #issue(): Promise<Origin> {
    return originOf(await this.#resending((options) => this.gateway.issueOrigin({}, options)));
  }

  /** Calls until there is an answer, or `resendForMs` are over. */
  async #resending<T>(call: (options: CallOptions) => Promise<T>): Promise<T> {
    const endsAtMs = performance.now() + this.#resendForMs;
    for (let failures = 0; ; failures++) {
      try {
        return await call({ timeoutMs: this.#attemptMs });
      } catch (reason) {
        const error = ConnectError.from(reason);
        const afterMs = delayMs(this.#backoff, failures, this.#random);
        if (refusesEvent(error.code) || performance.now() + afterMs >= endsAtMs) throw error;
        await new Promise((resolve) => setTimeout(resolve, afterMs));
      }
    }
  }
}

function originOf(issued: IssueOriginResponse): Origin {
  const expiresAtMs = issued.expiresAt ? timestampMs(issued.expiresAt) : Number.POSITIVE_INFINITY;
  return new Origin(issued.originId, issued.credit, Date.now(), expiresAtMs);
}
