/**
 * What a viewer shows: the newest state of every topic, never an older one (I5).
 *
 * States are absolute. A Snapshot replaces everything shown, an Update the topics it names. A state
 * whose cursor lies behind the one shown, in any partition, is not taken: its topic is then in
 * `behind` until a state arrives that has caught up. That happens only after a stream had to be
 * opened without cursors (see resume.ts). Pure.
 *
 * Bound: one state for each topic of the subscription, as many as the newest Snapshot and the
 * Updates after it name.
 */
import type { TopicState } from "../gen/grandstand/aggregate/v1/aggregate_pb";
import { includes } from "./position";

export class Screen {
  readonly #states = new Map<string, TopicState>();
  readonly #behind = new Set<string>();

  /** The newest state of every topic, by its name. */
  get states(): ReadonlyMap<string, TopicState> {
    return this.#states;
  }

  /** Topics for which the server still answers with less than is shown. */
  get behind(): ReadonlySet<string> {
    return this.#behind;
  }

  /** Takes a Snapshot; returns the topics that were replaced or went away. */
  takeSnapshot(topics: readonly TopicState[]): string[] {
    const named = new Set(topics.map((state) => state.topic));
    const gone = [...this.#states.keys()].filter((topic) => !named.has(topic));
    for (const topic of gone) {
      this.#states.delete(topic);
      this.#behind.delete(topic);
    }
    return [...gone, ...this.takeUpdate(topics)];
  }

  /** Takes an Update; returns the topics that were replaced. */
  takeUpdate(topics: readonly TopicState[]): string[] {
    return topics.filter((state) => this.#replace(state)).map((state) => state.topic);
  }

  #replace(state: TopicState): boolean {
    const shown = this.#states.get(state.topic);
    if (shown?.cursor && !includes(state.cursor, shown.cursor.positions)) {
      this.#behind.add(state.topic);
      return false;
    }
    this.#behind.delete(state.topic);
    this.#states.set(state.topic, state);
    return true;
  }
}
