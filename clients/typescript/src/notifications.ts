/**
 * Which notifications are news: each is told once, however it came. Pure.
 *
 * A notice to a game's viewers comes as an announcement and, to those who watch their inbox, in that too, under
 * the same id. Once the inbox is known it alone says what is news: it knows what was muted, and what was read
 * elsewhere. What was in it when it came first was there before: it is shown in it, not told.
 *
 * Bound: KNOWN_MAX ids; those that came first are forgotten first.
 */
import type { InboxResult, Notification } from "./gen/grandstand/notify/v1/notify_pb.js";

const KNOWN_MAX = 512;

export class Notifications {
  readonly #known = new Set<string>();
  #hasInbox = false;

  /** The inbox changed. Returns what is news, the oldest first. */
  takeInbox({ newest }: InboxResult): Notification[] {
    const news = newest.filter((it) => !it.read && !this.#known.has(it.notificationId)).reverse();
    for (const { notificationId } of [...newest].reverse()) this.#learn(notificationId);
    const isFirst = !this.#hasInbox;
    this.#hasInbox = true;
    return isFirst ? [] : news;
  }

  /** A notice to the game's viewers was announced. Returns it, if it is news. */
  takeAnnounced(notice: Notification): Notification[] {
    if (this.#hasInbox || this.#known.has(notice.notificationId)) return [];
    this.#learn(notice.notificationId);
    return [notice];
  }

  /** Another actor's inbox comes next. */
  forgetInbox(): void {
    this.#hasInbox = false;
  }

  #learn(id: string): void {
    this.#known.add(id);
    const [oldest] = this.#known;
    if (this.#known.size > KNOWN_MAX && oldest !== undefined) this.#known.delete(oldest);
  }
}
