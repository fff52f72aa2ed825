/** Asks for another name. */
import { actorProblem } from "./actor";
import { byId, set, setText } from "./dom";

export class NameDialog {
  readonly #dialog = byId<HTMLDialogElement>("name-dialog");
  readonly #input = byId<HTMLInputElement>("name-input");
  readonly #problem = byId("name-problem");

  constructor(onName: (name: string) => void) {
    byId("name-cancel").addEventListener("click", () => this.#dialog.close());
    this.#input.addEventListener("input", () => this.#tell(undefined));
    byId("name-form").addEventListener("submit", (event) => {
      event.preventDefault();
      const name = this.#input.value.trim();
      const problem = actorProblem(name);
      this.#tell(problem);
      if (problem !== undefined) return;
      this.#dialog.close();
      onName(name);
    });
  }

  ask(current: string): void {
    this.#tell(undefined);
    this.#input.value = current;
    this.#dialog.showModal();
    this.#input.select();
  }

  #tell(problem: string | undefined): void {
    setText(this.#problem, problem ?? "");
    set(this.#input, { "aria-invalid": problem === undefined ? undefined : "true" });
  }
}
