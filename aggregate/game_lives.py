"""Ends games and forgets them; the catalog's writer for what concerns a whole game.

    OPEN ──EndGame, idle──▶ OPEN with ended_at ──▶ CLOSED ──grace──▶ SEALED ──retain_for, 25 h──▶ forgotten

`ended_at` lies a moment ahead, so that every ingest knows it in time (I9): from then on ingest takes nothing
for the game. What the definition makes (pulses, metrics, audience, custom topics) is closed and sealed by
controls of the game; its polls and boards go by their own steps, and the game is sealed after them.

A game is forgotten in this order: ForgetGame in all of its partitions; the tombstone; the entries of its
polls and boards; its own entry. Whatever was done twice, or left undone by one who died, changes nothing for
whoever does it next: the game's entry goes last. Definitions that come late carry the generation of their
game, by which folds, ingests and this writer know them for what they are.

An entry of a poll or board can come back after its game was forgotten: a nats-server that is killed soon
after a marker was purged has the message again that the marker replaced (nats-io/nats-server#8505). The
game's own entry is forgotten a second time by its step; a poll or board without it is deleted if a tombstone
says that its game was forgotten.

Rejected: to look for games that a partition holds and the catalog does not, or for polls without a game and
without a tombstone. A catalog that was lost for a moment would take every game with it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from typing import TypeVar

from nats.errors import Error as NatsError

from aggregate import audit
from aggregate.closing import Step, forgetting, forgotten_at_s, key_of
from aggregate.control_publisher import ControlPublisher
from aggregate.definition_merge import without_rules
from aggregate.step_sender import StepSender
from aggregate.tombstones import Tombstones
from grandstand.catalog.v1.catalog_pb2 import STAGE_CLOSED, STAGE_OPEN, STAGE_SEALED, Board, Game, Poll
from grandstand.internal.v1.internal_pb2 import Control, ForgetGame, Partial
from grandstand.wire import ids
from grandstand.wire.errors import NotNow, TooLate, Unavailable
from mesh import limits
from mesh.catalog.spreads import Spreads
from mesh.catalog.watch import CatalogWatch
from mesh.jetstream import subjects
from mesh.redis.share import Share

Topic = TypeVar("Topic", Poll, Board)

Put = Callable[[str, Game | Poll | Board, int], Awaitable[int]]
Complete = Callable[[str, Game], Awaitable[object]]

_ATTEMPTS_MAX = 8
# Of one call: less than clients and Envoy wait for it.
_SEALED_WITHIN_S = 4.0


class GameLives:
    def __init__(
        self,
        watch: CatalogWatch,
        controls: ControlPublisher,
        sender: StepSender,
        tombstones: Tombstones,
        put: Put,
        complete: Complete,
    ) -> None:
        """`put` and `complete`: of the catalog's writer."""
        self._watch = watch
        self._controls = controls
        self._sender = sender
        self._tombstones = tombstones
        self._put = put
        self._complete = complete
        self._spreads = Spreads(watch.view)
        self._changed = asyncio.Event()
        """Set, and replaced, with each change of the catalog."""

    def hear(self) -> None:
        """The catalog changed."""
        self._changed.set()
        self._changed = asyncio.Event()

    async def generation(self, game_id: str, known: int = 0) -> int:
        """Of a game that is defined now: greater than `known`, and than that of any before it. Raises
        Unavailable."""
        earlier = await self._tombstones.get(game_id)
        if earlier is not None:
            known = max(known, earlier.generation)
        return max(int(self._watch.clock.now_s() * 1e6), known + 1)

    async def end_game(self, game_id: str) -> Game:
        """Sets the moment at which it ends; at the latest, it is set already. Raises Invalid, Unknown,
        Unavailable."""
        key = subjects.game_key(ids.check_id("game_id", game_id))
        view = self._watch.view
        for _ in range(_ATTEMPTS_MAX):
            await self._watch.refresh(key)
            revision = view.revision(key)
            if (pending := view.pending(key)) is not None:
                await self._complete(key, pending)
                continue
            known = view.get(key)
            if known is None and (earlier := await self._tombstones.get(game_id)) is not None:
                return earlier
            game = view.game(game_id)
            if game.HasField("ended_at"):
                return game
            ended = Game()
            ended.CopyFrom(game)
            ended.ended_at.FromNanoseconds(int((self._watch.clock.now_s() + limits.CLOSE_LEAD_S) * 1e9))
            if await self._put(key, ended, revision):
                # What this does not reach, the game's first step closes.
                await self._close_topics(ended)
                return ended
        raise Unavailable(f"game {game_id!r} is being changed by others; try again")

    async def end_if_idle(self, game: Game, idle_s: float) -> float:
        """Ends the game if it had no event, and no open poll or board, for `idle_s`. Returns since when it
        has been idle, Unix seconds. Raises Unavailable."""
        now_s = self._watch.clock.now_s()
        if any(topic.stage in (STAGE_OPEN, STAGE_CLOSED) for topic in self._topics_of(game)):
            return now_s
        last_s = game.generation / 1e6
        for share in await self._shares(game):
            for partial in share.partials.values():
                if not partial.changed_at_s:  # by an earlier release: nobody knows when
                    return now_s
                last_s = max(last_s, partial.changed_at_s)
        if not game.generation:
            return now_s
        if now_s - last_s >= idle_s:
            audit.idle(await self.end_game(game.game_id), idle_s)
        return last_s

    async def delete_game(self, game_id: str) -> Game:
        """Forgets a game in which nothing was counted; at the latest, it is forgotten already. Raises
        Invalid, Unknown, NotNow (something was), TooLate (it is not sealed, or not forgotten everywhere
        yet: ask again), Unavailable."""
        key = subjects.game_key(ids.check_id("game_id", game_id))
        await self._watch.refresh(key)
        if key in self._watch.view:
            await self._check_empty(self._watch.view.game(game_id))
        ended = await self.end_game(game_id)
        try:
            async with asyncio.timeout(_SEALED_WITHIN_S):
                while (game := self._sealed(key, ended)) is None:
                    await self._changed.wait()
        except TimeoutError:
            raise TooLate(
                f"game {game_id!r} has ended, and is not sealed in all of its partitions yet; ask again"
            ) from None
        if self._watch.view.get(key) == game:
            await self._check_empty(game)
            try:
                await self.advance(forgetting(game))
            except NotNow as error:
                # It is under way, and nothing refuses it: whoever asks again goes on with it.
                raise TooLate(f"game {game_id!r} is being forgotten: {error}; ask again") from None
        return ended

    def _sealed(self, key: str, ended: Game) -> Game | None:
        """The game once it is sealed, or gone."""
        game = self._watch.view.get(key)
        if not isinstance(game, Game) or game.generation != ended.generation:
            return ended
        return game if game.stage == STAGE_SEALED else None

    async def _check_empty(self, game: Game) -> None:
        """Raises NotNow if anything was counted."""
        for share in await self._shares(game):
            for topic, partial in share.partials.items():
                if _has_counted(partial):
                    raise NotNow(
                        f"game {game.game_id!r}: something was counted in {topic}, so it cannot be deleted; "
                        "end it with EndGame, and it is forgotten in time"
                    )

    async def _shares(self, game: Game) -> list[Share]:
        """What all of its partitions hold. Raises Unavailable."""
        shares = await self._controls.shares(game.game_id, self._spreads.of(game.game_id))
        for share in shares:
            if not share.whole:
                raise Unavailable(f"partition {share.partition} is being rebuilt; try again")
        return shares

    async def advance(self, step: Step) -> None:
        """Takes one due step of a game. Raises NotNow, Unavailable, Exhausted; is to be repeated then."""
        found = step.definition
        assert isinstance(found, Game)
        key, view = key_of(found), self._watch.view
        revision = view.revision(key)
        if view.get(key) != found:
            self._sender.drop(step)
            return  # it was changed since the step was found
        spread = self._spreads.of(found.game_id)
        if step.forgets:
            forget = ForgetGame(game_id=found.game_id, generation=found.generation)
            await self._sender.send(step, Control(forget_game=forget), "", spread)
            await self._erase(key, found, revision)
            return
        await self._close_topics(found)
        if step.stage == STAGE_SEALED:
            self._check_sealed(found)
        game = Game()
        game.CopyFrom(found)
        game.stage = step.stage
        await self._sender.send(step, Control(game=without_rules(game)), "", spread)
        if await self._put(key, game, revision):
            audit.ended(game)
        else:
            await self._watch.refresh(key)  # another instance was faster

    async def erase_orphan(self, key: str) -> None:
        """Deletes the entry of a poll or board whose game was forgotten. Raises Unavailable."""
        view = self._watch.view
        topic = view.get(key)
        if not isinstance(topic, Poll | Board):
            return
        await self._watch.refresh(subjects.game_key(topic.game_id))
        if not is_stray(topic, view.generation(topic.game_id)):
            return
        stone = await self._tombstones.get(topic.game_id)
        if stone is not None and topic.generation <= stone.generation:
            await self._delete(key, view.revision(key))

    def _check_sealed(self, game: Game) -> None:
        """Whether its polls and boards are. Raises NotNow."""
        for topic in self._topics_of(game):
            if topic.stage in (STAGE_OPEN, STAGE_CLOSED):
                raise NotNow(f"{key_of(topic)} is not sealed yet")

    async def _close_topics(self, game: Game) -> None:
        """Its open polls and boards close when it ends, or have closed before. Raises Unavailable."""
        view = self._watch.view
        for key in map(key_of, self._topics_of(game)):
            topic = view.get(key)  # now: what was changed meanwhile is not written over
            if isinstance(topic, Poll | Board) and topic.stage == STAGE_OPEN and not _closes_by(topic, game):
                closing = type(topic)()
                closing.MergeFrom(topic)  # type: ignore[arg-type]
                closing.closes_at.CopyFrom(game.ended_at)
                await self._put(key, closing, view.revision(key))

    async def _erase(self, key: str, game: Game, revision: int) -> None:
        """Raises Unavailable."""
        await self._tombstones.put(game)
        view = self._watch.view
        for topic in self._topics_of(game, all_of_id=True):
            of_topic = key_of(topic)
            if not await self._delete(of_topic, view.revision(of_topic)):
                raise NotNow(f"{of_topic} is being changed by others")
        if await self._delete(key, revision):
            audit.forgotten(game)

    async def _delete(self, key: str, revision: int) -> bool:
        """As CatalogWatch.delete. Raises Unavailable."""
        try:
            return await self._watch.delete(key, revision)
        except (NatsError, TimeoutError) as error:
            raise Unavailable(
                f"the catalog cannot be written now ({type(error).__name__}); try again"
            ) from None

    def _topics_of(self, game: Game, *, all_of_id: bool = False) -> Iterable[Poll | Board]:
        """Its polls and boards, claims too. `all_of_id`: what an earlier game of the id left as well."""
        return [
            topic
            for topic in self._watch.view.topics(game.game_id)
            if all_of_id or not 0 < topic.generation < game.generation
        ]


