/**
 * Which gRPC codes end the matter, and which are worth another attempt. Pure.
 *
 * Everything that is not the server's considered answer is trouble on the way: besides UNAVAILABLE
 * and DEADLINE_EXCEEDED that is what a browser reports for a lost connection (connect-web maps a
 * failed fetch to UNKNOWN and a body cut short to INTERNAL or UNKNOWN). Sending an event again is always
 * safe, since it keeps its identity (I2), and so is opening a stream again with cursors (I5).
 */
import { Code } from "@connectrpc/connect";

const ANSWERS: ReadonlySet<Code> = new Set([
  Code.InvalidArgument,
  Code.NotFound,
  Code.AlreadyExists,
  Code.PermissionDenied,
  Code.Unauthenticated,
  Code.FailedPrecondition,
  Code.OutOfRange,
  Code.Unimplemented,
  Code.DataLoss,
]);

/** True: a stream that ended with this code would end so again. */
export function endsStream(code: Code): boolean {
  return ANSWERS.has(code);
}

/** True: the event was not stored, and resending it as it is would change nothing. */
export function refusesEvent(code: Code): boolean {
  return ANSWERS.has(code) || code === Code.ResourceExhausted;
}
