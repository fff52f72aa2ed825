/**
 * Errors in plain words: what happened, and what one can do. Pure.
 *
 * The server's own message names the value and the bound; it is shown beneath, as `detail`.
 */
import { Code, ConnectError } from "@connectrpc/connect";
import { Undelivered } from "@grandstand/client";

export interface Words {
  readonly text: string;
  readonly detail: string;
}

/** For a vote that did not get through. `standing`: the label of the vote known to count, if any. */
export function voteRefused(reason: unknown, standing: string | undefined): Words {
  if (reason instanceof Undelivered) {
    return {
      text: "No answer from the server. Your vote may have arrived; sending it again never counts it twice.",
      detail: reason.cause.rawMessage,
    };
  }
  const error = ConnectError.from(reason);
  const text = TEXTS[error.code]?.(standing) ?? "The server could not take this vote.";
  return { text, detail: error.rawMessage };
}

const TEXTS: Partial<Record<Code, (standing: string | undefined) => string>> = {
  [Code.AlreadyExists]: (standing) =>
    standing === undefined
      ? "You have already voted in this poll. The first vote counts."
      : `You have already voted in this poll. Your vote for “${standing}” stands.`,
  [Code.FailedPrecondition]: () => "This poll is closed. The vote came too late.",
  [Code.Aborted]: () => "The server cannot tell whether this vote arrived. Vote again: it never counts you twice.",
  [Code.Unauthenticated]: () => "You are not signed in, so you can watch but not vote.",
  [Code.PermissionDenied]: () => "Your token does not allow this vote.",
  [Code.NotFound]: () => "The server does not know this poll or option.",
  [Code.InvalidArgument]: () => "The server found something wrong with this vote.",
  [Code.ResourceExhausted]: () => "Too much at once. Wait a moment, then vote again.",
  [Code.Unavailable]: () => "The server cannot be reached. Nothing was sent; try again.",
  [Code.DeadlineExceeded]: () => "The server cannot be reached. Nothing was sent; try again.",
  [Code.Unknown]: () => "The server cannot be reached. Nothing was sent; try again.",
  [Code.Unimplemented]: () => "This server does not take votes.",
};

/** "in 4 s" until a moment, for a wait; empty when it is over. */
export function waitText(untilMs: number, nowMs: number): string {
  const leftS = Math.ceil((untilMs - nowMs) / 1000);
  return leftS >= 1 ? `in ${leftS} s` : "";
}

/** For who waits to become a guest; empty while no wait was asked for. Not counted down: it is read aloud. */
export function guestWaitText(waitMs: number | undefined): string {
  if (waitMs === undefined) return "";
  return `Many people arrive at once. You can watch now, and vote in about ${Math.ceil(waitMs / 5_000) * 5} s.`;
}

/** "1:05" or "2:01:05". */
export function countdownText(leftMs: number): string {
  const s = Math.max(0, Math.ceil(leftMs / 1000));
  const two = (n: number) => String(n).padStart(2, "0");
  const [hours, minutes] = [Math.floor(s / 3600), Math.floor(s / 60) % 60];
  return hours > 0 ? `${hours}:${two(minutes)}:${two(s % 60)}` : `${minutes}:${two(s % 60)}`;
}

const WHOLE = new Intl.NumberFormat("en");
const DAY = new Intl.DateTimeFormat("en", { month: "short", day: "numeric" });
const SHORT = new Intl.NumberFormat("en", { notation: "compact", maximumFractionDigits: 1 });

/** How long ago, roughly: "just now", "5 min ago", "3 h ago", "Nov 30". */
export function agoText(atMs: number, nowMs: number): string {
  const minutes = Math.floor((nowMs - atMs) / 60_000);
  if (minutes < 1) return "just now";
  if (minutes < 60) return `${minutes} min ago`;
  return minutes < 24 * 60 ? `${Math.floor(minutes / 60)} h ago` : DAY.format(atMs);
}

/** "7", or "99+": a count in the room of three characters. */
export function badgeText(n: number): string {
  return n > 99 ? "99+" : String(n);
}

/** "1,204". */
export function wholeText(n: number): string {
  return WHOLE.format(n);
}

/** "1 voter", "2,000 voters": a count with its noun. */
export function countText(n: number, noun: string): string {
  return `${wholeText(n)} ${noun}${n === 1 ? "" : "s"}`;
}

/** "2 voters", "2 voters, 1 voided". */
export function votersText({ voters, voided }: { voters: number; voided: number }): string {
  return countText(voters, "voter") + (voided > 0 ? `, ${wholeText(voided)} voided` : "");
}

/** "1.2K". */
export function shortText(n: number): string {
  return n < 10_000 ? WHOLE.format(n) : SHORT.format(n);
}

/** "0", "0.4", "12": a rate in the room of three characters. */
export function rateText(ratePerS: number): string {
  if (ratePerS <= 0) return "0";
  return ratePerS < 9.95 ? ratePerS.toFixed(1) : shortText(Math.round(ratePerS));
}
