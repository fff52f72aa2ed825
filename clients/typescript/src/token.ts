/**
 * Who calls: `authorization: Bearer <token>` on every call, asked of the caller each time.
 *
 * Send and IssueOrigin are refused without a token. Watching needs none, but a token that is given must be good: so a
 * source that has an expired one gives none for what only watches. Asking for a guest's token goes without.
 */
import type { Interceptor } from "@connectrpc/connect";
import { GatewayService } from "./gen/grandstand/gateway/v1/gateway_pb.js";

/**
 * Gives the token for one call; undefined: none. `acts`: the call is refused without one, so the source
 * may take its time to get one, or throw what shall be told (a ConnectError; UNAVAILABLE is tried again).
 */
export type TokenSource = (acts: boolean) => string | undefined | Promise<string | undefined>;

export function bearer(source: TokenSource): Interceptor {
  return (next) => async (request) => {
    if (request.method === GatewayService.method.issueGuest) return next(request);
    const acts = request.method === GatewayService.method.send || request.method === GatewayService.method.issueOrigin;
    const token = await source(acts);
    if (token) request.header.set("authorization", `Bearer ${token}`);
    return next(request);
  };
}
