"""Plays the history of one seed, and checks the invariants along the way and at its end.

Along the way: every partial that a worker publishes, and every share that is read, is exactly the naive
count of its partition's stream up to its sequence (I2, I4), whoever published it and whatever died
before; what a viewer is shown never goes back (I5). At the end, when nothing breaks any more and
everything is settled, see tests.simulation.checks.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from random import Random

from grandstand.catalog.v1.catalog_pb2 import Board, Game, Poll
from grandstand.event.v1.event_pb2 import Event, Position
from grandstand.internal.v1.internal_pb2 import Block, Partial, PartitionResults
from grandstand.wire import ids
from grandstand.wire.errors import GrandstandError
from tests.simulation import checks, notices, scene
from tests.simulation.clients import Browser, Fate, Native, Relay
from tests.simulation.database import ModelDatabase
from tests.simulation.ingests import ModelIngest
from tests.simulation.mesh import Mesh
from tests.simulation.naive import figures_of
from tests.simulation.oracle import Identity, NaivePartition
from tests.simulation.process import Process
from tests.simulation.readers import Gateway
from tests.simulation.redis import ModelRedis
from tests.simulation.stream import Stored
from tests.simulation.strikes import ALWAYS, KINDS, NOTIFYING, Strikes, defines
from tests.simulation.told import Told
from tests.simulation.virtual import shells_in
from tests.simulation.workers import ModelWorker, Operator
from tests.simulation.world import World
from tests.simulation.writers import Host, ModelWriter

_SETTLED_WITHIN_S = 200.0
_NOTICED_WITHIN_S = 8.0
"""How long a worker may go on with blocks that the stream has lost."""


class Violation(AssertionError):
    """An invariant does not hold; the text begins with the seed, which plays the same history again."""


@dataclass(frozen=True)
class Rules:
    """What a history is made of. Tests break a part of it on purpose, to prove that it would be seen."""

    database: type[ModelDatabase] = ModelDatabase
    ingest: type[ModelIngest] = ModelIngest
    worker: type[ModelWorker] = ModelWorker
    native: type[Native] = Native
    patches: Sequence[tuple[object, str, object]] = ()
    """What of the real code is another: of what, its name, and what it is instead."""
    events: tuple[int, int] = (3, 9)
    """Of each client: at least, at most."""
    storm_s: tuple[float, float] = (4.0, 9.0)
    """How long things break: at least, at most."""
    long_storm_s: tuple[float, float] = (13.0, 20.0)
    """Of a history with closings or seasons."""
    kinds: Sequence[str] = ()
    """Of strikes, which this history has all of; none: the seed chooses."""
    stream_bytes_max: tuple[int, int] | None = None
    """How much the event stream may hold: at least, at most; None: the seed chooses."""
    slow: float = 0.3
    """The share of histories with closings and seasons."""
    races: float = 0.4
    """The share with a race to define a game, and that with one to change a spread."""
    lives: float = 0.6
    """The share of slow histories in which a game ends and its id returns."""
    corrections: float = 0.5
    """The share in which votes are voided and scores are removed."""
    notices: float = 0.2
    """The share with rules, and with notices that are sent."""


def play(seed: int, rules: Rules) -> Told:
    """Raises Violation."""
    try:
        return History(seed, rules).play()
    except Exception as error:
        what = " ".join(str(error).split())
        raise Violation(
            f"seed {seed}: {type(error).__name__}: {what} "
            f"(python -m tests.simulation --seed {seed} --histories 1)"
        ) from error


class History:
    def __init__(self, seed: int, rules: Rules) -> None:
        self._rules = rules
        world = self.world = World(seed)
        random = world.random
        self.is_slow = random.random() < rules.slow
        self.storm_s = random.uniform(*(rules.long_storm_s if self.is_slow else rules.storm_s))
        self._kinds = [*ALWAYS, *(rules.kinds or random.sample(KINDS, random.randint(0, 4)))]
        small = rules.stream_bytes_max or random.choice(((1 << 40,) * 2, (1 << 40,) * 2, (5_000, 12_000)))
        apart_s = random.choice((0.2, 0.2, 9.0))
        if small[0] < 1 << 40 and not rules.kinds:
            # Then there are checkpoints, and they are to be needed.
            self._kinds += random.sample(("empty", "rebuild", "restore", "checkpoints"), 2)
        self.mesh = Mesh(world, apart_s, random.randint(*small))
        self.mesh.redis = ModelRedis(world, self.mesh.cuts, rules.database)
        self._is_small = small[0] < 1 << 40
        self._hand = Random(f"{seed} corrections")
        """Of its own, so that histories without corrections are what they were before there were any."""
        self._corrects = self._hand.random() < rules.corrections
        self.corrected: list[Position] = []
        """Where the voids and removals took effect that were answered."""
        self._life = Random(f"{seed} life")
        """Of its own, as `_hand` is."""
        tell = Random(f"{seed} notices")
        """Of its own, too."""
        self.notices = notices.Play(self, tell) if tell.random() < rules.notices else None
        self.generations: dict[str, int] = {}
        """Of the games that were defined."""
        self._lives = self.is_slow and self._life.random() < rules.lives
        self._brief = scene.brief(self._life)
        self.ending: Sequence[int] = ()
        """The partitions of a game that has ended, until its id returns."""
        self._changes_spread = random.random() < rules.races
        self._games = scene.games(random)[: 3 if self._changes_spread else 2]
        spreads = {game.game_id: 2 if game.title != "calm" else 1 for game in self._games}
        if self._lives:
            spreads[self._brief.game_id] = self._brief.spread
        if self.notices is not None:
            for game in (*self._games[:2], self._brief):
                notices.with_rules(game)
            # What an event log that lost what was folded costs rules, nobody promises.
            self._kinds = [*(kind for kind in self._kinds if kind not in ("tail", "anew")), *NOTIFYING]
        self.partitions = sorted({p for g, s in spreads.items() for p in ids.partitions_of(g, s)})
        self.spreads: dict[str, int] = {}
        """Of the games that were defined."""
        self.naive: dict[int, NaivePartition] = {}
        self.line: list[Stored] = []
        """All blocks of the stream, those that were purged as well."""
        self.kept_at = 0
        """Up to here the stream loses nothing in a power cut."""
        self.forgiven: set[Identity] = set()
        """Events of which a stored copy was lost in a power cut."""
        self._lost_at_s = -1e9
        self._counted_to = 0
        self.published: dict[tuple[int, str, str], int] = {}
        self.topics: list[Poll | Board] = []
        """Those that are open."""
        self._choices: list[Poll | Board | Game] = []
        self._wanted: list[Poll | Board | Game] = []
        """What most want to have a word on now."""
        self._to_close: list[Poll | Board] = []
        self.closed: list[Poll | Board] = []
        self.clients: list[Native | Browser] = []
        self.trace: list[str] = []
        """What broke, and when."""

    def _build(self) -> None:
        rules, mesh = self._rules, self.mesh
        mesh.stream.on_stored, mesh.stream.on_lost = self._on_stored, self._on_lost
        mesh.on_results = self._on_results
        self.writers = [ModelWriter(mesh, f"aggregate-{n}") for n in (1, 2)]
        self.workers = [
            rules.worker(mesh, f"aggregate-{n}", self.partitions, retains=self._is_small) for n in (1, 2)
        ]
        self.ingests = [rules.ingest(mesh, f"ingest-{n}") for n in (1, 2)]
        self.relays = [Relay(self.world, f"gateway-{n}", self.ingests) for n in (1, 2)]
        self._host = Host(mesh, self.writers)
        self._gateway = Gateway(mesh, self)
        self.operator = Operator(mesh)
        if self.notices is not None:
            self.notices.begin()

    def play(self) -> Told:
        world = self.world
        with shells_in(world, [*notices.PATCHES, *self._rules.patches]):
            try:
                self._build()
                self._define()
                world.after(1.0, self._begin)
                world.after(0.5 * self.storm_s, self._close_all)
                Strikes(self, [*self._kinds, *(["stale"] if self.is_slow else [])])
                world.run(self.storm_s)
                world.calm = True
                self._restart()
                if self.notices is not None:
                    self.notices.calm_since_s = world.now_s
                while not self._is_settled():
                    assert world.elapsed_s < _SETTLED_WITHIN_S, self._unsettled()
                    world.run(world.elapsed_s + 0.5)
                checks.check(self)
                if self.notices is not None:
                    self.notices.check()
            finally:
                self._abandon()
        return self.mesh.told

    def _restart(self) -> None:
        """Who folds notices a lost key when it writes there, or when it loads: an idle partition by its next
        owner alone."""
        if self.mesh.told.keys_lost:
            for worker in self.workers:
                worker.kill(0.1)

    def _abandon(self) -> None:
        for process in (
            *self.writers,
            *self.workers,
            *self.ingests,
            self._host,
            self._gateway,
            self.operator,
            *(self.notices.processes if self.notices is not None else ()),
        ):
            process.loop.abandon()

    # What the host does.

    def _define(self) -> None:
        random, told = self.world.random, self.mesh.told
        topics = scene.topics(
            random, self._games, closings=random.randint(1, 3) if self.is_slow else 0, seasons=self.is_slow
        )
        for game in self._games:
            of_game = [topic for topic in topics if topic.game_id == game.game_id]
            self._host.ask(
                lambda writer, game=game: writer.define_game(game),
                lambda answer, of_game=of_game: self._defined(answer, of_game),
            )
        if self._lives:
            self._define_brief()
        if random.random() < self._rules.races:
            told.define_races += 1
            self.world.after(random.uniform(1.5, 3), self._race)
        if self._changes_spread:
            told.spread_changes += 1
            self.world.after(random.uniform(1.5, 3), self._spread)

    def _define_brief(self, ended: int = 0) -> None:
        """`ended`: the generation of the one before."""
        game = self._brief

        def defined(answer: object) -> None:
            found, _ = answer  # type: ignore[misc]
            if found.generation <= ended:  # by a writer who had not heard of its end
                self.world.after(0.5, lambda: self._define_brief(ended))
                return
            self.mesh.told.returns += bool(ended)
            self.ending = ()
            self._defined(answer, scene.topics_of_brief(game))
            for _ in range(4):
                self.world.after(self._life.uniform(0.2, 3), self._hurry_brief)
            if not ended:
                self.world.after(self._life.uniform(0.5, 3), self._end_brief)

        self._host.ask(lambda writer: writer.define_game(game), defined, insists=True)

    def _hurry_brief(self) -> None:
        of_brief = [choice for choice in self._choices if choice.game_id == self._brief.game_id]
        if of_brief:
            self._hurry(of_brief)

    def _end_brief(self) -> None:
        def ended(answer: object) -> None:
            self.mesh.told.ends += 1
            self.ending = ids.partitions_of(self._brief.game_id, answer.spread)  # type: ignore[attr-defined]
            owned = {p for each in self.workers for p, worker in each.workers.items() if worker.owns}
            self.mesh.told.ends_in_takeovers += not owned.issuperset(self.ending)
            self._define_brief(answer.generation)  # type: ignore[attr-defined]

        for _ in range(6):
            self.world.after(self._life.uniform(0, 12), self._hurry_brief)
        self._host.ask(lambda writer: writer.lives.end_game(self._brief.game_id), ended, insists=True)

    def lives_twice(self, game_id: str) -> bool:
        """Whether the game is one whose id returns."""
        return self._lives and game_id == self._brief.game_id

    def _defined(self, answer: object, topics: Sequence[Poll | Board]) -> None:
        if isinstance(answer, GrandstandError):
            return
        game, _ = answer  # type: ignore[misc]
        self.spreads[game.game_id] = game.spread
        self.generations[game.game_id] = game.generation
        if self.notices is not None and game.rules and not self.lives_twice(game.game_id):
            self.notices.games = sorted({*self.notices.games, game.game_id})
        if game.pulses or game.customs:
            self._choices = [c for c in self._choices if not _is(c, game.game_id)]
            self._choices.append(game)
        for topic in topics:
            self._open(topic)

    def _open(self, topic: Poll | Board) -> None:
        if isinstance(topic, Poll):
            self._host.ask(lambda writer: writer.open_poll(topic), self._opened, insists=True)
        else:
            self._host.ask(lambda writer: writer.open_board(topic), self._opened, insists=True)

    def _opened(self, answer: object) -> None:
        if isinstance(answer, GrandstandError):
            return
        topic, _ = answer  # type: ignore[misc]
        self.topics.append(topic)
        if not any(scene.is_same(topic, choice) for choice in self._choices):
            self._choices.append(topic)
        self.spreads[topic.game_id] = topic.spread
        if scene.name_of(topic).startswith("closing"):
            self._to_close.append(topic)
        if self._corrects:
            for _ in range(self._hand.randint(1, 4)):
                self.world.after(self._hand.uniform(0.5, self.storm_s), lambda: self._correct(topic))
        if scene.name_of(topic) == "first":
            for after_s in (0.0, 0.1, 0.5):
                self.world.after(after_s, lambda: self._hurry([topic]))

    def _race(self) -> None:
        """Two want the same custom topic, configured in two ways."""
        game = self._games[1]
        for config in ("red", "blue"):
            self._host.ask(
                lambda writer, config=config: writer.define_game(scene.with_custom(game, config)),
                lambda answer: self._defined(answer, ()),
            )

    def _spread(self) -> None:
        """The spread changes while the first topic is opened."""
        game = self._games[2]
        for spread in self.world.random.sample((1, 2, 2), 3):
            self._host.ask(lambda writer, s=spread: writer.define_game(scene.spread_over(game, s)))
        self._open(scene.first_poll(game))

    def _correct(self, topic: Poll | Board) -> None:
        """The owner takes back what somebody did."""
        if self.world.calm:
            return
        actor = self._hand.choice(("fan0", "fan0", "fan1", "guest0", *(f"crowd{n}" for n in range(4))))
        if isinstance(topic, Poll):
            self._host.ask(
                lambda writer: writer.void_votes(topic.game_id, topic.poll_id, actor), self._voided
            )
        else:
            season = 1 if topic.HasField("season") and self._hand.random() < 0.5 else 0
            self._host.ask(
                lambda writer: writer.remove_score(topic.game_id, topic.board_id, actor, season),
                self._removed,
            )

    def _voided(self, answer: object) -> None:
        if isinstance(answer, GrandstandError):
            self.mesh.told.corrections_refused += 1
            return
        self.mesh.told.voids += 1
        self.corrected.append(answer[1])  # type: ignore[index]

    def _removed(self, answer: object) -> None:
        if isinstance(answer, GrandstandError):
            self.mesh.told.corrections_refused += 1
            return
        self.mesh.told.removals += 1
        self.corrected.append(answer[1])  # type: ignore[index]

    def close_one(self) -> bool:
        """One of those that are to be closed by hand, if there is one left."""
        if not self._to_close:
            return False
        self.mesh.told.closings += 1
        topic = self._to_close.pop(self.world.random.randrange(len(self._to_close)))
        self.closed.append(topic)
        if isinstance(topic, Poll):
            self._host.ask(lambda writer: writer.close_poll(topic.game_id, topic.poll_id), insists=True)
        else:
            self._host.ask(lambda writer: writer.close_board(topic.game_id, topic.board_id), insists=True)
        for _ in range(6):
            self.world.after(self.world.random.uniform(0, 12), lambda: self._hurry([topic]))
        if self._corrects:
            for _ in range(3):
                self.world.after(self._hand.uniform(0, 12), lambda: self._correct(topic))
        return True

    def _hurry(self, choices: list[Poll | Board | Game]) -> None:
        """Everybody wants a word on these, and soon."""
        if self.world.calm:
            return
        self._wanted = choices
        for client in self.clients:
            if self.world.random.random() < 0.5:
                client.hurry()

    def _close_all(self) -> None:
        while self.close_one():
            pass

    # What clients do.

    def _begin(self) -> None:
        """They come once something is open."""
        if not self._choices or (len(self.topics) < 3 and not self.world.calm):
            self.world.after(0.3, self._begin)
            return
        rules, world = self._rules, self.world
        events = world.random.randint(*rules.events)
        pause_s = max(0.05, (self.storm_s - world.elapsed_s) / events)
        for name, actor in (("fan0", "fan0"), ("device0", "fan0"), ("fan1", "fan1"), ("producer", "")):
            actors = [actor] if actor else ["fan0", *(f"crowd{n}" for n in range(4))]
            self.clients.append(
                rules.native(
                    *(world, name, actor, self.ingests, events, pause_s),
                    self._events_of(actors, is_producer=not actor),
                )
            )
        for name, actor in (("guest0", "guest0"), ("page1", "fan1")):
            # The gateway speaks for them, of their presence too.
            events_of = self._events_of([actor], is_producer=True, guest=actor == name)
            self.clients.append(Browser(world, name, self.relays, events, pause_s, events_of))

    def _events_of(
        self, actors: Sequence[str], *, is_producer: bool, guest: bool = False
    ) -> Callable[[], Event]:
        random = self.world.random

        def next_event() -> Event:
            wanted = self._wanted if self._wanted and random.random() < 0.4 else self._choices
            event = scene.event(random, random.choice(actors), wanted, is_producer=is_producer)
            event.guest = guest
            return event

        return next_event

    def positions(self, game_id: str) -> list[tuple[int, int]]:
        """Of some acked event."""
        random: Random = self.world.random
        acked = [s for client in self.clients for s in client.sent if s.fate is Fate.ACKED]
        if not acked:
            return []
        sent = random.choice(acked)
        if (sent.origin_id, sent.origin_seq) in self.forgiven or sent.losses != self.world.losses:
            return []
        return sorted(sent.positions.items())

    # The stream, as the oracle hears of it.

    def _on_stored(self, stored: Stored) -> None:
        if not stored.is_block:
            self.kept_at = stored.sequence
            return
        self.line.append(stored)
        if defines(stored):
            self.kept_at = stored.sequence
            forgets = Block.FromString(stored.data).control.forget_game
            self.mesh.forgotten |= {forgets.game_id} - {""}
        for pull in self.mesh.pulls.get(stored.partition, ()):
            pull.arrived()

    def _on_lost(self) -> None:
        """What was acked of it is forgiven, and nothing else; what was shown may go back once."""
        stream = self.mesh.stream
        gone = [message for message in self.line if not stream.first <= message.sequence <= stream.last]
        self.line = [message for message in self.line if stream.first <= message.sequence <= stream.last]
        self.kept_at = min(max(self.kept_at, stream.first - 1), stream.last)
        self.forgiven.update((row.origin_id, row.origin_seq) for m in gone for row in m.rows)
        self.naive, self._counted_to = {}, 0
        self._lost_at_s = self.world.now_s
        self._gateway.forget()
        self.published.clear()

    @property
    def is_one_line(self) -> bool:
        """Whether every worker must know by now what the stream has lost."""
        return self.world.now_s - self._lost_at_s > _NOTICED_WITHIN_S

    def catch_up(self) -> None:
        if not self.naive:
            self.naive = {partition: NaivePartition() for partition in self.partitions}
        for message in self.line[self._counted_to :]:
            self.naive[message.partition].apply(message)
        self._counted_to = len(self.line)

    # What must hold.

    def _on_results(self, process: Process, results: PartitionResults) -> None:
        for game in results.games:
            for encoded in game.partials:
                self._on_partial(Partial.FromString(encoded))
        if self.is_one_line:
            self._gateway.hear(results)

    def _on_partial(self, partial: Partial) -> None:
        told = self.mesh.told
        told.partials += 1
        told.kinds.add(partial.topic.partition("/")[0])
        if not self.is_one_line:
            return
        self.catch_up()
        self.check_partial(partial, partial.sequence)
        key = (partial.partition, partial.game_id, partial.topic)
        self.published[key] = max(partial.sequence, self.published.get(key, 0))

    def check_partial(self, partial: Partial, sequence: int) -> None:
        """It is the count of all up to that sequence."""
        topic = self.naive[partial.partition].topics.get((partial.game_id, partial.topic))
        expected, found = topic.at(sequence) if topic else None, figures_of(partial)
        assert found == expected, (
            f"partition {partial.partition} says at {sequence} of {partial.game_id} {partial.topic}: "
            f"{found}, the stream says {expected}"
        )

    def _is_settled(self) -> bool:
        if (
            not self.is_one_line
            or self._host.unfinished
            or not self.clients
            or not all(c.is_done for c in self.clients)
        ):
            return False
        bucket = self.mesh.bucket
        for topic in self.closed:
            if not checks.is_sealed(bucket, topic):
                return False
        if self.notices is not None and not self.notices.is_settled():
            return False
        return all(
            checks.applied(self, p) >= max((m.sequence for m in self.line if m.partition == p), default=0)
            for p in self.partitions
        )

    def _unsettled(self) -> str:
        waiting: list[str] = [client.name for client in self.clients if not client.is_done]
        waiting += [
            scene.name_of(topic) for topic in self.closed if not checks.is_sealed(self.mesh.bucket, topic)
        ]
        waiting += ["the host"] * bool(self._host.unfinished)
        waiting += self.notices.unsettled() if self.notices is not None else []
        behind = {p: checks.applied(self, p) for p in self.partitions}
        return f"not settled after {_SETTLED_WITHIN_S:g} s: {waiting}, applied {behind}"


def _is(choice: Poll | Board | Game, game_id: str) -> bool:
    return isinstance(choice, Game) and choice.game_id == game_id


__all__ = ["History", "Rules", "Told", "Violation", "play"]
