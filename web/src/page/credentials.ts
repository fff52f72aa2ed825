/**
 * Who acts here: the player whose token the page was given, or else a guest.
 *
 *     asking ──▶ acts                        a token at hand, given or issued
 *        ├─────▶ asking                      too many guests come: again when the server said, with words
 *        └─────▶ watches                     no guests here, or the given token is refused: with words
 *
 * A token comes in the address, after "#token=", from the page or app that embeds this one. It is used until
 * the server refuses it: this device's clock may be wrong, and is not asked. A guest's token is renewed for the
 * same guest, when the server says that it expires, and RENEW_BEFORE_MS before its end at the latest; its life
 * counts from its arrival. Both are kept for this tab, so that a reload changes nobody. Who was signed in is never
 * turned into a guest unasked.
 *
 * Nothing is queued: calls that act wait for the one question that is on its way, up to PATIENCE_MS.
 */
import { Code, ConnectError } from "@connectrpc/connect";
import { delayMs, retryAfterMs, type TokenSource, withJitter } from "@grandstand/client";
import { claimsOf } from "./claims";
import { read, write } from "./storage";

const KEY = "grandstand.credential";
const RENEW_BEFORE_MS = 60_000;
const LOYAL_MS = 10_000;
const PATIENCE_MS = 5_000;
const BACKOFF = { baseMs: 500, capMs: 5_000 };

export interface Credential {
  readonly token: string;
  readonly actorId: string;
  readonly guest: boolean;
  /** By this device's clock; a given token has none. */
  readonly endsAtMs?: number;
}

export type Standing =
  /** `waitMs`: so many guests come that the server told this one to wait so long. */
  | { readonly kind: "asking"; readonly waitMs?: number }
  | { readonly kind: "acts"; readonly credential: Credential }
  | { readonly kind: "watches"; readonly why: string; readonly detail: string };

export interface Issued {
  readonly token: string;
  readonly actorId: string;
  readonly lifeMs: number;
}

export class Credentials {
  #standing: Standing = { kind: "asking" };
  #asking: Promise<void> | undefined;
  #renewing: Promise<void> | undefined;
  #issuedAtMs = Number.NEGATIVE_INFINITY;

  constructor(
    private readonly storage: Storage | undefined,
    /** With the token of a guest: the next one, for the same guest. */
    private readonly issue: (token?: string) => Promise<Issued>,
    private readonly onChange: (standing: Standing) => void,
    private readonly nowMs: () => number = Date.now,
    private readonly random: () => number = Math.random,
  ) {}

  get standing(): Standing {
    return this.#standing;
  }

