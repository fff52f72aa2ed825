/** Says who the person is here, and lets a guest become another one. */
import type { Standing } from "./credentials";
import { byId, setText } from "./dom";

export class ActorDialog {
  readonly #dialog = byId<HTMLDialogElement>("actor-dialog");

  constructor(onOther: () => void) {
    byId("actor-other").addEventListener("click", () => {
      this.#dialog.close();
      onOther();
    });
  }

  show(standing: Standing): void {
    const guest = standing.kind === "acts" && standing.credential.guest;
    const [title, help] = words(standing);
    setText(byId("actor-title"), title);
    setText(byId("actor-help"), help);
    byId("actor-other").hidden = !guest;
    this.#dialog.showModal();
  }
}

function words(standing: Standing): [string, string] {
  switch (standing.kind) {
    case "asking":
      return ["Just a moment", "The server is being asked who you are."];
    case "watches":
      return ["You watch", standing.detail ? `${standing.why} The server said: ${standing.detail}` : standing.why];
    case "acts": {
      const { actorId, guest } = standing.credential;
      const everyone = "Everyone can see this name on the leaderboard.";
      if (!guest) return [`You play as ${actorId}`, `${everyone} You are signed in by where you play.`];
      return [`You are ${actorId}`, `You are a guest. ${everyone} Your votes stay with it; closing this tab ends it.`];
    }
  }
}
