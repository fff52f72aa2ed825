/**
 * Who votes here: a friendly id, kept in this browser.
 *
 * An actor_id is a name, not yet a proof (tokens come later): whoever knows it can vote under it. Two
 * tabs of one browser are one actor. Without storage (private windows may refuse it) the name lives
 * as long as the page. The parts that decide are pure.
 */
export const ACTOR_PATTERN = /^[A-Za-z0-9_-]{1,64}$/;

const FIRST = ["brave", "bright", "calm", "clever", "eager", "gentle", "happy", "keen", "lucky", "merry", "nimble", "proud", "quick", "sunny", "swift", "witty"];
const SECOND = ["badger", "crane", "falcon", "fox", "heron", "ibex", "lynx", "marten", "otter", "owl", "puffin", "raven", "seal", "stork", "tiger", "wren"];
const KEY = "grandstand.actor";

/** Such as "keen-otter-4821": 16 * 16 * 10,000 names. `random` gives numbers in [0, 1). */
export function friendlyId(random: () => number): string {
  const pick = (words: readonly string[]) => words[Math.floor(random() * words.length)];
  return `${pick(FIRST)}-${pick(SECOND)}-${String(Math.floor(random() * 10_000)).padStart(4, "0")}`;
}

/** What is wrong with a name, in words; undefined if nothing is. */
export function actorProblem(name: string): string | undefined {
  if (name === "") return "Type a name.";
  if (name.length > 64) return `This name has ${name.length} characters; at most 64 are allowed.`;
  const bad = [...name].find((character) => !/[A-Za-z0-9_-]/.test(character));
  if (bad === undefined) return undefined;
  return `${bad === " " ? "A space" : `“${bad}”`} cannot be in a name; use letters A–Z, digits, - and _.`;
}

/** The kept name, or a new one that is kept from now on. */
export function keptActor(storage: Storage | undefined, random = Math.random): string {
  const kept = read(storage, KEY);
  if (kept !== undefined && ACTOR_PATTERN.test(kept)) return kept;
  const actorId = friendlyId(random);
  keepActor(storage, actorId);
  return actorId;
}

export function keepActor(storage: Storage | undefined, actorId: string): void {
  write(storage, KEY, actorId);
}

/** Reads from a storage that may be missing or locked. */
export function read(storage: Storage | undefined, key: string): string | undefined {
  try {
    return storage?.getItem(key) ?? undefined;
  } catch {
    return undefined;
  }
}

/** Writes to a storage that may be missing, locked or full: then the page forgets, and goes on. */
export function write(storage: Storage | undefined, key: string, value: string): void {
  try {
    storage?.setItem(key, value);
  } catch {
    // Nothing on the page depends on it.
  }
}

/** The browser's storage; undefined where reading the property itself is refused. */
export function browserStorage(): Storage | undefined {
  try {
    return window.localStorage;
  } catch {
    return undefined;
  }
}
