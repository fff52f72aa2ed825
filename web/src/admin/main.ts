/**
 * The admin page: asks OperatorService each second, with the operator's token that the person gives. The token is kept
 * in sessionStorage, so for this tab, and shown in the header `authorization` alone. Nothing is asked while the tab
 * is hidden.
 */
import { Code, ConnectError, createClient } from "@connectrpc/connect";
import { CatalogService } from "@grandstand/client/gen/grandstand/catalog/v1/catalog_pb";
import { OperatorService, type OverviewPoint } from "@grandstand/client/gen/grandstand/operator/v1/operator_pb";
import { connect, transportTo } from "@grandstand/client";
import { byId, set, setText } from "../page/dom";
import { read, tabStorage, write } from "../page/storage";
import { followTheme } from "../page/theme";
import { atS, ChartCard } from "./chart-card";
import { GamePanel } from "./game-panel";
import { gameItem, Now } from "./now";
import { clockText, numberText } from "./words";

const KEY = "grandstand.operator";
const EVERY_MS = 1_000;
const POINTS_EVERY_MS = 10_000;
const HOUR_S = 3_600;
const FOUND_MAX = 50;
const PAGES_MAX = 100;
const OPTIONS = { timeoutMs: 5_000 };

const storage = tabStorage();
let token = read(storage, KEY);
const transport = transportTo(location.origin, () => token);
const operator = createClient(OperatorService, transport);
const catalog = createClient(CatalogService, transport);
const panel = new GamePanel(connect(transport), catalog);
const now = new Now((gameId) => panel.show(gameId));
const ms = (seconds: number | undefined) => (seconds === undefined ? undefined : seconds * 1000);
const charts = [
  new ChartCard(
    byId("rates-chart"),
    "Events a second",
    [
      { name: "stored", unit: "/s", pick: (point) => point.rates?.stored },
      { name: "folded", unit: "/s", pick: (point) => point.rates?.folded },
      { name: "refused", unit: "/s", pick: (point) => point.rates?.refused },
    ],
    "No point yet: the first comes within 10 s.",
  ),
  new ChartCard(
    byId("fresh-chart"),
    "Vote to screen",
    [
      { name: "p50", unit: "ms", pick: (point) => ms(point.freshnessP50Seconds) },
      { name: "p99", unit: "ms", pick: (point) => ms(point.freshnessP99Seconds) },
    ],
    "No canary measured it in the last hour.",
  ),
];
/** By time: each gateway knows what happened since it began, together they know more. */
const points = new Map<number, OverviewPoint>();
let pointsAtMs = Number.NEGATIVE_INFINITY;
let seenAtMs: number | undefined;
let running = 0;

function say(state: "signed-out" | "asking" | "live" | "stale", text: string): void {
  set(byId("status"), { "data-state": state });
  setText(byId("status"), text);
}

function signOut(why = ""): void {
  running++;
  token = undefined;
  write(storage, KEY, undefined);
  panel.close();
  byId("mesh").hidden = true;
  byId("forget").hidden = true;
  byId("sign-in").hidden = false;
  setText(byId("token-error"), why);
  set(byId("token"), { "aria-invalid": why ? "true" : undefined });
  say("signed-out", "Signed out");
  byId("token").focus();
}

function signIn(): void {
  byId("sign-in").hidden = true;
  byId("forget").hidden = false;
  say("asking", "Asking the mesh");
  seenAtMs = undefined;
  pointsAtMs = Number.NEGATIVE_INFINITY;
  void watch(++running);
}

/** Until another watch begins or the token is forgotten. */
async function watch(run: number): Promise<void> {
  while (run === running) {
    if (!document.hidden) await look(run);
    await new Promise((resolve) => setTimeout(resolve, EVERY_MS));
  }
}

async function look(run: number): Promise<void> {
  try {
    const { overview } = await operator.getOverview({}, OPTIONS);
    if (run !== running || !overview) return;
    seenAtMs = Date.now();
    byId("mesh").hidden = false;
    now.show(overview);
    const nowS = Number(overview.at?.seconds ?? 0n);
    if (points.size === 0 || performance.now() - pointsAtMs >= POINTS_EVERY_MS) {
      pointsAtMs = performance.now();
      const answer = await operator.listPoints({}, OPTIONS);
      if (run !== running) return;
      for (const point of answer.points) points.set(atS(point), point);
      // Of a clock that was ahead, too.
      for (const at of points.keys()) if (at < nowS - HOUR_S || at > nowS + HOUR_S) points.delete(at);
      const sorted = [...points.values()].sort((a, b) => atS(a) - atS(b));
      for (const chart of charts) chart.show(sorted, nowS);
    }
    say("live", "Live");
  } catch (reason) {
    if (run !== running) return;
    const { code, rawMessage } = ConnectError.from(reason);
    if (code === Code.Unauthenticated || code === Code.PermissionDenied) return signOut(rawMessage);
    const since = seenAtMs === undefined ? "" : ` What is shown is of ${clockText(seenAtMs)}.`;
    say("stale", `No gateway answers: ${rawMessage}.${since}`);
  }
}

async function search(text: string): Promise<void> {
  const [list, status] = [byId("found"), byId("search-status")];
  setText(status, "Looking");
  const found: HTMLLIElement[] = [];
  try {
    let pageToken = "";
    for (let page = 0; page < PAGES_MAX && found.length < FOUND_MAX; page++) {
      const answer = await catalog.listGames({ text, pageToken, pageSize: FOUND_MAX }, OPTIONS);
      for (const { gameId, title } of answer.games) found.push(gameItem(gameId, title, (id) => panel.show(id)));
      pageToken = answer.nextPageToken;
      if (!pageToken) break;
    }
    const more = pageToken ? ", and there may be more: give more of the name" : "";
    setText(status, found.length === 0 ? `No game has “${text}” in its id or title.` : `${numberText(found.length)} found${more}.`);
  } catch (reason) {
    setText(status, ConnectError.from(reason).rawMessage);
  }
  list.hidden = found.length === 0;
  list.replaceChildren(...found.slice(0, FOUND_MAX));
}

followTheme(byId<HTMLButtonElement>("theme"));
byId("sign-in").addEventListener("submit", (event) => {
  event.preventDefault();
  const field = byId<HTMLInputElement>("token");
  token = field.value.trim().replace(/^Bearer\s+/i, "");
  field.value = "";
  if (!/^[\w.=-]+$/.test(token)) return signOut("That is no token: it has three parts of letters and digits, with dots between.");
  write(storage, KEY, token);
  signIn();
});
byId("forget").addEventListener("click", () => signOut());
byId("search").addEventListener("submit", (event) => {
  event.preventDefault();
  void search(byId<HTMLInputElement>("search-text").value.trim());
});
if (token) signIn();
else signOut();
