"""Plays the history of one seed, and checks the invariants along the way and at its end.

Along the way: every partial that a worker publishes is exactly the naive count of its partition's
stream up to its sequence (I2, I4), whoever published it and whatever died before; what a watcher
merges never goes back (I5). At the end, when nothing breaks any more and everything is settled:

- every acked event is in the stream at the position it was acked with or before (I1), and counted (I2);
- what was refused for certain is not in the stream; a vote refused as a second one is one;
- what Redis holds is the naive count of the whole stream, and is sealed where a seal was said (I9);
  and no topic stands there at an earlier sequence than a viewer may have seen it at (I5).
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from aggregate.partition import Loaded
from grandstand.aggregate.v1.aggregate_pb2 import TopicState
from grandstand.catalog.v1.catalog_pb2 import STAGE_SEALED, Poll
from grandstand.event.v1.event_pb2 import Event
from grandstand.internal.v1.internal_pb2 import Partial
from mesh import ids
from mesh.errors import AlreadyDone
from mesh.merge.topic import TopicMerge
from mesh.store import ResultStore, Share
from tests.simulation import scene
from tests.simulation.catalog import ModelCatalog
from tests.simulation.clients import Browser, Fate, Native, Relay, Sent
from tests.simulation.database import ModelDatabase
from tests.simulation.ingests import ModelIngest
from tests.simulation.oracle import NaivePartition, figures_of
from tests.simulation.stream import FOREIGN, ModelStream
from tests.simulation.workers import ModelWorker, Workers, at_once
from tests.simulation.world import World

_SETTLED_WITHIN_S = 200.0


class Violation(AssertionError):
    """An invariant does not hold; the text begins with the seed, which plays the same history again."""


@dataclass(frozen=True)
class Rules:
    """What a history is made of. Tests break a part of it on purpose, to prove that it would be seen."""

    database: type[ModelDatabase] = ModelDatabase
    ingest: type[ModelIngest] = ModelIngest
    native: type[Native] = Native
    altered: Callable[[Loaded], Loaded] = lambda loaded: loaded
    events: tuple[int, int] = (3, 9)
    """Of each client: at least, at most."""
    storm_s: tuple[float, float] = (4.0, 9.0)
    """How long things break: at least, at most."""


@dataclass
class Told:
    """What happened, to see that a history tries what it is meant to."""

    acked: int = 0
    refused: int = 0
    uncertain: int = 0
    blocks: int = 0
    resent: int = 0
    """Copies of events in the stream, beyond the first."""
    flushes: int = 0
    takeovers: int = 0
    emptied: int = 0
    restored: int = 0
    partials: int = 0
    kinds: set[str] = field(default_factory=set)

    def __iadd__(self, other: Told) -> Told:
        for name, value in vars(other).items():
            if name == "kinds":
                self.kinds |= other.kinds
            else:
                setattr(self, name, getattr(self, name) + value)
        return self


def play(seed: int, rules: Rules, loop: asyncio.AbstractEventLoop) -> Told:
    """Raises Violation. `loop` is any event loop; see Workers."""
    try:
        return History(seed, rules, loop).play()
    except Exception as error:
        what = " ".join(str(error).split())
        raise Violation(
            f"seed {seed}: {type(error).__name__}: {what} "
            f"(python -m tests.simulation --seed {seed} --histories 1)"
        ) from error


class History:
    def __init__(self, seed: int, rules: Rules, loop: asyncio.AbstractEventLoop) -> None:
        self._rules = rules
        self._told = Told()
        world = self._world = World(seed)
        self._storm_s = world.random.uniform(*rules.storm_s)
        self._games = scene.games(world.random)
        spreads = {game.game_id: game.spread for game in self._games}
        self._partitions = sorted({p for g, spread in spreads.items() for p in ids.partitions_of(g, spread)})
        self._stream = ModelStream(world)
        self._database = rules.database(lambda: world.now_s, self._fault)
        self._snapshots = [self._database.snapshot()]
        self._catalog = ModelCatalog(world, self._stream)
        self._workers = Workers(world, self._stream, self._database, loop, self._on_partial, rules.altered)
        self._workers.all = [
            ModelWorker(world, f"aggregate-{n}", self._partitions, self._workers) for n in (1, 2)
        ]
        self._ingests = [
            rules.ingest(world, f"ingest-{n}", self._stream, self._catalog, self._workers) for n in (1, 2)
        ]
        self._relays = [Relay(world, f"gateway-{n}", self._ingests) for n in (1, 2)]
        self._naive = {partition: NaivePartition() for partition in self._partitions}
        self._applied = 0
        self._watched: dict[tuple[str, str], TopicMerge] = {}
        self._shown: dict[tuple[str, str], TopicState] = {}
        self._published: dict[tuple[int, str, str], int] = {}
        self._topics = scene.topics(world, self._games)
        self._clients: list[Native | Browser] = []

    def play(self) -> Told:
        world = self._world
        self._catalog.open([*self._games, *self._topics])
        world.after(1.0, self._begin)
        world.after(1.0, self._strike)
        if closing := [t for t in self._topics if isinstance(t, Poll) and t.poll_id == "closing"]:
            world.after(world.random.uniform(2, self._storm_s), lambda: self._catalog.close(closing[0]))
        world.run(self._storm_s)
        world.calm = True
        while not self._is_settled():
            assert world.elapsed_s < _SETTLED_WITHIN_S, self._unsettled()
            world.run(world.elapsed_s + 0.5)
        self._check()
        return self._told

    def _begin(self) -> None:
        """The clients come once the games are defined."""
        if self._catalog.unfinished and not self._clients:
            self._world.after(0.5, self._begin)
            return
        rules, world = self._rules, self._world
        events = world.random.randint(*rules.events)
        pause_s = max(0.05, (self._storm_s - world.elapsed_s) / events)
        for name, actor in (("fan0", "fan0"), ("fan1", "fan1"), ("producer", "")):
            actors = [actor] if actor else ["fan0", *(f"crowd{n}" for n in range(5))]
            self._clients.append(
                rules.native(world, name, actor, self._ingests, events, pause_s, self._events_of(actors))
            )
        for name in ("page0", "page1"):
            self._clients.append(Browser(world, name, self._relays, events, pause_s, self._events_of([name])))

    def _events_of(self, actors: Sequence[str]) -> Callable[[], Event]:
        random = self._world.random
        return lambda: scene.event(random, random.choice(actors), [*self._topics, *self._games])

    # What breaks.

    def _fault(self) -> str:
        random = self._world.random
        if self._world.calm or random.random() > 0.03:
            return ""
        return random.choice(("before", "after", "twice"))

    def _strike(self) -> None:
        """Something breaks, and soon something else."""
        world = self._world
        if world.calm:
            return
        random = world.random
        processes = [*self._workers.all, *self._ingests, *self._relays]
        weights = [4, 4, 2, 2, 1, 1]
        match random.choices(("kill", "stop", "empty", "restore", "snapshot", "foreign"), (5, 5, 1, 2, 4, 1))[
            0
        ]:
            case "kill":
                random.choices(processes, weights)[0].kill(random.uniform(0.1, 2))
            case "stop":
                random.choices(processes, weights)[0].stop(random.uniform(0.1, 6))
            case "empty":
                self._told.emptied += 1
                self._database.empty()
            case "restore":
                self._told.restored += 1
                self._database.restore(random.choice(self._snapshots))
            case "snapshot":
                self._snapshots.append(self._database.snapshot())
            case "foreign":
                data = FOREIGN + random.randbytes(5)
                self._stream.store(random.choice(self._partitions), data, repr(data), ())
        world.after(random.expovariate(1 / 0.5), self._strike)

    # What must hold.

    def _catch_up(self) -> None:
        for message in self._stream.messages[self._applied :]:
            self._naive[message.partition].apply(message)
        self._applied = self._stream.last

    def _on_partial(self, partial: Partial) -> None:
        self._told.partials += 1
        self._told.kinds.add(partial.topic.partition("/")[0])
        self._check_partial(partial)
        key = (partial.partition, partial.game_id, partial.topic)
        self._published[key] = max(partial.sequence, self._published.get(key, 0))
        if not self._world.odds(0.1):
            self._world.soon(lambda: self._watch(partial), 0.1)

    def _check_partial(self, partial: Partial) -> None:
        self._catch_up()
        topic = self._naive[partial.partition].topics[partial.game_id, partial.topic]
        expected, found = topic.at(partial.sequence), figures_of(partial)
        assert found == expected, (
            f"partition {partial.partition} says at {partial.sequence} of {partial.game_id} {partial.topic}: "
            f"{found}, the stream says {expected}"
        )

    def _watch(self, partial: Partial) -> None:
        """As a gateway does: a state that is taken is newer in every partition."""
        key = (partial.game_id, partial.topic)
        merge = self._watched.setdefault(key, TopicMerge(partial.topic))
        if not merge.offer(partial):
            return
        before, after = self._shown.get(key, TopicState()), merge.state(self._world.now_s)
        self._shown[key] = after
        reached = {position.partition: position.sequence for position in after.cursor.positions}
        for position in before.cursor.positions:
            assert reached.get(position.partition, 0) >= position.sequence, f"{key} went back"
        spread = next(game.spread for game in self._games if game.game_id == partial.game_id)
        if before.stage == STAGE_SEALED and len(before.cursor.positions) == spread:
            assert after.tally == before.tally, f"{key} changed after its seal"

    def _is_settled(self) -> bool:
        if self._catalog.unfinished or not self._clients or not all(c.is_done for c in self._clients):
            return False
        return all(
            at_once(self._share(self._games[0].game_id, p)).applied
            >= max((m.sequence for m in self._stream.of(p)), default=0)
            for p in self._partitions
        )

    def _unsettled(self) -> str:
        waiting = [client.name for client in self._clients if not client.is_done]
        return f"not settled after {_SETTLED_WITHIN_S:g} s: {waiting or 'the workers'} still at it"

    async def _share(self, game_id: str, partition: int) -> Share:
        results = ResultStore(self._database)  # type: ignore[arg-type]
        return await results._read_share(game_id, partition)

    def _check(self) -> None:
        self._catch_up()
        for game in self._games:
            for partition in dict.fromkeys(ids.partitions_of(game.game_id, game.spread)):
                self._check_share(game.game_id, partition)
        counted = {key: at for naive in self._naive.values() for key, at in naive.counted.items()}
        stored = {identity for naive in self._naive.values() for identity in naive.stored}
        for client in self._clients:
            for sent in client.sent:
                self._check_sent(sent, counted, stored)
        told = self._told
        told.blocks = self._stream.last
        told.flushes, told.takeovers = self._workers.flushes, self._workers.takeovers
        told.resent = sum(len(message.rows) for message in self._stream.messages) - len(stored)

    def _check_share(self, game_id: str, partition: int) -> None:
        """What Redis holds is what the whole stream says."""
        partials = at_once(self._share(game_id, partition)).partials
        for (of_game, topic), naive in self._naive[partition].topics.items():
            if of_game == game_id:
                assert topic in partials, f"{game_id} {topic} of partition {partition} is not in Redis"
                self._check_partial(partials[topic])
                published = self._published.get((partition, game_id, topic), 0)
                assert partials[topic].sequence >= published, (
                    f"{game_id} {topic} of partition {partition}: a viewer has seen {published}, and who "
                    f"reads Redis is shown {partials[topic].sequence} (I5)"
                )
                last, found = naive.at(1 << 62), figures_of(partials[topic])
                assert found == last, f"{game_id} {topic}: Redis holds {found}, the stream says {last}"
                if topic == "poll/closing":
                    assert found[0] == STAGE_SEALED, f"{game_id} {topic} was not sealed"

    def _check_sent(
        self, sent: Sent, counted: dict[tuple[str, int], int], stored: set[tuple[str, int]]
    ) -> None:
        identity = (sent.origin_id, sent.origin_seq)
        match sent.fate:
            case Fate.ACKED:
                self._told.acked += 1
                assert identity in stored, f"{identity} was acked and is not stored (I1): {sent.event}"
                assert identity in counted, f"{identity} was acked and is not counted (I2): {sent.event}"
                assert counted[identity] <= max(sent.positions.values(), default=0), (
                    f"{identity} was acked at {sent.positions} and is stored at {counted[identity]} (I6)"
                )
            case Fate.REFUSED:
                self._told.refused += 1
                assert identity not in stored, (
                    f"{identity} was refused for certain and is stored: {sent.event}"
                )
            case Fate.UNCERTAIN:
                self._told.uncertain += 1
            case Fate.SENT:
                raise AssertionError(f"{identity} was never answered: {sent.event}")
        if sent.code == AlreadyDone.code:
            self._check_second(sent, counted)

    def _check_second(self, sent: Sent, counted: dict[tuple[str, int], int]) -> None:
        """Who was told that it has voted, has: by another event."""
        vote, actor = sent.event.vote, sent.event.actor_id
        identity = (sent.origin_id, sent.origin_seq)
        others = [
            (row.origin_id, row.origin_seq)
            for message in self._stream.messages
            for row in message.rows
            if (row.actor_id, row.game_id, row.topic) == (actor, sent.event.game_id, f"poll/{vote.poll_id}")
        ]
        assert any(other in counted and other != identity for other in others), (
            f"{identity} of {actor} was refused as a second vote and there is no first"
        )
