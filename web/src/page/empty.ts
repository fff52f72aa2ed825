/** What stands in place of a game that is not here, or that has nothing to vote on yet. */
import { el } from "./dom";
import { Stand } from "./stand";

export function unknownGame(gameId: string, detail: string): HTMLElement[] {
  return [
    el("h1", { class: "question" }, `Game “${gameId}” is not known here`),
    el("p", {}, "Check the address: the game's id stands after ?game=. If the game is about to be set up, leave this page open; it comes alive by itself."),
    el("p", { class: "empty-detail" }, detail),
  ];
}

export function nothingYet(): HTMLElement[] {
  return [
    el("h1", { class: "question" }, "The stand is filling up"),
    el("p", {}, "No poll is open yet. The next one appears here the moment it opens."),
    new Stand().element,
  ];
}
