/** What a token says of its bearer, unchecked: the server checks, the page only wants to know who it is. Pure. */

export interface Claims {
  /** Whose token it is; undefined for one that names nobody. */
  readonly actorId: string | undefined;
  /** From its issue to its end; undefined where it does not tell both. */
  readonly lifeMs: number | undefined;
}

/** The claims of a JWT; undefined for what is none. */
export function claimsOf(token: string): Claims | undefined {
  const payload = token.split(".")[1];
  if (payload === undefined) return undefined;
  try {
    const bytes = Uint8Array.from(atob(payload.replace(/-/g, "+").replace(/_/g, "/")), (it) => it.charCodeAt(0));
    const claims: unknown = JSON.parse(new TextDecoder().decode(bytes));
    if (typeof claims !== "object" || claims === null) return undefined;
    const { sub, iat, exp } = claims as { sub?: unknown; iat?: unknown; exp?: unknown };
    return {
      actorId: typeof sub === "string" && sub !== "" ? sub : undefined,
      lifeMs: typeof iat === "number" && typeof exp === "number" ? (exp - iat) * 1000 : undefined,
    };
  } catch {
    return undefined;
  }
}

/** The token of a fragment such as "#token=…" and the fragment without it; undefined where there is none. */
export function tokenIn(fragment: string): { readonly token: string; readonly rest: string } | undefined {
  const fields = new URLSearchParams(fragment.replace(/^#/, ""));
  const token = fields.get("token");
  if (!token) return undefined;
  fields.delete("token");
  return { token, rest: fields.size > 0 ? `#${fields}` : "" };
}
