/**
 * When to come again, as the server said it with the status that ended a call: a google.rpc.RetryInfo. Pure.
 *
 * It is the least wait; some more is added by chance, so that those who were told the same do not come as one.
 * The message is read here by its wire format, a Duration in field 1: Google's stubs would be more than the rest
 * of this client. What cannot be read counts as not said.
 *
 * Bound: RETRY_AFTER_MAX_MS.
 */
import { fromBinary } from "@bufbuild/protobuf";
import { type Duration, durationMs, DurationSchema } from "@bufbuild/protobuf/wkt";
import { BinaryReader, WireType } from "@bufbuild/protobuf/wire";
import type { ConnectError } from "@connectrpc/connect";

const RETRY_INFO = "google.rpc.RetryInfo";
export const RETRY_AFTER_MAX_MS = 600_000;
/** Of the wait that was asked for, at most so much more. */
const JITTER = 0.25;

/** The least wait that the error names; undefined: it names none. */
export function retryAfterMs(error: Pick<ConnectError, "details"> | undefined): number | undefined {
  for (const detail of error?.details ?? []) {
    if (!("type" in detail) || detail.type !== RETRY_INFO) continue;
    try {
      const delay = delayIn(detail.value);
      return delay && Math.min(Math.max(0, durationMs(delay)), RETRY_AFTER_MAX_MS);
    } catch {
      return undefined;
    }
  }
  return undefined;
}

/** `leastMs` and some more; `random` gives numbers in [0, 1). */
export function withJitter(leastMs: number, random: () => number): number {
  return leastMs * (1 + JITTER * random());
}

function delayIn(retryInfo: Uint8Array): Duration | undefined {
  const reader = new BinaryReader(retryInfo);
  while (reader.pos < reader.len) {
    const [field, type] = reader.tag();
    if (field === 1 && type === WireType.LengthDelimited) return fromBinary(DurationSchema, reader.bytes());
    reader.skip(type, field);
  }
  return undefined;
}
