"""The catalog's writer: defines games, opens, closes and seals polls and boards.

A definition lives in the key-value bucket, for admission, and as control blocks in the
event stream, for the folds (I4). The order of the two is what makes a change safe:

- a game: entry with the new definition as `pending`, which holds for nobody; control with it in every
  partition; entry with it in place. Events for a new pulse or metric are admitted by the last entry, so the
  control always precedes them in the stream; and a control is only ever of a definition whose claim won its
  compare-and-set, so none of a loser's comes to change what a fold holds. Whoever finds a claim that
  is not its own completes it first. A definition without topics of its own (a game of polls and boards)
  changes no event's meaning: it is written to the entry at once, and no fold hears of it.
- opening: entry without a stage, control OPEN in every partition, entry OPEN. An ingest
  admits events only for an OPEN entry, so here, too, the control comes first. The entry OPEN says the spread
  of the game, which is the topic's own from then on: whoever knows the topic knows where it folds.
- closing: entry with `closes_at` a moment ahead, so that every ingest knows it in time (I9);
  at that moment control CLOSED, entry CLOSED; after the grace control SEALED, entry SEALED. The entry is
  written when every partition shows that it took the control (see aggregate.closing).
- ending a game and forgetting it: see aggregate.game_lives.
- voiding votes and removing a score (see aggregate.corrections): a control in the actor's partition, under a
  name of its own each time, as what was done since is to be taken back too. The entry of a poll then counts
  it, by which every ingest forgets whom it knows to have voted.

Moments are of the mesh's clock (mesh.catalog.mesh_clock), whatever this machine's says.

Entries are written by compare-and-set, so what this process knows may be old: whoever claims a game
that is new here and known elsewhere loses. Controls fold idempotently, so any number of
instances may run the same steps, and a crash between two is made good by whoever does the
next: a repeated DefineGame or OpenPoll, or `aggregate.closer` after a restart.

The spread of a game may change only while it has no topic, and a topic's controls must reach
the partitions of its spread. So the first topic of a game claims its own entry first, then
rewrites the game's entry unchanged: a change of the spread under way at the same moment
either is seen, or finds the topic, or loses its compare-and-set.
"""

from __future__ import annotations

import hashlib
import itertools
import logging
from collections.abc import Callable
from typing import TypeVar

from nats.errors import Error as NatsError
from nats.js.errors import APIError, KeyWrongLastSequenceError, NotFoundError

from aggregate import audit, definition_merge, definitions, rules
from aggregate.closing import Folded, Step, key_of, life_of
from aggregate.control_publisher import ControlPublisher
from aggregate.corrections import check_folded, check_season, check_stage, name_of, season_of
from aggregate.game_lives import GameLives, refuse_ended
from aggregate.step_sender import StepSender
from aggregate.tombstones import Tombstones
from grandstand import fold
from grandstand.catalog.v1.catalog_pb2 import (
    STAGE_CLOSED,
    STAGE_OPEN,
    STAGE_SEALED,
    STAGE_UNSPECIFIED,
    WRITERS_PRODUCERS,
    Board,
    Game,
    Poll,
)
from grandstand.event.v1.event_pb2 import Position
from grandstand.internal.v1.internal_pb2 import Control, RemoveScore, VoidVotes
from grandstand.wire import actors, ids
from grandstand.wire.errors import AlreadyDone, NotNow, Unavailable
from mesh import limits
from mesh.catalog.mesh_clock import boot_s
from mesh.catalog.watch import CatalogWatch
from mesh.jetstream import subjects
from mesh.jetstream.bus import Bus

log = logging.getLogger(__name__)

Topic = TypeVar("Topic", Poll, Board)

_ATTEMPTS_MAX = 8


