/** A leaderboard. Rows keep their element while their actor is listed, and glide to their new rank. */
import { el, prefersStill, set, setText } from "./dom";
import type { BoardView, RowView } from "./model";
import { countText, wholeText } from "./words";

interface Row {
  readonly element: HTMLLIElement;
  readonly rank: HTMLElement;
  readonly name: HTMLElement;
  readonly points: HTMLElement;
}

export class BoardCard {
  readonly element: HTMLElement;
  readonly #title: HTMLElement;
  readonly #note = el("span", { class: "side-note" });
  readonly #list = el("ol", { class: "board-rows" });
  readonly #empty = el("p", { class: "board-empty" }, "No scores yet.");
  readonly #rows = new Map<string, Row>();

  constructor(readonly boardId: string) {
    const titleId = `board-${boardId}`;
    this.#title = el("h2", { id: titleId, class: "side-title" });
    this.element = el(
      "section",
      { class: "board", "aria-labelledby": titleId, "data-testid": "board", "data-board-id": boardId },
      el("div", { class: "side-head" }, this.#title, this.#note),
      this.#list,
      this.#empty,
    );
  }

  show(board: BoardView, actorId: string): void {
    setText(this.#title, board.title);
    const players = countText(board.actors, "player");
    setText(this.#note, board.phase === "sealed" ? `Final, ${players}` : board.phase === "closed" ? "Closed" : players);
    this.#empty.hidden = board.rows.length > 0;
    const before = this.#tops(board.rows);
    const gone = new Set(this.#rows.keys());
    board.rows.forEach((view, i) => {
      gone.delete(view.actorId);
      const row = this.#rows.get(view.actorId) ?? this.#make(view.actorId);
      this.#fill(row, view, actorId);
      if (this.#list.children[i] !== row.element) this.#list.insertBefore(row.element, this.#list.children[i] ?? null);
    });
    for (const id of gone) {
      this.#rows.get(id)?.element.remove();
      this.#rows.delete(id);
    }
    this.#glide(before);
  }

  #make(actorId: string): Row {
    const row: Row = {
      element: el("li", { class: "board-row", "data-testid": "board-row", "data-actor-id": actorId }),
      rank: el("span", { class: "rank" }),
      name: el("span", { class: "name" }),
      points: el("span", { class: "points" }),
    };
    row.element.append(row.rank, row.name, row.points);
    this.#rows.set(actorId, row);
    return row;
  }

  #fill(row: Row, view: RowView, actorId: string): void {
    const mine = view.actorId === actorId;
    set(row.element, { "data-rank": view.rank, "data-points": view.points, "data-mine": mine });
    setText(row.rank, String(view.rank));
    setText(row.name, mine ? `${view.name} (you)` : view.name);
    const points = wholeText(view.points);
    if (row.points.textContent && row.points.textContent !== points && !prefersStill()) {
      row.points.animate([{ color: "var(--accent)" }, {}], { duration: 900 });
    }
    setText(row.points, points);
  }

  /** Where the rows are seen now, if their order is about to change: reading it costs a layout. */
  #tops(rows: readonly RowView[]): ReadonlyMap<string, number> {
    const shown = [...this.#list.children].map((row) => row.getAttribute("data-actor-id"));
    if (prefersStill() || rows.every((view, i) => view.actorId === shown[i])) return new Map();
    return new Map([...this.#rows].map(([id, row]) => [id, row.element.getBoundingClientRect().top]));
  }

  #glide(before: ReadonlyMap<string, number>): void {
    if (before.size === 0) return;
    for (const [id, { element }] of this.#rows) {
      for (const running of element.getAnimations()) running.cancel();
      const from = before.get(id);
      const moved = from === undefined ? 0 : from - element.getBoundingClientRect().top;
      if (from === undefined) element.animate([{ opacity: 0 }, { opacity: 1 }], { duration: 300 });
      else if (Math.abs(moved) > 1) {
        const rises = moved > 0;
        element.animate(
          [{ transform: `translateY(${moved}px)`, zIndex: rises ? 1 : 0 }, { transform: "none", zIndex: rises ? 1 : 0 }],
          { duration: 420, easing: "cubic-bezier(.2, .8, .2, 1)" },
        );
      }
    }
  }
}
