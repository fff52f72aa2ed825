"""The catalog: opens what a history plays with, closes a poll and seals it, and tells every ingest.

Controls go into the stream of each partition of the game before an ingest may admit events (I4).
An ingest may learn of a change as late as 2 * CATALOG_REFRESH_S after it was made.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from grandstand.catalog.v1.catalog_pb2 import (
    STAGE_CLOSED,
    STAGE_SEALED,
    Board,
    Game,
    Poll,
)
from grandstand.internal.v1.internal_pb2 import Block, Control
from mesh import ids, limits
from mesh.errors import Unknown
from tests.simulation.stream import ModelStream
from tests.simulation.world import World

_AGAIN_S = 1.0


class View:
    """What one ingest knows of the catalog; implements ingest.check.Catalog."""

    def __init__(self) -> None:
        self.games: dict[str, Game] = {}
        self.polls: dict[tuple[str, str], Poll] = {}
        self.boards: dict[tuple[str, str], Board] = {}
        self.changes = 0

    def game(self, game_id: str) -> Game:
        return _known(self.games, game_id)

    def poll(self, game_id: str, poll_id: str) -> Poll:
        return _known(self.polls, (game_id, poll_id))

    def board(self, game_id: str, board_id: str) -> Board:
        return _known(self.boards, (game_id, board_id))

    def put(self, definition: Game | Poll | Board) -> None:
        self.changes += 1
        if isinstance(definition, Game):
            self.games[definition.game_id] = definition
        elif isinstance(definition, Poll):
            self.polls[definition.game_id, definition.poll_id] = definition
        else:
            self.boards[definition.game_id, definition.board_id] = definition


def _known(definitions, key):  # type: ignore[no-untyped-def]
    if key not in definitions:
        raise Unknown(f"{key} is not known here")
    return definitions[key]


class ModelCatalog:
    def __init__(self, world: World, stream: ModelStream) -> None:
        self._world = world
        self._stream = stream
        self._views: list[View] = []
        self._spreads: dict[str, int] = {}
        self.unfinished = 0
        """Controls on their way."""

    def view(self) -> View:
        """Of one ingest; kept up to date from now on."""
        view = View()
        self._views.append(view)
        return view

    def open(self, definitions: Iterable[Game | Poll | Board]) -> None:
        """A game comes before what is opened in it."""
        for definition in definitions:
            if isinstance(definition, Game):
                self._spreads[definition.game_id] = definition.spread
            self._say(definition, lambda told=definition: self._tell(told, 0.05))

    def close(self, poll: Poll) -> None:
        """Ahead of its moment; then CLOSED, and SEALED after the grace."""
        closes_at_s = self._world.now_s + limits.CLOSE_LEAD_S
        closing = Poll()
        closing.CopyFrom(poll)
        closing.closes_at.FromNanoseconds(int(closes_at_s * 1e9))
        self._tell(closing, 2 * limits.CATALOG_REFRESH_S)
        self._step(closing, STAGE_CLOSED, limits.CLOSE_LEAD_S)
        self._step(closing, STAGE_SEALED, limits.CLOSE_LEAD_S + limits.SEAL_GRACE_S)

    def _step(self, poll: Poll, stage: int, after_s: float) -> None:
        stepped = Poll()
        stepped.CopyFrom(poll)
        stepped.stage = stage
        self.unfinished += 1

        def due() -> None:
            self.unfinished -= 1
            self._say(stepped, lambda: self._tell(stepped, 0.05))

        self._world.after(after_s, due)

    def _say(self, definition: Game | Poll | Board, then: Callable[[], None]) -> None:
        """Stores a control in every partition of the game, again and again until all are acked."""
        field = type(definition).__name__.lower()
        missing = set(ids.partitions_of(definition.game_id, self._spreads[definition.game_id]))
        self.unfinished += 1

        def acked(partition: int) -> None:
            if partition in missing:
                missing.discard(partition)
                if not missing:
                    self.unfinished -= 1
                    then()

        def attempt() -> None:
            for partition in sorted(missing):
                block = Block(control=Control(**{field: definition}))
                block.stamped_at.FromNanoseconds(int(self._world.now_s * 1e9))
                self._stream.publish(
                    partition,
                    block.SerializeToString(),
                    f"control-{self._world.random.random()}",
                    (),
                    lambda _, stored=partition: acked(stored),
                )
            if missing:
                self._world.after(_AGAIN_S, lambda: missing and attempt())

        attempt()

    def _tell(self, definition: Game | Poll | Board, within_s: float) -> None:
        for view in self._views:
            self._world.after(self._world.random.uniform(0, within_s), lambda told=view: told.put(definition))
