/**
 * Who calls: `authorization: Bearer <token>` on every call, asked of the caller each time.
 *
 * A token that expires is renewed by asking: the call that follows wants another one.
 *
 * Send, IssueOrigin and the calls of an inbox are refused without a token. Watching needs none, but a token that is given must be good: so a
 * source that has an expired one gives none for what only watches. Asking for a guest's token goes without.
 */
import { createContextKey, type Interceptor } from "@connectrpc/connect";
import { GatewayService } from "./gen/grandstand/gateway/v1/gateway_pb.js";
import { NotifyService } from "./gen/grandstand/notify/v1/notify_pb.js";

/**
 * Gives the token for one call; undefined: none. `acts`: the call is refused without one, so the source
 * may take its time to get one, or throw what shall be told (a ConnectError; UNAVAILABLE is tried again).
 * `renews`: the token given last expires soon or was refused, so give another one if there is one; until there
 * is, the source is asked again, less and less often.
 */
export type TokenSource = (acts: boolean, renews: boolean) => string | undefined | Promise<string | undefined>;

/** Of a call: the token shown last does not do any more. */
export const RENEWS = createContextKey(false, { description: "wants another token" });

export function bearer(source: TokenSource): Interceptor {
  return (next) => async (request) => {
    if (request.method === GatewayService.method.issueGuest) return next(request);
    const acts =
      request.service.typeName === NotifyService.typeName ||
      request.method === GatewayService.method.send ||
      request.method === GatewayService.method.issueOrigin;
    const token = await source(acts, request.contextValues.get(RENEWS));
    if (token) request.header.set("authorization", `Bearer ${token}`);
    return next(request);
  };
}
