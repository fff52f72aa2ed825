/**
 * The bell: how many notifications are unread, and the list of the newest. Opening the list reads them.
 *
 * What was unread when it came into the open list stays marked until the list is closed. What the server does not hear
 * of now it hears of when the list changes or is opened again.
 */
import { timestampDate } from "@bufbuild/protobuf/wkt";
import { type InboxResult, type Notification, Priority } from "@grandstand/client/gen/grandstand/notify/v1/notify_pb";
import { byId, el, set, setText } from "./dom";
import { agoText, badgeText, wholeText } from "./words";

export class Bell {
  readonly #button = byId<HTMLButtonElement>("bell");
  readonly #count = byId("bell-count");
  readonly #dialog = byId<HTMLDialogElement>("inbox");
  readonly #list = byId("inbox-list");
  readonly #fresh = new Set<string>();
  #inbox: InboxResult | undefined;
  #acknowledging = "";

  /**
   * `acknowledge` marks these as read, and with `all` those that are too old to be listed, too; `nowMs`: the server's
   * clock.
   */
  constructor(
    private readonly acknowledge: (notificationIds: readonly string[], all: boolean) => Promise<unknown>,
    private readonly nowMs: () => number,
  ) {
    this.#button.addEventListener("click", () => this.#open());
    this.#dialog.addEventListener("close", () => this.#fresh.clear());
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

  #open(): void {
    this.#acknowledging = "";
    this.#dialog.showModal();
    this.#fill();
  }

  #fill(): void {
    const newest = this.#inbox?.newest ?? [];
    for (const { notificationId, read } of newest) if (!read) this.#fresh.add(notificationId);
    byId("inbox-empty").hidden = newest.length > 0;
    this.#list.hidden = newest.length === 0;
    this.#list.replaceChildren(...newest.map((it) => this.#item(it)));
    void this.#read();
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
