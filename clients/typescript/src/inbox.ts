/**
 * The token's actor's inbox: its pages, what is read, and what the actor wants to be told. Calls of NotifyService.
 *
 * Every call needs a token of somebody, and may be repeated. What changes meanwhile comes in the topic "inbox" of a
 * subscription.
 */
import type { MessageInitShape } from "@bufbuild/protobuf";
import type { Client } from "@connectrpc/connect";
import type {
  ListInboxRequestSchema,
  ListInboxResponse,
  NotifyService,
  Preferences,
  PreferencesSchema,
} from "./gen/grandstand/notify/v1/notify_pb.js";

const OPTIONS = { timeoutMs: 5_000 };

export class Inbox {
  constructor(private readonly notify: Client<typeof NotifyService>) {}

  /** A page, newest first; with `after`, the cursor of a page that was kept, only what is newer. */
  list(request: MessageInitShape<typeof ListInboxRequestSchema> = {}): Promise<ListInboxResponse> {
    return this.notify.listInbox(request, OPTIONS);
  }

  /** Marks these as read, at most 100. Resolves to how many are unread then. */
  async acknowledge(notificationIds: readonly string[]): Promise<bigint> {
    return (await this.notify.acknowledgeNotices({ notificationIds: [...notificationIds] }, OPTIONS)).unread;
  }

  /** Marks all up to a cursor or a notification as read. Resolves to how many are unread then. */
  async acknowledgeUpTo(upTo: string): Promise<bigint> {
    return (await this.notify.acknowledgeNotices({ upTo }, OPTIONS)).unread;
  }

  async preferences(): Promise<Preferences | undefined> {
    return (await this.notify.getPreferences({}, OPTIONS)).preferences;
  }

  /** Replaces them as a whole. */
  async setPreferences(preferences: MessageInitShape<typeof PreferencesSchema>): Promise<void> {
    await this.notify.setPreferences({ preferences }, OPTIONS);
  }
}
