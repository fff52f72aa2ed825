/**
 * Ties a subscription to whether anyone looks and whether there is a network.
 *
 * A tab hidden for HIDDEN_MS gives its stream back: over HTTP/1.1 a browser allows six connections
 * to one server, and a forgotten tab should cost neither one of them nor a phone's battery. Shown
 * again, or online again, it opens its stream at once, without waiting for the backoff; the
 * cursors make sure that nothing older shows.
 */
import type { Subscription } from "./subscription.js";

const HIDDEN_MS = 60_000;

/** Returns what undoes it. */
export function followPresence(subscription: Subscription, hiddenMs = HIDDEN_MS): () => void {
  let hiding: ReturnType<typeof setTimeout> | undefined;
  const onVisibility = () => {
    clearTimeout(hiding);
    if (document.visibilityState === "hidden") hiding = setTimeout(() => subscription.pause(), hiddenMs);
    else if (subscription.connection.phase !== "refused") subscription.open();
  };
  const onOnline = () => {
    if (subscription.connection.phase === "reconnecting") subscription.open();
  };
  document.addEventListener("visibilitychange", onVisibility);
  window.addEventListener("online", onOnline);
  return () => {
    clearTimeout(hiding);
    document.removeEventListener("visibilitychange", onVisibility);
    window.removeEventListener("online", onOnline);
  };
}
