/**
 * Keeps the catalog's words as new as the topics: asks GetGame at the start, when a topic appears
 * that nobody named, and, while the game is unknown, every few seconds until it is there.
 *
 * One question is on its way at a time, and none follows the last sooner than SPACING_MS: a topic older than
 * what GetGame lists would otherwise be asked for with every update. Such a topic is asked for once.
 */
import { Code, ConnectError } from "@connectrpc/connect";
import type { GetGameResponse } from "@grandstand/client/gen/grandstand/catalog/v1/catalog_pb";

const SPACING_MS = 1_000;
const RETRY_MS = 5_000;

export class CatalogWatch {
  readonly #asked = new Set<string>();
  #busy = false;
  #again = false;

  constructor(
    private readonly ask: () => Promise<GetGameResponse>,
    private readonly onAnswer: (answer: GetGameResponse) => void,
    /** Told with every NOT_FOUND. */
    private readonly onUnknown: (message: string) => void,
  ) {}

  /** Asks, now or when the question that is on its way is answered. */
  refresh(): void {
    if (this.#busy) this.#again = true;
    else void this.#run();
  }

  /** Topics were seen that the catalog has not named. */
  unnamed(topics: readonly string[]): void {
    const fresh = topics.filter((topic) => !this.#asked.has(topic));
    if (fresh.length === 0) return;
    for (const topic of fresh) this.#asked.add(topic);
    this.refresh();
  }

  async #run(): Promise<void> {
    this.#busy = true;
    let waitMs = SPACING_MS;
    this.#again = false;
    try {
      this.onAnswer(await this.ask());
    } catch (reason) {
      const error = ConnectError.from(reason);
      if (error.code === Code.NotFound || error.code === Code.InvalidArgument) this.onUnknown(error.rawMessage);
      this.#again = true;
      waitMs = RETRY_MS;
    }
    setTimeout(() => {
      this.#busy = false;
      if (this.#again) this.refresh();
    }, waitMs);
  }
}
