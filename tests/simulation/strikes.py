"""What breaks in a history: some kinds of all there are, each when and how the seed says."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

from grandstand.internal.v1.internal_pb2 import Block
from mesh import limits
from tests.simulation.cuts import THINGS
from tests.simulation.process import Process
from tests.simulation.stream import FOREIGN, Stored

if TYPE_CHECKING:
    from tests.simulation.history import History

_LONGEST_S = limits.SEAL_GRACE_S + 5
_CLOCK_OFF_S = 9.0


class Strikes:
    def __init__(self, history: History, kinds: Sequence[str]) -> None:
        self._history = history
        self._mesh = history.mesh
        self._world = history.world
        self._told = history.mesh.told
        self._all: Mapping[str, Callable[[], None]] = {
            "kill": self._kill,
            "stop": self._stop,
            "give up": self._give_up,
            "foreign": self._foreign,
            "empty": self._empty,
            "restore": self._restore,
            "rebuild": self._rebuild,
            "lose key": self._lose_key,
            "split": self._split,
            "cut": self._cut,
            "stale": self._stale,
            "clock": self._clock,
            "elect": self._elect,
            "tail": self._lose_tail,
            "anew": self._recreate_stream,
            "checkpoints": self._delete_checkpoints,
            "kill notify": lambda: self._any_notify().kill(self._world.random.uniform(0.1, 2)),
            "stop notify": lambda: self._any_notify().stop(self._world.random.uniform(0.1, 6)),
            "cut notify": self._cut_notify,
        }
        self._kinds = list(kinds)
        self._mean_s = 0.5
        self._world.after(1.0, self._strike)

    def _strike(self) -> None:
        """Something breaks, and soon something else."""
        if self._world.calm:
            return
        random = self._world.random
        self._mesh.redis.keep()
        kind = random.choices(self._kinds, [_WEIGHTS.get(kind, 1) for kind in self._kinds])[0]
        self._history.trace.append(f"{self._world.elapsed_s:.2f} {kind}")
        self._all[kind]()
        self._world.after(random.expovariate(1 / self._mean_s), self._strike)

    def _kill(self) -> None:
        self._told.kills += 1
        self._any().kill(self._world.random.uniform(0.1, 2))

    def _stop(self) -> None:
        self._told.stops += 1
        self._any().stop(self._world.random.uniform(0.1, 6))

    def _any(self):  # type: ignore[no-untyped-def]
        history, random = self._history, self._world.random
        return random.choice(
            random.choices((history.workers, history.ingests, history.relays, history.writers), (4, 2, 1, 1))[
                0
            ]
        )

    def _any_notify(self) -> Process:
        notices = self._history.notices
        assert notices is not None
        return self._world.random.choice(notices.notifiers)

    def _cut_notify(self) -> None:
        name, random = self._any_notify().name, self._world.random
        self._mesh.cuts.cut(name, random.choice(THINGS), random.uniform(0.2, 6))

    def _give_up(self) -> None:
        self._world.random.choice(self._history.workers).give_up()

    def _foreign(self) -> None:
        data = FOREIGN + self._world.random.randbytes(5)
        self._mesh.stream.store(self._world.random.choice(self._history.partitions), data, repr(data))

    def _empty(self) -> None:
        self._told.emptied += 1
        self._told.rebuilds_of_ending += len(self._history.ending)
        self._mesh.redis.empty()

    def _restore(self) -> None:
        self._told.restored += 1
        self._mesh.redis.restore()

    def _rebuild(self) -> None:
        """The operator has a partition folded again."""
        self._told.rebuilds += 1
        history = self._history
        partition = self._world.random.choice(history.partitions)
        self._told.rebuilds_of_ending += partition in history.ending
        history.operator.erase(partition)

    def _lose_key(self) -> None:
        self._told.keys_lost += self._mesh.redis.lose_key()

    def _split(self) -> None:
        self._told.splits += self._mesh.redis.split(self._world.random.uniform(0.5, 4))

    def _cut(self) -> None:
        """One process from one thing, or an ingest from NATS alone."""
        self._told.cuts += 1
        random, history = self._world.random, self._history
        for_s = random.choice((random.uniform(0.2, 3), random.uniform(3, _LONGEST_S)))
        process = random.choice((*history.ingests, *history.workers, *history.writers))
        things = THINGS[:2] if random.random() < 0.3 else [random.choice(THINGS)]
        for thing in things:
            self._mesh.cuts.cut(process.name, thing, for_s)

    def _stale(self) -> None:
        """A poll is closed, and somebody who has to do with it does not hear of it in time."""
        random, history = self._world.random, self._history
        if not history.close_one():
            return
        for_s = random.uniform(limits.SEAL_GRACE_S + 1.5, _LONGEST_S)
        others = (*history.writers, *history.workers)
        process = random.choice(history.ingests if random.random() < 0.75 else others)
        if random.random() < 0.7:
            self._told.stops += 1
            process.stop(for_s)
        else:
            self._told.cuts += 1
            self._mesh.cuts.cut(process.name, "bucket", for_s)

    def _clock(self) -> None:
        """A wall clock is set, or stands still: of a process, or of a NATS server."""
        random, history = self._world.random, self._history
        clocks = [process.clock for process in (*history.ingests, *history.workers, *history.writers)]
        clock = random.choice(random.choice((clocks, self._mesh.nats.clocks)))
        if random.random() < 0.7:
            self._told.clock_jumps += 1
            clock.set(random.uniform(-_CLOCK_OFF_S, _CLOCK_OFF_S))
        else:
            self._told.clock_stops += 1
            clock.stand(random.uniform(0.5, 6))

    def _elect(self) -> None:
        self._told.elections += 1
        self._mesh.nats.elect()

    def _lose_tail(self) -> None:
        """Only what came after the last definition, marker or purge: what those cost to lose nobody
        promises."""
        stream = self._mesh.stream
        after = self._world.random.randint(max(self._history.kept_at, stream.first - 1), stream.last)
        if after < stream.last:
            self._told.tails_lost += 1
            stream.lose_tail(after)
            self._break_pulls()

    def _recreate_stream(self) -> None:
        """The operator puts the definitions back, and nothing else."""
        stream = self._mesh.stream
        definitions = [message for message in self._history.line if defines(message)]
        self._told.streams_anew += 1
        stream.recreate()
        self._break_pulls()
        for n, message in enumerate(definitions):
            stream.store(message.partition, message.data, f"put back {stream.lives} {n}")

    def _break_pulls(self) -> None:
        """Whose server was restarted has lost its consumers' pulls as well."""
        for pulls in self._mesh.pulls.values():
            for pull in pulls:
                pull.broke("the server was restarted")

    def _delete_checkpoints(self) -> None:
        """The operator puts them back later."""
        deleted = self._mesh.objects.delete()
        if deleted:
            self._told.checkpoints_deleted += 1
            self._world.after(self._world.random.uniform(0.5, 8), lambda: self._mesh.objects.add(deleted))


_WEIGHTS: Mapping[str, float] = {
    "kill": 4,
    "stop": 4,
    "restore": 2,
    "stale": 3,
    "cut": 2,
    "clock": 2,
    "tail": 0.7,
    "anew": 0.2,
    "empty": 0.7,
    "kill notify": 4,
    "stop notify": 4,
}
KINDS = (
    "empty",
    "restore",
    "rebuild",
    "lose key",
    "split",
    "cut",
    "clock",
    "elect",
    "tail",
    "anew",
    "checkpoints",
)
NOTIFYING = ("kill notify", "stop notify", "cut notify")
"""Of histories with notices."""
ALWAYS = ("kill", "stop", "give up", "foreign")


def defines(message: Stored) -> bool:
    """Whether it opens or defines something."""
    if message.rows or message.is_foreign or not message.is_block:
        return False
    control = Block.FromString(message.data).control
    if control.HasField("void_votes") or control.HasField("remove_score"):
        return False
    return not (control.poll.stage > 1 or control.board.stage > 1)
