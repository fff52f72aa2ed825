/**
 * Grandstand for the browser: watch a game's results, send events that are counted once.
 *
 *     const stand = connect(location.origin, () => tokenOfTheSignedInPlayer);
 *     const session = stand.session();
 *     const subscription = stand.subscribe({
 *       gameId: "demo",
 *       onTopics: (changed) => changed.forEach((topic) => show(subscription.cache.states.get(topic))),
 *     });
 *     await session.vote("demo", "ada", "mvp", "left");
 *
 * Decisions are pure and in files of their own (position, delta, state-cache, backoff, resume, retry-info,
 * stream-handover, notifications, origin, landing, clock); inbox.ts, listing.ts, session.ts and subscription.ts do the
 * calls, token.ts attaches the token.
 * The generated messages are in gen/.
 */
import { createClient, type Transport } from "@connectrpc/connect";
import { createGrpcWebTransport } from "@connectrpc/connect-web";
import { CatalogService, type GetGameResponse } from "./gen/grandstand/catalog/v1/catalog_pb.js";
import { GatewayService, type IssueGuestResponse } from "./gen/grandstand/gateway/v1/gateway_pb.js";
import { NotifyService } from "./gen/grandstand/notify/v1/notify_pb.js";
import { Inbox } from "./inbox.js";
import { gameWithTopics } from "./listing.js";
import { Session, type SessionOptions } from "./session.js";
import { Subscription, type SubscriptionOptions } from "./subscription.js";
import { bearer, type TokenSource } from "./token.js";

export interface Grandstand {
  /** A person's session; keep one for as long as the page lives. */
  session(options?: SessionOptions): Session;
  /** Watches a game from now on, until `close`. */
  subscribe(options: SubscriptionOptions): Subscription;
  /** The inbox of the token's actor: its pages, what is read, preferences. */
  readonly inbox: Inbox;
  /**
   * A game with its polls and boards that are not sealed, and the newest of the others: titles, questions, labels.
   * Fails with NOT_FOUND.
   */
  game(gameId: string): Promise<GetGameResponse>;
  /**
   * A token for somebody whom no platform vouches for; with a guest's own `token`, the next one for the same guest.
   * Fails with FAILED_PRECONDITION where none are admitted, with UNAUTHENTICATED for a token that is not good.
   */
  guest(token?: string): Promise<IssueGuestResponse>;
}

/** How services are called at `server`, a base URL; for clients of services that `connect` has none for. */
export function transportTo(server: string, token: TokenSource): Transport {
  return createGrpcWebTransport({ baseUrl: server, interceptors: [bearer(token)] });
}

/**
 * `server` is a base URL, the page's own origin where the page comes from the same edge, or a transport
 * (which then has interceptors of its own). `token` is asked for each call.
 */
export function connect(server: string | Transport, token: TokenSource = () => undefined): Grandstand {
  const transport = typeof server === "string" ? transportTo(server, token) : server;
  const gateway = createClient(GatewayService, transport);
  const catalog = createClient(CatalogService, transport);
  return {
    session: (options) => new Session(gateway, options),
    subscribe: (options) => {
      const subscription = new Subscription(gateway, options);
      // After the caller has the subscription in hand.
      const open = () => subscription.open();
      void Promise.resolve(options.after).then(open, open);
      return subscription;
    },
    inbox: new Inbox(createClient(NotifyService, transport)),
    game: (gameId) => gameWithTopics(catalog, gameId),
    guest: (token) =>
      gateway.issueGuest({}, { timeoutMs: 5_000, ...(token !== undefined && { headers: { authorization: `Bearer ${token}` } }) }),
  };
}

export { type Connection, type Rendition, Subscription, type SubscriptionOptions } from "./subscription.js";
export { Inbox } from "./inbox.js";
export { Session, type SessionOptions, Undelivered } from "./session.js";
export { bearer, type TokenSource } from "./token.js";
export { delayMs } from "./backoff.js";
export { retryAfterMs, withJitter } from "./retry-info.js";
export { Landing } from "./landing.js";
export { followPresence } from "./presence.js";
export { includes } from "./position.js";
