import { create } from "@bufbuild/protobuf";
import { Code, ConnectError, createRouterTransport } from "@connectrpc/connect";
import { afterEach, beforeEach, expect, test, vi } from "vitest";
import { GatewayService, IssueGuestResponseSchema, IssueOriginResponseSchema, SendResponseSchema } from "@grandstand/client/gen/grandstand/gateway/v1/gateway_pb";
import { bearer, connect, type TokenSource } from "@grandstand/client";
import { claimsOf, tokenIn } from "../src/page/claims";
import { Credentials, type Issued, type Standing } from "../src/page/credentials";

beforeEach(() => void vi.useFakeTimers());
afterEach(() => void vi.useRealTimers());

const base64url = (value: unknown) =>
  btoa(String.fromCharCode(...new TextEncoder().encode(JSON.stringify(value)))).replace(/\+/g, "-").replace(/\//g, "_").replace(/=/g, "");
const jwt = (claims: unknown) => `${base64url({ alg: "EdDSA" })}.${base64url(claims)}.c2ln`;

class MemoryStorage {
  readonly kept = new Map<string, string>();
  getItem = (key: string) => this.kept.get(key) ?? null;
  setItem = (key: string, value: string) => void this.kept.set(key, value);
  removeItem = (key: string) => void this.kept.delete(key);
}

/** A gateway that issues guests "guest-1", "guest-2", …, or fails as scripted; and the credentials that ask it. */
function page(storage = new MemoryStorage(), script: Code[] = [], lifeMs = 3_600_000) {
  let issued = 0;
  const told: Standing[] = [];
  const issue = async (guest?: string): Promise<Issued> => {
    const code = script.shift();
    if (code !== undefined) {
      const error = new ConnectError("scripted", code);
      // A RetryInfo of 20 s.
      if (code === Code.ResourceExhausted) error.details = [{ type: "google.rpc.RetryInfo", value: Uint8Array.of(0x0a, 2, 0x08, 20) }];
      throw error;
    }
    issued++;
    const actorId = (guest && claimsOf(guest)?.actorId) ?? `guest-${issued}`;
    return { token: jwt(guest ? { sub: actorId, jti: issued } : { sub: actorId }), actorId, lifeMs };
  };
  const it = new Credentials(storage as unknown as Storage, issue, (standing) => told.push(standing), Date.now, () => 1);
  const actor = () => (it.standing.kind === "acts" ? it.standing.credential.actorId : it.standing.kind);
  return { it, told, actor, storage, issued: () => issued };
}

test("a token in the fragment is taken out of it, and nothing else", () => {
  expect(tokenIn("#token=a.b-c_d.e")).toEqual({ token: "a.b-c_d.e", rest: "" });
  expect(tokenIn("#view=big&token=x")).toEqual({ token: "x", rest: "#view=big" });
  for (const fragment of ["", "#", "#main", "#token=", "#tokens=x"]) expect(tokenIn(fragment)).toBeUndefined();
});

test("the claims of a token are read, also beyond ASCII, and those of rubbish are none", () => {
  expect(claimsOf(jwt({ sub: "ann", iat: 100, exp: 160, note: "zoë ✓ÿ" }))).toEqual({ actorId: "ann", lifeMs: 60_000 });
  expect(claimsOf(jwt({ exp: 5 }))).toEqual({ actorId: undefined, lifeMs: undefined });
  for (const rubbish of ["", "a", "a.b.c", "a.!!!.c", jwt(null), jwt("x")]) expect(claimsOf(rubbish)).toBeUndefined();
});

test("who is given a token acts as its actor, and asks for no guest", async () => {
  const { it, actor, issued } = page();
  it.begin(jwt({ sub: "ann" }));
  expect(actor()).toBe("ann");
  expect(await it.source(true, true)).toBe(jwt({ sub: "ann" }));
  expect(issued()).toBe(0);
});

test("who is given none becomes a guest, and stays the same one when the page is loaded again", async () => {
  const first = page();
  first.it.begin(undefined);
  expect(await first.it.source(false, false)).toBeUndefined();
  expect(await first.it.source(true, false)).toBe(jwt({ sub: "guest-1" }));
  const again = page(first.storage);
  again.it.begin(undefined);
  expect(again.actor()).toBe("guest-1");
  expect(again.issued()).toBe(0);
});

test("a guest is renewed as the same one, shortly before its end and when the server wants it", async () => {
  const { it, actor, storage, told, issued } = page(undefined, [], 3_600_000);
  it.begin(undefined);
  await it.known();
  vi.setSystemTime(Date.now() + 3_600_000 - 61_000);
  it.tick();
  expect([actor(), issued()]).toEqual(["guest-1", 1]);
  vi.setSystemTime(Date.now() + 2_000);
  it.tick();
  it.tick();
  await vi.advanceTimersByTimeAsync(0);
  expect([actor(), issued()]).toEqual(["guest-1", 2]);
  expect(await it.source(false, true)).toBe(jwt({ sub: "guest-1", jti: 3 }));
  expect(told.map(({ kind }) => kind)).toEqual(["asking", "acts", "acts", "acts"]); // Never nobody in between.
  vi.setSystemTime(Date.now() + 3_600_000);
  const late = page(storage);
  late.it.begin(undefined);
  await late.it.known();
  expect(late.actor()).toBe("guest-1"); // The first of its own gateway, not the kept one.
  expect(late.issued()).toBe(1);
});

test("a guest that cannot be renewed now goes on and is renewed later; one that is revoked becomes another", async () => {
  const script: Code[] = [];
  const { it, actor, issued } = page(undefined, script);
  it.begin(undefined);
  await it.known();
  script.push(Code.Unavailable);
  vi.setSystemTime(Date.now() + 3_600_000 - 30_000);
  it.tick();
  await vi.advanceTimersByTimeAsync(1_000);
  it.tick();
  expect([actor(), issued()]).toEqual(["guest-1", 1]);
  await vi.advanceTimersByTimeAsync(10_000);
  script.push(Code.Unauthenticated);
  it.tick();
  await vi.advanceTimersByTimeAsync(0);
  expect(actor()).toBe("guest-2");
});

test("while the server is away a guest is asked for again and again, and an act fails as retryable", async () => {
  const { it, actor } = page(undefined, Array<Code>(4).fill(Code.Unavailable));
  it.begin(undefined);
  const acting = Promise.resolve(it.source(true, false)).catch((error: ConnectError) => error.code);
  await vi.advanceTimersByTimeAsync(5_000);
  expect(await acting).toBe(Code.Unavailable);
  await vi.advanceTimersByTimeAsync(20_000);
  expect(actor()).toBe("guest-1");
});

test("when too many guests come one waits as long as the server said, is told so, and becomes one then", async () => {
  const { it, told, actor, issued } = page(undefined, [Code.ResourceExhausted]);
  it.begin(undefined);
  await vi.advanceTimersByTimeAsync(0);
  expect(told.at(-1)).toEqual({ kind: "asking", waitMs: 25_000 }); // 20 s, and a quarter of it by chance.
  await vi.advanceTimersByTimeAsync(24_900);
  expect([actor(), issued()]).toEqual(["asking", 0]);
  await vi.advanceTimersByTimeAsync(200);
  expect(actor()).toBe("guest-1");
});

test("where guests are not admitted one watches, is told why, and an act is refused", async () => {
  const { it, told } = page(undefined, [Code.FailedPrecondition]);
  it.begin(undefined);
  const standing = await it.known();
  expect(standing).toMatchObject({ kind: "watches", why: expect.stringContaining("guests are not admitted"), detail: "scripted" });
  expect(told).toHaveLength(2);
  await expect(it.source(true, false)).rejects.toMatchObject({ code: Code.Unauthenticated });
  expect(await it.source(false, false)).toBeUndefined();
});

test("a given token that is refused ends in watching, never in a guest", () => {
  const { it, actor, issued, storage } = page();
  it.begin(jwt({ sub: "ann" }));
  it.refused(Code.Unauthenticated, "Jwt is expired");
  expect(it.standing).toMatchObject({ kind: "watches", detail: "Jwt is expired" });
  expect(issued()).toBe(0);
  expect(storage.kept.size).toBe(0);
  it.take(jwt({ sub: "ann", exp: 9 }));
  expect(actor()).toBe("ann");
});

test("a token for other games ends in watching", () => {
  const { it } = page();
  it.begin(jwt({ sub: "ann" }));
  it.refused(Code.PermissionDenied, "game_id: 'demo' is not among the 1 games of the token");
  expect(it.standing).toMatchObject({ kind: "watches", why: expect.stringContaining("not for this game") });
});

test("a guest that is refused becomes another one, but not again and again", async () => {
  const { it, actor } = page();
  it.begin(undefined);
  await it.known();
  vi.setSystemTime(Date.now() + 60_000);
  it.refused(Code.Unauthenticated, "Jwt is expired");
  await it.known();
  expect(actor()).toBe("guest-2");
  it.refused(Code.Unauthenticated, "no such key");
  expect(it.standing).toMatchObject({ kind: "watches", detail: "no such key" });
});

test("a token that is given while a guest is asked for wins", async () => {
  const { it, actor } = page(undefined, [Code.Unavailable]);
  it.begin(undefined);
  it.take(jwt({ sub: "ann" }));
  await vi.advanceTimersByTimeAsync(10_000);
  expect(actor()).toBe("ann");
});

test("a token that names nobody is told so", () => {
  const { it } = page();
  it.begin("rubbish");
  expect(it.standing).toMatchObject({ kind: "watches", why: expect.stringContaining("names nobody") });
});

test("every call carries the token of its moment, save the one that asks for a guest", async () => {
  const seen: [string, string | null][] = [];
  let turn = 0;
  const source: TokenSource = (acts) => `t${++turn}${acts ? "-acts" : ""}`;
  const transport = createRouterTransport(
    ({ service }) =>
      service(GatewayService, {
        issueGuest: (_, { requestHeader }) => (seen.push(["guest", requestHeader.get("authorization")]), create(IssueGuestResponseSchema, { token: "t" })),
        issueOrigin: (_, { requestHeader }) => (seen.push(["origin", requestHeader.get("authorization")]), create(IssueOriginResponseSchema, { originId: "v", credit: 64 })),
        send: (_, { requestHeader }) => (seen.push(["send", requestHeader.get("authorization")]), create(SendResponseSchema, {})),
      }),
    { transport: { interceptors: [bearer(source)] } },
  );
  const stand = connect(transport);
  await stand.guest();
  await stand.session().vote("demo", "", "mvp", "left");
  expect(seen).toEqual([
    ["guest", null],
    ["origin", "Bearer t1-acts"],
    ["send", "Bearer t2-acts"],
  ]);
});
