/**
 * What a viewer shows: the newest state of every topic, never an older one (I5).
 *
 * A Snapshot replaces everything shown but what is personal, an Update changes the topics it names, Personal
 * replaces personal topics. A delta changes what its own stream said of the topic before, which is not always
 * what is shown: a stream that follows another one, or was opened without cursors (see resume.ts), may start
 * behind it. So two states of a topic are kept, most often the same: what is shown, and what the stream said
 * last. While the cursor of that lies behind the one shown, in any partition, its topic is in `behind`. Pure.
 *
 * Bound: two states for each topic of the subscription, as many as the newest Snapshot and the messages
 * after it name.
 */
import type { TopicState } from "./gen/grandstand/aggregate/v1/aggregate_pb.js";
import type { TopicDelta } from "./gen/grandstand/gateway/v1/delta_pb.js";
import { applied, Misfit } from "./delta.js";
import { includes } from "./position.js";

export class Screen {
  readonly #states = new Map<string, TopicState>();
  readonly #said = new Map<string, TopicState>();
  readonly #behind = new Set<string>();
  readonly #personal = new Set<string>();
  #unheard = new Set<string>();

  /** The newest state of every topic, by its name. */
  get states(): ReadonlyMap<string, TopicState> {
    return this.#states;
  }

  /** Topics for which the server still answers with less than is shown. */
  get behind(): ReadonlySet<string> {
    return this.#behind;
  }

  /**
   * A new stream speaks from now on, opened with the cursors of these topics. What came on screen since it was
   * opened is not among them, and its first Snapshot may be without it.
   */
  begin(handedIn: readonly string[]): void {
    this.#said.clear();
    this.#behind.clear();
    const known = new Set(handedIn);
    this.#unheard = new Set([...this.#states.keys()].filter((topic) => !known.has(topic)));
  }

  /** Takes a Snapshot; returns the topics that were replaced or went away. */
  takeSnapshot(topics: readonly TopicState[]): string[] {
    const named = new Set([...topics.map((state) => state.topic), ...this.#personal]);
    for (const topic of this.#said.keys()) if (!named.has(topic)) this.#said.delete(topic);
    const gone = [...this.#states.keys()].filter((topic) => !named.has(topic) && !this.#unheard.has(topic));
    for (const topic of gone) {
      this.#states.delete(topic);
      this.#behind.delete(topic);
    }
    this.#unheard.clear();
    return [...gone, ...this.#takeAll(topics)];
  }

  /** Takes an Update; returns the topics that were replaced. Throws Misfit; what stands before is taken. */
  takeUpdate(topics: readonly TopicState[], deltas: readonly TopicDelta[] = []): string[] {
    const replaced = this.#takeAll(topics);
    for (const delta of deltas) {
      const said = this.#said.get(delta.topic);
      if (!said) throw new Misfit(`a delta of ${delta.topic}, which the stream has not shown`);
      if (this.#take(applied(said, delta))) replaced.push(delta.topic);
    }
    return replaced;
  }

  /** Takes a Personal; returns the topics that were replaced. */
  takePersonal(topics: readonly TopicState[]): string[] {
    for (const { topic } of topics) this.#personal.add(topic);
    return this.#takeAll(topics);
  }

  #takeAll(topics: readonly TopicState[]): string[] {
    return topics.filter((state) => this.#take(state)).map((state) => state.topic);
  }

  #take(state: TopicState): boolean {
    this.#said.set(state.topic, state);
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