class CatalogWriter:
    def __init__(
        self,
        bus: Bus,
        watch: CatalogWatch,
        controls: ControlPublisher,
        forget_after_s: float | None = None,
    ) -> None:
        """`forget_after_s`: see aggregate.closing.game_step_of."""
        self._bus = bus
        self._watch = watch
        self._controls = controls
        self._forget_after_s = forget_after_s
        self._sender = StepSender(controls)
        self._corrections = itertools.count()
        self.lives = GameLives(
            watch, controls, self._sender, Tombstones(bus), put=self._put, complete=self._complete_pending
        )

    async def define_game(self, wanted: Game) -> tuple[Game, list[Position]]:
        """The game, and from where in the stream its topics hold; at the latest, where they held before.

        Raises Invalid, NotNow (something that counts would go or become another), Exhausted, Unavailable.
        """
        asked = definitions.check_game(wanted, fold.names())
        key = subjects.game_key(asked.game_id)
        view = self._watch.view
        positions: list[Position] = []
        for attempt in range(_ATTEMPTS_MAX):
            if attempt or key in view or view.pending(key) is not None:
                await self._watch.refresh(key)
            # Else it is new as far as is known here, and if not, the claim loses its compare-and-set.
            if (pending := view.pending(key)) is not None:
                positions = await self._complete_pending(key, pending)
                continue
            known, revision = view.get(key), view.revision(key)
            before = known if isinstance(known, Game) else Game()
            await self._check_rules(before, asked)
            timed = definition_merge.with_rule_times(before, asked, self._watch.clock.now_s())
            if not isinstance(known, Game):
                definitions.check_room(view.games_live, view.games_known)
                game = definition_merge.with_writers(Game(), timed)
                game.stage = STAGE_OPEN
                game.generation = await self.lives.generation(asked.game_id)
            else:
                refuse_ended(known, self._forget_after_s)
                has_topics = known.spread != asked.spread and await self._has_topics(asked.game_id)
                game = definition_merge.check_and_merge(known, timed, has_topics=has_topics)
                if game == known:
                    if definition_merge.has_own_topics(game) and not positions:
                        positions = await self._controls.newest(game.game_id, game.spread)
                    return game, positions
            is_folded = definition_merge.has_own_topics(game)
            if not is_folded or definition_merge.untitled(game) == definition_merge.untitled(before):
                if await self._put(key, game, revision) and not is_folded:
                    return game, []
                continue
            claim = Game(game_id=asked.game_id)
            claim.MergeFrom(before)
            claim.pending.CopyFrom(game)
            positions = []
            if revision := await self._put(key, claim, revision):
                positions = await self._complete(key, game, revision)
                if view.get(key) == game:
                    return game, positions
        raise Unavailable(f"game {asked.game_id!r} is being changed by others; try again")

    async def _check_rules(self, known: Game, wanted: Game) -> None:
        """That the polls and boards which new rules name are there. Raises Invalid."""
        for named in rules.named_topics(wanted, known):
            await self._watch.refresh(named.key)
            rules.check_named(named, self._watch.view.get(named.key), known.generation)

    async def _complete_pending(self, key: str, pending: Game) -> list[Position]:
        """As `_complete`, of the claim that the view holds now."""
        return await self._complete(key, pending, self._watch.view.revision(key))

    async def _complete(self, key: str, pending: Game, revision: int) -> list[Position]:
        """Puts the definition that is claimed at this revision of the entry into its partitions, then into
        its place. Any number may do so at once: their controls are the same. Raises Unavailable,
        Exhausted."""
        digest = hashlib.blake2b(pending.SerializeToString(deterministic=True), digest_size=8).hexdigest()
        partitions = ids.partitions_of(pending.game_id, pending.spread)
        name = f"{key}-{revision}-{digest}"
        positions = await self._controls.publish(
            partitions, Control(game=definition_merge.without_rules(pending)), name
        )
        await self._controls.until_folded(positions)
        await self._put(key, pending, revision)
        return positions

    async def _has_topics(self, game_id: str) -> bool:
        """Asks the bucket itself: what another instance opened may not have come by the watch yet."""
        for key in (subjects.poll_key(game_id, "*"), subjects.board_key(game_id, "*")):
            try:
                found = await self._bus.js.get_last_msg(
                    f"KV_{subjects.CATALOG_BUCKET}", f"$KV.{subjects.CATALOG_BUCKET}.{key}"
                )
            except NotFoundError:
                continue
            except (NatsError, TimeoutError) as error:
                raise _cannot("read", error) from None
            if not found.data:  # the last of them is deleted; of the others the view knows, once it is whole
                await self._watch.anchored_after(boot_s())
                return bool(self._watch.view.topics(game_id))
            return True
        return False

    async def open_poll(self, wanted: Poll) -> tuple[Poll, list[Position]]:
        """The poll, and from where in the stream it holds; at the latest, if it was open before.

        Raises Invalid, Unknown (the game), AlreadyDone, Unavailable.
        """
        return await self._open(definitions.check_poll(wanted))

    async def open_board(self, wanted: Board) -> tuple[Board, list[Position]]:
        """As `open_poll`."""
        return await self._open(definitions.check_board(wanted))

    async def _open(self, checked: Topic) -> tuple[Topic, list[Position]]:
        key = key_of(checked)
        await self._watch.refresh(subjects.game_key(checked.game_id))
        game = self._watch.view.game(checked.game_id)
        refuse_ended(game, self._forget_after_s)
        for _ in range(_ATTEMPTS_MAX):
            await self._watch.refresh(key)
            known, revision = self._find(key, checked), self._watch.view.revision(key)
            if known is not None and 0 < known.generation < game.generation:
                known = None  # left by an earlier game of the id
            if known is not None and not definitions.same_definition(known, checked):
                raise AlreadyDone(f"{name_of(checked)} exists with another definition; choose another id")
            if known is not None and known.stage != STAGE_UNSPECIFIED:
                return known, await self._controls.newest(game.game_id, known.spread or game.spread)
            if known is None:
                known = _claim(checked, game.generation, self._now_ns())
                revision = await self._put(key, known, revision)
                if not revision:
                    continue
            game = await self._claimed(checked.game_id)
            refuse_ended(game, self._forget_after_s)
            opened = _copy(known)
            opened.stage = STAGE_OPEN
            opened.spread = game.spread
            opened.generation = game.generation
            now_ns = self._now_ns()
            opened.opened_at.FromNanoseconds(now_ns)
            if checked.HasField("open_for"):
                opened.closes_at.FromNanoseconds(now_ns + checked.open_for.ToNanoseconds())
            partitions = ids.partitions_of(game.game_id, game.spread)
            name = f"{life_of(opened)}-{opened.stage}"
            positions = await self._controls.publish(partitions, _control(opened), name)
            # Before it is folded: so gateways know what to wait for by the time that this is answered.
            if await self._put(key, opened, revision):
                await self._controls.until_folded(positions)
                return opened, positions
        raise Unavailable(f"{name_of(checked)} is being opened by others; try again")

    async def _claimed(self, game_id: str) -> Game:
        """The game, its spread fixed: it has a topic now. Raises Unavailable."""
        key = subjects.game_key(game_id)
        view = self._watch.view
        for _ in range(_ATTEMPTS_MAX):
            await self._watch.refresh(key)
            if (pending := view.pending(key)) is not None:
                await self._complete_pending(key, pending)
                continue
            game = view.game(game_id)
            if definition_merge.has_own_topics(game) or view.is_any_opened(game_id):
                return game
            if await self._put(key, game, view.revision(key)):
                return game
        raise Unavailable(f"game {game_id!r} is being changed by others; try again")

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
                raise NotNow(f"{name_of(known)} is not open yet")
            closes_at_ns = self._now_ns() + int(limits.CLOSE_LEAD_S * 1e9)
            sooner = known.HasField("closes_at") and known.closes_at.ToNanoseconds() <= closes_at_ns
            if known.stage != STAGE_OPEN or sooner:
                return known
            closing = _copy(known)
            closing.closes_at.FromNanoseconds(closes_at_ns)
            if await self._put(key, closing, self._watch.view.revision(key)):
                return closing
        raise Unavailable(f"{key} is being changed by others; try again")

    async def advance(self, step: Step) -> None:
        """Takes one due step: sends it to the partitions that have not taken it, and writes the entry when
        all have. Raises NotNow (not all have), Unavailable, Exhausted; is to be repeated then."""
        found = step.definition
        if isinstance(found, Game):
            await self.lives.advance(step)
            return
        key = key_of(found)
        view = self._watch.view
        revision = view.revision(key)
        if view.get(key) != found:
            self._sender.drop(key)
            return  # it was changed since the step was found
        definition = _copy(found) if isinstance(found, Poll) else _copy(found)
        definition.stage = step.stage
        spread = found.spread or view.game(found.game_id).spread
        await self._sender.send(step, _control(definition), _topic_of(found), spread)
        if step.beat:
            return
        if await self._put(key, definition, revision):
            audit.ended(definition)
        else:
            await self._watch.refresh(key)  # another instance was faster

    def hear(self, key: str, *, is_gone: bool) -> None:
        """The catalog changed."""
        if is_gone:
            self._sender.drop(key)
        self.lives.hear()

    async def void_votes(self, game_id: str, poll_id: str, actor_id: str) -> tuple[Poll, Position]:
        """The poll, and from where in the stream its count is without what the actor voted before.

        Raises Invalid, Unknown, NotNow (not open yet, or sealed), Exhausted, Unavailable.
        """
        ids.check_id("game_id", game_id)
        key = subjects.poll_key(game_id, ids.check_id("poll_id", poll_id))
        actors.check_actor("actor_id", actor_id)
        await self._watch.refresh(key)
        poll = self._watch.view.poll(game_id, poll_id)
        void = VoidVotes(game_id=game_id, poll_id=poll_id, actor_id=actor_id)
        at, _ = await self._correct(poll, actor_id, Control(void_votes=void))
        return await self._with_void(key, poll), at

    async def remove_score(
        self, game_id: str, board_id: str, actor_id: str, season: int = 0
    ) -> tuple[Board, Position, int]:
        """The board, from where in the stream it is without what the actor scored before, and in which
        season. Raises as `void_votes`."""
        ids.check_id("game_id", game_id)
        key = subjects.board_key(game_id, ids.check_id("board_id", board_id))
        actors.check_actor("actor_id", actor_id)
        await self._watch.refresh(key)
        board = self._watch.view.board(game_id, board_id)
        check_stage(name_of(board), board.stage)
        spread, partition = self._place_of(board, actor_id)
        shares = await self._controls.folded(game_id, spread, _topic_of(board))
        number = season_of(name_of(board), board, shares, partition, season)
        remove = RemoveScore(game_id=game_id, board_id=board_id, actor_id=actor_id, season=number)
        at, share = await self._correct(board, actor_id, Control(remove_score=remove))
        check_season(name_of(board), share, number)
        return board, at, number

    async def _correct(
        self, definition: Poll | Board, actor_id: str, control: Control
    ) -> tuple[Position, Folded]:
        """Where the control is stored, and what its partition shows since. Raises NotNow, Exhausted,
        Unavailable."""
        check_stage(name_of(definition), definition.stage)
        game_id, key = definition.game_id, key_of(definition)
        spread, partition = self._place_of(definition, actor_id)
        name = f"{key}-{ids.actor_key(actor_id).hex()}-{self._now_ns()}-{next(self._corrections)}"
        (at,) = await self._controls.publish([partition], control, name)
        await self._controls.until_folded([at])
        shares = await self._controls.folded(game_id, spread, _topic_of(definition))
        share = next(each for each in shares if each.partition == partition)
        check_folded(name_of(definition), at, share)
        return at, share

    def _place_of(self, definition: Poll | Board, actor_id: str) -> tuple[int, int]:
        """Over how many partitions the topic is spread, and in which of them the actor folds."""
        spread = definition.spread or self._watch.view.game(definition.game_id).spread
        return spread, ids.partition_of(definition.game_id, actor_id, spread)

    async def _with_void(self, key: str, poll: Poll) -> Poll:
        """Counts a void that is folded in the poll's entry; another's that is counted since will do. Raises
        Unavailable."""
        await self._watch.refresh(key)
        found = self._find(key, poll) or poll
        voids = found.voids
        for _ in range(_ATTEMPTS_MAX):
            if found.voids > voids or found.stage == STAGE_SEALED:
                return found
            counted = _copy(found)
            counted.voids += 1
            if await self._put(key, counted, self._watch.view.revision(key)):
                return counted
            await self._watch.refresh(key)
            found = self._find(key, poll) or found
        raise Unavailable(f"{name_of(poll)} is being changed by others; try again")

    def _now_ns(self) -> int:
        return int(self._watch.clock.now_s() * 1e9)

    def _find(self, key: str, like: Topic) -> Topic | None:
        found = self._watch.view.get(key)
        return found if isinstance(found, type(like)) else None

    async def _put(self, key: str, definition: Game | Poll | Board, revision: int) -> int:
        """Compare-and-set: the new revision, or 0 if `revision` (0: none) is not the newest any more.

        The revision is the one that was known when the definition was made of what it replaces;
        the view may have moved on since.
        """
        value = definition.SerializeToString()
        try:
            new = await self._watch.bucket.update(key, value, last=revision or None)
        except KeyWrongLastSequenceError:
            return 0
        except (APIError, NatsError, TimeoutError) as error:
            raise _cannot("written", error) from None
        self._watch.wrote(key, new, value)
        return new


