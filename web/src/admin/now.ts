/** The mesh as it is: promises, figures, services, hottest games. */
import { timestampDate } from "@bufbuild/protobuf/wkt";
import { type GameOverview, type Overview, type ProcessOverview, ProcessState } from "@grandstand/client/gen/grandstand/operator/v1/operator_pb";
import { byId, el, setText } from "../page/dom";
import { clockText, mebibytesText, millisecondsText, numberText, percentText } from "./words";

const STATES: Record<ProcessState, readonly [string, string]> = {
  [ProcessState.UNSPECIFIED]: ["unknown", "soft"],
  [ProcessState.WELL]: ["well", "good"],
  [ProcessState.FAILING]: ["failing", "bad"],
  [ProcessState.SILENT]: ["silent", "warn"],
};

export class Now {
  /** By the name of the figure. */
  readonly #figures = new Map<string, HTMLElement>();
  #games = "";

  /** `choose`: a game's button was pressed. */
  constructor(private readonly choose: (gameId: string) => void) {}

  show(view: Overview): void {
    this.#showPromises(view);
    this.#showFigures(view);
    byId("processes").replaceChildren(...view.processes.map(processRow));
    const more = view.processesKnown - view.processes.length;
    setText(byId("processes-more"), view.processes.length === 0 ? "No process was heard yet." : more > 0 ? `and ${numberText(more)} more, which are well` : "");
    this.#showHottest(view.hottest);
  }

  #showPromises(view: Overview): void {
    const items = view.promises.map(({ name, ok, reason, since }) => {
      const text = ok ? name : `not ${name}${since ? ` since ${clockText(timestampDate(since).getTime())}` : ""}: ${reason}`;
      return el("li", { class: ok ? "good" : "bad", "data-testid": "promise", "data-name": name, "data-ok": String(ok) }, text);
    });
    byId("promises").replaceChildren(...items);
  }

  #showFigures({ rates, freshness, ...view }: Overview): void {
    const seen = freshness ? `${numberText(freshness.seen)} seen, ${numberText(freshness.unseen)} unseen, ${numberText(freshness.notAcked)} not acked` : "";
    const told: [string, string, string?][] = [
      ["Stored", `${numberText(rates?.stored)}/s`],
      ["Folded", `${numberText(rates?.folded)}/s`],
      ["Refused", `${numberText(rates?.refused)}/s`],
      ["Shed", `${numberText(rates?.shed)}/s`],
      ["Frames", `${numberText(rates?.frames)}/s`],
      ["Conflated", `${numberText(rates?.conflated)}/s`],
      ["Viewers", numberText(view.viewers)],
      ["Lag", view.lagSeconds === undefined ? "–" : `${numberText(view.lagSeconds)} s`],
      ["Overload", `${numberText(view.overloadLevel)} of 10`],
      ["Pressure", percentText(view.pressureRatio)],
      ["Freshness p50", freshness ? millisecondsText(freshness.p50Seconds) : "no canary", seen],
      ["Freshness p99", freshness ? millisecondsText(freshness.p99Seconds) : "no canary", seen],
      ["Incidents", freshness ? `${numberText(freshness.incidents)}${freshness.incidentOpen ? ", one is open" : ""}` : "no canary"],
    ];
    for (const [name, text, note] of told) {
      let value = this.#figures.get(name);
      if (!value) {
        value = el("dd", { "data-figure": name });
        this.#figures.set(name, value);
        byId("figures").append(el("div", {}, el("dt", {}, name), value));
      }
      setText(value, text);
      value.title = note ?? "";
    }
  }

  /** Built again only when other games are hot: a button that is focused stays. */
  #showHottest(games: readonly GameOverview[]): void {
    const list = byId("hottest");
    const key = JSON.stringify(games.map(({ gameId, title }) => [gameId, title]));
    if (key !== this.#games || list.childElementCount === 0) {
      this.#games = key;
      const items = games.map(({ gameId, title }) => gameItem(gameId, title, this.choose));
      list.replaceChildren(...(items.length > 0 ? items : [el("li", { class: "soft" }, "No game has events or viewers just now.")]));
    }
    games.forEach(({ eventsPerSecond, viewers }, i) => {
      const note = list.children[i]?.querySelector(".note");
      if (note) setText(note, `${numberText(eventsPerSecond ?? 0)} events/s, ${numberText(viewers ?? 0)} viewers`);
    });
  }
}

/** A game with a button that chooses it. Names are as people have them: isolated, so that none reorders the line. */
export function gameItem(gameId: string, title: string, choose: (gameId: string) => void): HTMLLIElement {
  const button = el("button", { type: "button", class: "game-button", "data-testid": "game-button", "data-game-id": gameId }, el("bdi", {}, title || gameId));
  button.addEventListener("click", () => choose(gameId));
  return el("li", {}, button, el("span", { class: "note soft" }, title ? gameId : ""));
}

function processRow({ instance, state, reason, cpuRatio, memoryBytes }: ProcessOverview): HTMLTableRowElement {
  const [word, style] = STATES[state] ?? STATES[ProcessState.UNSPECIFIED];
  return el(
    "tr",
    { "data-instance": instance, "data-state": word },
    el("th", { scope: "row" }, el("bdi", {}, instance)),
    el("td", { class: style }, reason ? `${word}: ${reason}` : word),
    el("td", { class: "number" }, percentText(cpuRatio)),
    el("td", { class: "number" }, mebibytesText(memoryBytes)),
  );
}
