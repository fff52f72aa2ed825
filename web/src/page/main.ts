import { App } from "./app";
import { tokenIn } from "./claims";
import { byId } from "./dom";
import { followTheme } from "./theme";

/** Takes a token out of the address bar, before anybody can read it there or bookmark it. */
function givenToken(): string | undefined {
  const found = tokenIn(location.hash);
  if (found) history.replaceState(history.state, "", `${location.pathname}${location.search}${found.rest}`);
  return found?.token;
}

followTheme(byId<HTMLButtonElement>("theme"));
const app = new App(location.origin, new URLSearchParams(location.search).get("game") || "demo", givenToken());
// The page that embeds this one renews the token.
addEventListener("hashchange", () => {
  const token = givenToken();
  if (token !== undefined) app.take(token);
});
