/**
 * The newest known state of every topic; it is never replaced by an older one (I5). Pure.
 *
 * A Snapshot and an Update replace or change the topics they name, Personal replaces personal topics. A Snapshot
 * shows only this many topics: what it does not name stays as it is. A delta applies to the last state that its own stream sent, which may be
 * older than the state shown: a stream that takes over, or one opened without cursors (see resume.ts), may start
 * behind. So the cache keeps two states per topic, usually the same one: the state shown, and the state the
 * stream sent last. While the cursor of the latter is older in any partition, the topic is in `behind`.
 *
 * Bound: two states per topic. Beyond TOPICS_KEPT_MAX a Snapshot drops sealed topics that it does not name, those
 * first that were shown first.
 */
import type { TopicState } from "./gen/grandstand/aggregate/v1/aggregate_pb.js";
import { Stage } from "./gen/grandstand/catalog/v1/catalog_pb.js";
import type { Position } from "./gen/grandstand/event/v1/event_pb.js";
import type { TopicDelta } from "./gen/grandstand/gateway/v1/delta_pb.js";
import { applied, DeltaMismatch } from "./delta.js";
import { includes } from "./position.js";

export const TOPICS_KEPT_MAX = 1_024;

export class StateCache {
  readonly #states = new Map<string, TopicState>();
  readonly #streamed = new Map<string, TopicState>();
  readonly #behind = new Set<string>();
  readonly #personal = new Set<string>();
  readonly #applied = new Map<number, bigint>();

  /** The newest state of every topic, by topic name. */
  get states(): ReadonlyMap<string, TopicState> {
    return this.#states;
  }

  /** Topics for which the stream still sends states older than the one shown. */
  get behind(): ReadonlySet<string> {
    return this.#behind;
  }

  /** What to hand in with the next stream: all up to these is in the states shown. */
  get applied(): { readonly partition: number; readonly sequence: bigint }[] {
    return [...this.#applied].map(([partition, sequence]) => ({ partition, sequence }));
  }

  /** What to hand in besides: of topics that `applied` says nothing of. */
  get cursors(): Pick<TopicState, "topic" | "cursor">[] {
    const rest = [...this.#states.values()].filter(({ topic }) => this.#applied.size === 0 || this.#personal.has(topic));
    return rest.flatMap(({ topic, cursor }) => (cursor && cursor.positions.length > 0 ? [{ topic, cursor }] : []));
  }

  /** All up to these is in the states that the stream sent, now that they are taken. */
  takeApplied(positions: readonly Position[]): void {
    for (const { partition, sequence } of positions) {
      if (sequence > (this.#applied.get(partition) ?? 0n)) this.#applied.set(partition, sequence);
    }
  }

  /** Starts on a new stream. */
  begin(): void {
    this.#streamed.clear();
    this.#behind.clear();
  }

  /** Applies a Snapshot; returns the topics that were replaced or removed. */
  takeSnapshot(topics: readonly TopicState[]): string[] {
    const replaced = this.#takeAll(topics);
    const named = new Set([...topics.map((state) => state.topic), ...this.#personal]);
    // Of what it does not name the stream has said nothing: no delta fits it.
    for (const topic of [...this.#streamed.keys()].filter((topic) => !named.has(topic))) {
      this.#streamed.delete(topic);
      this.#behind.delete(topic);
    }
    if (this.#states.size <= TOPICS_KEPT_MAX) return replaced;
    const sealed = [...this.#states.values()].filter((state) => state.stage === Stage.SEALED && !named.has(state.topic));
    const gone = sealed.slice(0, this.#states.size - TOPICS_KEPT_MAX).map((state) => state.topic);
    for (const topic of gone) this.#states.delete(topic);
    return [...gone, ...replaced];
  }

  /** Applies an Update; returns the topics that were replaced. Throws DeltaMismatch; what precedes it is applied. */
  takeUpdate(topics: readonly TopicState[], deltas: readonly TopicDelta[] = []): string[] {
    const replaced = this.#takeAll(topics);
    for (const delta of deltas) {
      const last = this.#streamed.get(delta.topic);
      if (!last) throw new DeltaMismatch(`a delta of ${delta.topic}, which the stream has not shown`);
      if (this.#take(applied(last, delta))) replaced.push(delta.topic);
    }
    return replaced;
  }

  /** Applies a Personal; returns the topics that were replaced. */
  takePersonal(topics: readonly TopicState[]): string[] {
    for (const { topic } of topics) this.#personal.add(topic);
    return this.#takeAll(topics);
  }

  /** Another actor watches: what was shown of personal topics was the former one's. Returns the topics. */
  forgetPersonal(): string[] {
    const topics = [...this.#personal];
    for (const known of [this.#states, this.#streamed]) for (const topic of topics) known.delete(topic);
    for (const topic of topics) this.#behind.delete(topic);
    this.#personal.clear();
    return topics;
  }

  #takeAll(topics: readonly TopicState[]): string[] {
    return topics.filter((state) => this.#take(state)).map((state) => state.topic);
  }

  #take(state: TopicState): boolean {
    this.#streamed.set(state.topic, state);
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
