"""The catalog's writer: defines games, opens, closes and seals polls and boards.

A definition lives in the key-value bucket, for admission, and as control blocks in the
event stream, for the folds (I4). The order of the two is what makes a stage safe:

- opening: entry without a stage, control OPEN in every partition, entry OPEN. An ingest
  admits events only for an OPEN entry, so the control always precedes them in the stream.
- closing: entry with `closes_at` a moment ahead, so that every ingest knows it in time (I9);
  at that moment control CLOSED, entry CLOSED; after the grace control SEALED, entry SEALED.

Entries are written by compare-and-set and controls fold idempotently, so any number of
instances may run the same steps, and a crash between two is made good by whoever does the
next: a repeated OpenPoll, or `Closer` after a restart.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Callable
from typing import TypeVar

from nats.errors import Error as NatsError
from nats.js.errors import APIError, KeyWrongLastSequenceError

from aggregate import definitions
from aggregate.closing import Step, next_step
from grandstand.catalog.v1.catalog_pb2 import (
    STAGE_CLOSED,
    STAGE_OPEN,
    STAGE_SEALED,
    STAGE_UNSPECIFIED,
    Board,
    Game,
    Poll,
)
from grandstand.event.v1.event_pb2 import Position
from grandstand.internal.v1.internal_pb2 import Block, Control
from mesh import ids, limits, subjects, telemetry
from mesh.catalog import CatalogWatch
from mesh.errors import AlreadyDone, Exhausted, GrandstandError, NotNow, TooLate, Unavailable
from mesh.pipeline import PublishPipeline
from mesh.store import RedisError, ResultStore

log = logging.getLogger(__name__)

Topic = TypeVar("Topic", Poll, Board)

_ATTEMPTS_MAX = 5
_IDLE_S = 1.0
_FOLDED_S = 2.0


class CatalogWriter:
    def __init__(self, watch: CatalogWatch, pipeline: PublishPipeline, results: ResultStore) -> None:
        self._watch = watch
        self._pipeline = pipeline
        self._results = results

    async def define_game(self, wanted: Game) -> Game:
        """Raises Invalid, NotNow (the spread of a game with topics), Exhausted, Unavailable."""
        game = definitions.check_game(wanted)
        key = subjects.game_key(game.game_id)
        view = self._watch.view
        for _ in range(_ATTEMPTS_MAX):
            await self._watch.refresh(key)
            if key not in view:
                if len(view.games()) >= limits.GAMES_MAX:
                    raise Exhausted(f"the catalog holds {limits.GAMES_MAX} games, the most it may")
            else:
                known = view.game(game.game_id)
                topics: list[Poll | Board] = [*view.polls(), *view.boards()]
                has_topics = any(topic.game_id == game.game_id for topic in topics)
                if known.spread != game.spread and (has_topics or known.pulses):
                    raise NotNow(
                        f"game.spread: is {known.spread} and cannot become {game.spread} while game "
                        f"{game.game_id!r} has topics"
                    )
            if await self._put(key, game):
                return game
        raise Unavailable(f"game {game.game_id!r} is being changed by others; try again")

    async def open_poll(self, wanted: Poll) -> Poll:
        """Raises Invalid, Unknown (the game), AlreadyDone, Unavailable."""
        return await self._open(definitions.check_poll(wanted))

    async def open_board(self, wanted: Board) -> Board:
        """As `open_poll`."""
        return await self._open(definitions.check_board(wanted))

    async def _open(self, checked: Topic) -> Topic:
        key = _key(checked)
        await self._watch.refresh(subjects.game_key(checked.game_id))
        game = self._watch.view.game(checked.game_id)
        for _ in range(_ATTEMPTS_MAX):
            await self._watch.refresh(key)
            known = self._find(key, checked)
            if known is not None and not definitions.same_definition(known, checked):
                raise AlreadyDone(f"{_name(checked)} exists with another definition; choose another id")
            if known is not None and known.stage != STAGE_UNSPECIFIED:
                return known
            if known is None and not await self._put(key, checked):
                continue
            opened = _copy(checked)
            opened.stage = STAGE_OPEN
            now_ns = time.time_ns()
            opened.opened_at.FromNanoseconds(now_ns)
            if checked.HasField("open_for"):
                opened.closes_at.FromNanoseconds(now_ns + checked.open_for.ToNanoseconds())
            await self._until_folded(game, await self._control(game, opened))
            if await self._put(key, opened):
                return opened
        raise Unavailable(f"{_name(checked)} is being opened by others; try again")

    async def close_poll(self, game_id: str, poll_id: str) -> Poll:
        """Sets the moment of closing. Raises Invalid, Unknown, NotNow, Unavailable."""
        ids.check_id("game_id", game_id)
        ids.check_id("poll_id", poll_id)
        view = self._watch.view
        return await self._close(subjects.poll_key(game_id, poll_id), lambda: view.poll(game_id, poll_id))

    async def close_board(self, game_id: str, board_id: str) -> Board:
        """As `close_poll`."""
        ids.check_id("game_id", game_id)
        ids.check_id("board_id", board_id)
        view = self._watch.view
        return await self._close(subjects.board_key(game_id, board_id), lambda: view.board(game_id, board_id))

    async def _close(self, key: str, known_now: Callable[[], Topic]) -> Topic:
        for _ in range(_ATTEMPTS_MAX):
            await self._watch.refresh(key)
            known = known_now()
            if known.stage == STAGE_UNSPECIFIED:
                raise NotNow(f"{_name(known)} is not open yet")
            closes_at_ns = time.time_ns() + int(limits.CLOSE_LEAD_S * 1e9)
            sooner = known.HasField("closes_at") and known.closes_at.ToNanoseconds() <= closes_at_ns
            if known.stage != STAGE_OPEN or sooner:
                return known
            closing = _copy(known)
            closing.closes_at.FromNanoseconds(closes_at_ns)
            if await self._put(key, closing):
                return closing
        raise Unavailable(f"{key} is being changed by others; try again")

    async def advance(self, step: Step) -> None:
        """Takes one due step of closing. Raises Unavailable; may be repeated."""
        found = step.definition
        definition = _copy(found) if isinstance(found, Poll) else _copy(found)
        definition.stage = step.stage
        await self._control(self._watch.view.game(definition.game_id), definition)
        await self._put(_key(definition), definition)

    def _find(self, key: str, like: Topic) -> Topic | None:
        found = self._watch.view.get(key)
        return found if isinstance(found, type(like)) else None

    async def _put(self, key: str, definition: Game | Poll | Board) -> bool:
        """Compare-and-set against the revision we know; False if somebody was faster."""
        revision = self._watch.view.revision(key)
        try:
            await self._watch.bucket.update(key, definition.SerializeToString(), last=revision or None)
        except KeyWrongLastSequenceError:
            return False
        except (APIError, NatsError, TimeoutError) as error:
            raise Unavailable(
                f"the catalog cannot be written now ({type(error).__name__}); try again"
            ) from None
        await self._watch.refresh(key)
        return True

    async def _control(self, game: Game, definition: Poll | Board) -> list[Position]:
        """Puts the definition's stage into every partition of the game; where it is stored."""
        control = Control(poll=definition) if isinstance(definition, Poll) else Control(board=definition)
        block = Block(control=control)
        block.stamped_at.FromNanoseconds(time.time_ns())
        payload = block.SerializeToString()
        partitions = ids.partitions_of(game.game_id, game.spread)
        sequences = await asyncio.gather(
            *(
                self._pipeline.publish(
                    subjects.events(partition),
                    payload,
                    f"control-{_key(definition)}-{definition.stage}-{partition}",
                    telemetry.headers(),
                )
                for partition in partitions
            )
        )
        return [Position(partition=p, sequence=s) for p, s in zip(partitions, sequences, strict=True)]

    async def _until_folded(self, game: Game, positions: list[Position]) -> None:
        """So that who is answered finds the topic in the next snapshot. A fold that lags is not waited
        for beyond _FOLDED_S: the topic is open all the same, and shows when the fold is there."""
        with contextlib.suppress(TooLate, RedisError):
            await self._results.read_at_least(game.game_id, game.spread, positions, _FOLDED_S)