def is_stray(topic: Poll | Board, generation: int) -> bool:
    """Whether it is of no game, or of an earlier one of the id. `generation`: of the game that is known under
    its id; 0: none is."""
    return topic.generation > 0 and (not generation or topic.generation < generation)


def refuse_ended(game: Game, forget_after_s: float | None = None) -> None:
    """Raises NotNow for a game that ends or has ended."""
    if game.HasField("ended_at"):
        raise NotNow(
            f"game {game.game_id!r} ended at {game.ended_at.ToJsonString()} and cannot be changed; its id is "
            f"free once it is forgotten, {_after(game, forget_after_s)} after its end"
        )


def _after(game: Game, forget_after_s: float | None) -> str:
    seconds = forgotten_at_s(game, forget_after_s) - game.ended_at.ToNanoseconds() / 1e9
    return f"{seconds / 3600:g} h"


def idle_for_s(game: Game) -> float:
    """After how long it is ended; 0 for never."""
    if not game.HasField("idle_for"):
        return limits.IDLE_FOR_DEFAULT_S
    return game.idle_for.ToNanoseconds() / 1e9


def _closes_by(topic: Poll | Board, game: Game) -> bool:
    return topic.HasField("closes_at") and topic.closes_at.ToNanoseconds() <= game.ended_at.ToNanoseconds()


def _has_counted(partial: Partial) -> bool:
    match partial.WhichOneof("value"):
        case "tally":
            return bool(partial.tally.voters or partial.tally.voided)
        case "board":
            # Of a season that is over nobody knows any more whether it was empty.
            return bool(partial.board.current.actors) or partial.board.HasField("previous")
        case "pulse":
            return any(partial.pulse.totals)
        case "audience":
            return bool(partial.audience.uniques)
        case "metric":
            return bool(partial.metric.count)
    return bool(partial.custom.value)
