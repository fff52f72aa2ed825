/**
 * The bell: how many notifications are unread, and the list of the newest. Opening the list reads them; earlier ones
 * are shown a page at a time.
 *
 * What was unread when it came into the open list stays marked until the list is closed. What the server does not hear
 * of now it hears of when the list changes or is opened again.
 */
import { timestampDate } from "@bufbuild/protobuf/wkt";
import { type InboxResult, type ListInboxResponse, type Notification, Priority } from "@grandstand/client/gen/grandstand/notify/v1/notify_pb";
import { byId, el, set, setText } from "./dom";
import { agoText, badgeText, wholeText } from "./words";

/** How many a stream shows: there may be more. */
const NEWEST_MAX = 20;

export class Bell {
  readonly #button = byId<HTMLButtonElement>("bell");
  readonly #count = byId("bell-count");
  readonly #dialog = byId<HTMLDialogElement>("inbox");
  readonly #lists = byId("inbox-lists");
  readonly #more = byId<HTMLButtonElement>("inbox-more");
  /** What the list has shown since it was opened: what the newest push out of their number stays in it. */
  readonly #known = new Map<string, Notification>();
  /** Of the next page; "" when there is none, undefined before the first was asked for. */
  #nextPage: string | undefined;
  readonly #fresh = new Set<string>();
  #inbox: InboxResult | undefined;
  #acknowledging = "";

  /**
   * `acknowledge` marks these as read, and with `all` those that are too old to be listed, too; `before` lists a page of
   * those before a notification, or page; `nowMs`: the server's clock.
   */
  constructor(
    private readonly acknowledge: (notificationIds: readonly string[], all: boolean) => Promise<unknown>,
    private readonly before: (pageToken: string) => Promise<ListInboxResponse>,
    private readonly nowMs: () => number,
  ) {
    this.#button.addEventListener("click", () => this.#open());
    this.#dialog.addEventListener("close", () => this.#forget());
    this.#more.addEventListener("click", () => void this.#showEarlier());
    // Beside the list is outside of it.
    this.#dialog.addEventListener("click", (event) => event.target === this.#dialog && this.#dialog.close());
  }

  get isOpen(): boolean {
    return this.#dialog.open;
  }

  /** `acts`: there is somebody whose inbox it is; `inbox`: as far as it is known. */
  show(acts: boolean, inbox: InboxResult | undefined): void {
    this.#inbox = inbox;
    const unread = Number(inbox?.unread ?? 0n);
    this.#button.hidden = !acts;
    set(this.#button, {
      "aria-label": unread > 0 ? `Notifications, ${wholeText(unread)} unread` : "Notifications",
      "data-unread": inbox && unread,
    });
    setText(this.#count, badgeText(unread));
    this.#count.hidden = unread === 0;
    if (this.#dialog.open) this.#fill();
  }

  #forget(): void {
    this.#fresh.clear();
    this.#known.clear();
    this.#nextPage = undefined;
    setText(byId("inbox-status"), "");
  }

  #open(): void {
    this.#acknowledging = "";
    this.#dialog.showModal();
    this.#fill();
  }

  #fill(): void {
    const newest = this.#inbox?.newest ?? [];
    for (const { notificationId, read } of newest) if (!read) this.#fresh.add(notificationId);
    // Ids sort by time. What is missing among the newest was taken back, or has expired.
    const oldest = newest.at(-1)?.notificationId ?? "";
    for (const id of this.#known.keys()) if (id > oldest) this.#known.delete(id);
    for (const it of newest) this.#known.set(it.notificationId, it);
    const earlier = [...this.#known.values()].filter(({ notificationId }) => notificationId < oldest);
    earlier.sort((a, b) => (a.notificationId < b.notificationId ? 1 : -1));
    byId("inbox-empty").hidden = newest.length > 0;
    this.#lists.hidden = newest.length === 0;
    byId("inbox-list").replaceChildren(...newest.map((it) => this.#item(it)));
    byId("inbox-earlier").replaceChildren(...earlier.map((it) => this.#item(it)));
    this.#more.hidden = this.#nextPage === "" || newest.length < NEWEST_MAX;
    void this.#read();
  }

  async #showEarlier(): Promise<void> {
    const from = this.#nextPage ?? this.#inbox?.newest.at(-1)?.notificationId;
    if (!from || this.#more.getAttribute("aria-busy") === "true") return;
    const status = byId("inbox-status");
    set(this.#more, { "aria-busy": "true" });
    try {
      const { notifications, nextPageToken } = await this.before(from);
      if (!this.#dialog.open) return;
      for (const it of notifications) this.#known.set(it.notificationId, it);
      this.#nextPage = nextPageToken;
      this.#fill();
      const count = notifications.length;
      setText(status, count === 0 ? "There are no earlier ones." : `${wholeText(count)} earlier ones are shown.`);
      // A button that is hidden would take the focus with it.
      if (this.#more.hidden) this.#lists.focus();
    } catch {
      setText(status, "Earlier ones cannot be had now. Try again.");
    } finally {
      set(this.#more, { "aria-busy": undefined });
    }
  }

  #item(it: Notification): HTMLElement {
    const fresh = this.#fresh.has(it.notificationId);
    const sentAt = it.sentAt && timestampDate(it.sentAt);
    const time = sentAt && el("time", { datetime: sentAt.toISOString() }, agoText(sentAt.getTime(), this.nowMs()));
    return el(
      "li",
      {
        class: "inbox-item",
        "data-testid": "notification",
        "data-notification-id": it.notificationId,
        "data-fresh": fresh,
        "data-urgent": it.priority === Priority.URGENT,
      },
      el("strong", {}, ...(fresh ? [el("span", { class: "inbox-new" }, "New"), " "] : []), it.title),
      ...(it.text ? [el("p", {}, it.text)] : []),
      ...(time ? [time] : []),
    );
  }

  /** All that is shown, once. Named one by one: what is held back by quiet hours is not read by that. */
  async #read(): Promise<void> {
    if (!this.#inbox) return;
    const unread = this.#inbox.newest.filter(({ read }) => !read).map(({ notificationId }) => notificationId);
    const all = this.#inbox.unread > unread.length;
    const what = `${unread} ${all}`;
    if ((unread.length === 0 && !all) || this.#acknowledging === what) return;
    this.#acknowledging = what;
    try {
      await this.acknowledge(unread, all);
    } catch {
      if (this.#acknowledging === what) this.#acknowledging = "";
    }
  }
}