class Closer:
    """Takes the due steps of closing, also those a stopped instance left behind."""

    def __init__(self, watch: CatalogWatch, writer: CatalogWriter) -> None:
        self._watch = watch
        self._writer = writer
        self._changed = asyncio.Event()

    def wake(self) -> None:
        """The catalog changed; a step may have become due earlier."""
        self._changed.set()

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            self._changed.clear()
            step = next_step([*self._watch.view.polls(), *self._watch.view.boards()])
            wait_s = _IDLE_S if step is None else min(_IDLE_S, step.due_at_s - time.time())
            if step is not None and wait_s <= 0:
                try:
                    await self._writer.advance(step)
                    continue
                except GrandstandError as error:
                    log.warning("%s waits to become %s: %s", _key(step.definition), step.stage, error)
                    wait_s = _IDLE_S
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._changed.wait(), wait_s)


def _copy(definition: Topic) -> Topic:
    duplicate = type(definition)()
    duplicate.MergeFrom(definition)
    return duplicate


def _key(definition: Poll | Board) -> str:
    if isinstance(definition, Poll):
        return subjects.poll_key(definition.game_id, definition.poll_id)
    return subjects.board_key(definition.game_id, definition.board_id)


def _name(definition: Poll | Board) -> str:
    if isinstance(definition, Poll):
        return f"poll {definition.poll_id!r} of game {definition.game_id!r}"
    return f"board {definition.board_id!r} of game {definition.game_id!r}"


assert STAGE_OPEN < STAGE_CLOSED < STAGE_SEALED, "a stage only grows"