def _copy(definition: Topic) -> Topic:
    duplicate = type(definition)()
    duplicate.MergeFrom(definition)
    return duplicate


def _claim(checked: Topic, generation: int, now_ns: int) -> Topic:
    """The entry without a stage. It names the writers, and says already when season 1 begins, so that an
    opening that is repeated after a crash begins it at the same moment."""
    claim = _copy(checked)
    claim.generation = generation
    if isinstance(claim, Board):
        claim.writers = claim.writers or WRITERS_PRODUCERS
    if isinstance(claim, Board) and claim.HasField("season") and not claim.season.HasField("starts_at"):
        claim.season.starts_at.FromMicroseconds(now_ns // 1_000)  # as finely as folds go
    return claim


def _control(definition: Poll | Board) -> Control:
    return Control(poll=definition) if isinstance(definition, Poll) else Control(board=definition)


def _cannot(what: str, error: Exception) -> Unavailable:
    return Unavailable(f"the catalog cannot be {what} now ({type(error).__name__}); try again")


def _topic_of(definition: Poll | Board) -> str:
    if isinstance(definition, Poll):
        return f"poll/{definition.poll_id}"
    return f"board/{definition.board_id}"


assert STAGE_OPEN < STAGE_CLOSED < STAGE_SEALED, "a stage only grows"