  /** Begins: with the token that was given, else with what this tab had, else as a guest. */
  begin(given: string | undefined): void {
    if (given !== undefined) return this.take(given);
    const kept = parsed(read(this.storage, KEY));
    if (kept && !this.#ends(kept)) this.#become({ kind: "acts", credential: kept });
    else this.askForGuest();
  }

  /** A token was given. */
  take(token: string): void {
    const actorId = claimsOf(token)?.actorId;
    if (actorId !== undefined) return this.#become({ kind: "acts", credential: { token, actorId, guest: false } });
    this.#become({ kind: "watches", why: "The token in this page's address names nobody.", detail: "" });
  }

  /** Becomes a guest, another one if this is one already. */
  askForGuest(): void {
    this.#become({ kind: "asking" });
    this.#asking ??= this.#ask().finally(() => (this.#asking = undefined));
  }

  /** Every now and then: renews a guest whose token ends soon. */
  tick(): void {
    if (this.#standing.kind === "acts" && this.#ends(this.#standing.credential)) void this.#renewed();
  }

  /** The server refuses the token, or does not let it open this game (PERMISSION_DENIED). */
  refused(code: Code, message: string): void {
    if (this.#standing.kind !== "acts") return;
    if (code === Code.PermissionDenied) {
      const why = "You can watch, but not vote: your token is not for this game.";
      return this.#become({ kind: "watches", why, detail: message });
    }
    const { guest } = this.#standing.credential;
    // A token refused as soon as it was issued: the next one would be, too.
    if (guest && this.nowMs() - this.#issuedAtMs > LOYAL_MS) return this.askForGuest();
    const why = guest ? "The server does not take the token it gave." : "You are no longer signed in; open this page again from where you play.";
    this.#become({ kind: "watches", why, detail: message });
  }

  /** Resolves when it is known who acts, or that nobody does. */
  async known(): Promise<Standing> {
    await this.#asking;
    return this.#standing;
  }

  /** For the client: see TokenSource. */
  readonly source: TokenSource = async (acts, renews) => {
    const patience = new Promise((resolve) => setTimeout(resolve, PATIENCE_MS));
    if (renews) await Promise.race([this.#renewed(), patience]);
    if (acts) await Promise.race([this.known(), patience]);
    const standing = this.#standing;
    if (standing.kind === "acts") return standing.credential.token;
    if (!acts) return undefined;
    if (standing.kind === "watches") throw new ConnectError(standing.why, Code.Unauthenticated);
    throw new ConnectError("no guest's token came yet", Code.Unavailable);
  };

  #renewed(): Promise<void> {
    return (this.#renewing ??= this.#renew().finally(() => (this.#renewing = undefined)));
  }

  /** The next token for a guest. Failed, it takes a moment longer, so that it is not tried again at once. */
  async #renew(): Promise<void> {
    const before = this.#standing;
    if (before.kind !== "acts" || !before.credential.guest) return;
    try {
      const issued = await this.issue(before.credential.token);
      if (this.#standing === before) this.#becomeGuest(issued);
    } catch (reason) {
      if (this.#standing !== before) return;
      const error = ConnectError.from(reason);
      // Its end has passed, or it was revoked: it can only be another guest.
      if (error.code === Code.Unauthenticated) return this.refused(error.code, error.rawMessage);
      const waitMs = withJitter(retryAfterMs(error) ?? BACKOFF.capMs, this.random);
      await new Promise((resolve) => setTimeout(resolve, waitMs));
    }
  }

  async #ask(): Promise<void> {
    // Ended by a token that is given meanwhile.
    for (let failures = 0; this.#standing.kind === "asking"; failures++) {
      try {
        const issued = await this.issue();
        if (this.#standing.kind !== "asking") return;
        return this.#becomeGuest(issued);
      } catch (reason) {
        if (this.#standing.kind !== "asking") return;
        const error = ConnectError.from(reason);
        const { code, rawMessage } = error;
        if (code === Code.FailedPrecondition || code === Code.Unimplemented) {
          const why = "You can watch, but not vote: guests are not admitted here. Open this page from where you play, signed in.";
          return this.#become({ kind: "watches", why, detail: rawMessage });
        }
        const leastMs = retryAfterMs(error);
        const waitMs = leastMs === undefined ? delayMs(BACKOFF, failures, this.random) : withJitter(leastMs, this.random);
        if (leastMs !== undefined) this.#become({ kind: "asking", waitMs });
        await new Promise((resolve) => setTimeout(resolve, waitMs));
      }
    }
  }

  #ends({ endsAtMs }: Credential): boolean {
    return endsAtMs !== undefined && this.nowMs() > endsAtMs - RENEW_BEFORE_MS;
  }

  #becomeGuest({ token, actorId, lifeMs }: Issued): void {
    this.#issuedAtMs = this.nowMs();
    this.#become({ kind: "acts", credential: { token, actorId, guest: true, endsAtMs: this.#issuedAtMs + lifeMs } });
  }

  #become(standing: Standing): void {
    this.#standing = standing;
    write(this.storage, KEY, standing.kind === "acts" ? JSON.stringify(standing.credential) : undefined);
    this.onChange(standing);
  }
}

function parsed(text: string | undefined): Credential | undefined {
  try {
    const kept = JSON.parse(text ?? "null") as Partial<Credential> | null;
    if (typeof kept?.token !== "string" || typeof kept.actorId !== "string") return undefined;
    const { token, actorId, guest = true, endsAtMs } = kept;
    return { token, actorId, guest, ...(typeof endsAtMs === "number" && { endsAtMs }) };
  } catch {
    return undefined;
  }
}
