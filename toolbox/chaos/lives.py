"""Games that live and end while the mesh is struck, and names that return.

There are NAMES names, each for one game after the other:

    define ─▶ open a poll and a board ─▶ votes, scores, reactions; a vote is voided and a score removed
           ─▶ EndGame while some are under way ─▶ sealed: compared ─▶ a late vote is refused ─▶ forgotten
           ─▶ the same name, for another game

After the run nothing of them is left in Redis and in the catalog (see toolbox.chaos.leftovers).

Bound: one game for each name; EVENTS events of it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from functools import partial
from random import Random

import grpc.aio
from redis.asyncio import Redis

from grandstand.aggregate.v1.aggregate_pb2 import TopicState
from grandstand.catalog.v1.catalog_pb2 import (
    BOARD_MODE_SUM,
    STAGE_SEALED,
    Board,
    Game,
    Poll,
    PollOption,
    Pulse,
)
from grandstand.client import Backend, ClientError, Publisher, Receipt, Refused, Shed, Token
from grandstand.event.v1.event_pb2 import Event, Position, Reaction, Score, Vote
from mesh.jetstream.bus import Bus
from toolbox.chaos import checker, leftovers, scene
from toolbox.chaos.entries import Book, Entry, EventStatus
from toolbox.chaos.stage import Mesh

NAMES = 50
EVENTS = 20
_TAKEN_BACK_AT_EVENT = 8
_ENDED_AT_EVENT = 12
_EVENT_EVERY_S = 0.05
_BEGIN_WITHIN_S = 5.0
# With strikes in between.
_WITHIN_S = 60.0
_LOOK_S = 0.3
_LATE = ("FAILED_PRECONDITION", "NOT_FOUND")
"""What may be answered to a vote for a game that has ended, or that is forgotten by then."""
_NOTES_MAX = 20
PREFIX = "life-"
_BOARD = "sum"

assert _TAKEN_BACK_AT_EVENT < _ENDED_AT_EVENT < EVENTS, "some are sent when it ends"


@dataclass(slots=True)
class EndingReport:
    ended: int = 0
    unseen: int = 0
    """Forgotten before they could be read."""
    forgotten: int = 0
    acked: int = 0
    taken_back: int = 0
    lost: int = 0
    doubled: int = 0
    notes: list[str] = field(default_factory=list)


class EndingGames:
    """`channel`: to the edge; `token`: a producer's."""

    def __init__(self, seed: int, backend: Backend, channel: grpc.aio.Channel, token: Token) -> None:
        self.report = EndingReport()
        self._seed = seed
        self._backend = backend
        self._channel = channel
        self._token = token

    async def run(self, stop: asyncio.Event) -> None:
        """Until `stop`, and then until every game that was begun is forgotten. Raises SessionLost."""
        async with (
            Publisher(self._channel, producer=True, token=self._token) as publisher,
            asyncio.TaskGroup() as group,
        ):
            for n in range(NAMES):
                group.create_task(self._name(f"{PREFIX}{n}", publisher, stop))

    async def left(self, mesh: Mesh) -> list[str]:
        """What still names a game, though all are forgotten. Raises RedisError, NatsError."""
        redis = Redis.from_url(mesh.stores.redis)
        bus = await Bus.connect(mesh.stores.nats, "chaos")
        try:
            return [*await leftovers.in_redis(redis, PREFIX), *await leftovers.in_catalog(bus, PREFIX)]
        finally:
            await redis.aclose()
            await bus.close()

    async def _name(self, game_id: str, publisher: Publisher, stop: asyncio.Event) -> None:
        random = Random(f"{self._seed} {game_id}")
        await asyncio.sleep(random.uniform(0, _BEGIN_WITHIN_S))
        number = 0
        while not stop.is_set():
            number += 1
            life = _Life(game_id, number, random, publisher)
            try:
                await self._live(life)
            except (ClientError, TimeoutError) as error:
                self._note(f"{game_id}, game {number}: {life.stage}: {type(error).__name__}: {error}")
                return  # what became of it is not known

    async def _live(self, life: _Life) -> None:
        backend, game_id = self._backend, life.game_id
        life.stage = "defined"
        await backend.define_game(life.game())
        await backend.open_poll(life.poll())
        await backend.open_board(life.board())
        life.stage = "played"
        await life.play(self._take_back, lambda: backend.end_game(game_id))
        self.report.ended += 1
        life.stage = "sealed"
        try:
            self._compare(life, await self._sealed(life))
        except ClientError as error:
            if error.code is not grpc.StatusCode.NOT_FOUND:
                raise
            self.report.unseen += 1
        life.stage = "late"
        if (answer := await life.late()) not in _LATE:
            self._note(f"{game_id}, game {life.number}: a late vote was answered {answer}")
        life.stage = "forgotten"
        await _until(lambda: self._is_unknown(game_id))
        self.report.forgotten += 1

    async def _take_back(self, entry: Entry) -> None:
        kind, _, name = entry.topic.partition("/")
        if kind == "poll":
            await self._backend.void_votes(entry.game_id, name, entry.actor_id)
        else:
            await self._backend.remove_score(entry.game_id, name, entry.actor_id)
        self.report.taken_back += 1

    def _compare(self, life: _Life, states: dict[checker.TopicKey, TopicState]) -> None:
        found = checker.compare(life.book.entries, states)
        self.report.acked += found.acked
        self.report.lost += found.lost
        self.report.doubled += found.doubled
        for finding in found.findings:
            self._note(f"game {life.number} of {finding.where}: {'; '.join(finding.notes[:3])}")

    async def _sealed(self, life: _Life) -> dict[checker.TopicKey, TopicState]:
        states: dict[checker.TopicKey, TopicState] = {}

        async def are_sealed() -> bool:
            positions = [Position(partition=p, sequence=s) for p, s in sorted(life.book.positions.items())]
            answer = await self._backend.read(life.game_id, ["*"], positions)
            states.update({(life.game_id, state.topic): state for state in answer.topics})
            return all(state.stage == STAGE_SEALED for state in answer.topics)

        try:
            await _until(are_sealed)
        except TimeoutError as error:
            open_yet = [state.topic for state in states.values() if state.stage != STAGE_SEALED]
            raise TimeoutError(f"{', '.join(open_yet) or 'nothing was read'}: {error}") from None
        return states

    async def _is_unknown(self, game_id: str) -> bool:
        try:
            await self._backend.get_game(game_id)
        except ClientError as error:
            if error.code is grpc.StatusCode.NOT_FOUND:
                return True
            raise
        return False

    def _note(self, what: str) -> None:
        if len(self.report.notes) < _NOTES_MAX:
            self.report.notes.append(what)


class _Life:
    """One game, and what was sent and told of it."""

    def __init__(self, game_id: str, number: int, random: Random, publisher: Publisher) -> None:
        self.game_id = game_id
        self.number = number
        self.book = Book()
        self.stage = ""
        """What it is about to be."""
        self._random = random
        self._publisher = publisher

    def game(self) -> Game:
        pulse = Pulse(pulse_id=scene.PULSE, kinds=scene.KINDS)
        game = Game(
            game_id=self.game_id, title=f"Game {self.number}", spread=1 + self.number % 2, pulses=[pulse]
        )
        game.retain_for.FromMicroseconds(0)
        return game

    def poll(self) -> Poll:
        options = [PollOption(option_id=o, label=o.title()) for o in scene.OPTIONS]
        return Poll(game_id=self.game_id, poll_id=scene.FINAL, question=f"{self.number}?", options=options)

    def board(self) -> Board:
        return Board(game_id=self.game_id, board_id=_BOARD, title="Points", mode=BOARD_MODE_SUM)

    async def play(
        self, take_back: Callable[[Entry], Awaitable[None]], end: Callable[[], Awaitable[object]]
    ) -> None:
        """Sends all events, takes two back and ends the game meanwhile, and waits for every answer."""
        ending: asyncio.Task[object] | None = None
        receipts: list[asyncio.Future[Receipt]] = []
        for n in range(EVENTS):
            if n == _TAKEN_BACK_AT_EVENT:
                receipts += [
                    receipt for at in (1, 2) for receipt in await self._corrected(at, receipts[at], take_back)
                ]
            if n == _ENDED_AT_EVENT:
                ending = asyncio.ensure_future(end())
            await asyncio.sleep(self._random.uniform(0, 2 * _EVENT_EVERY_S))
            receipts.append(await self._send(*self._event(n)))
        assert ending is not None
        await ending
        await asyncio.wait(receipts, timeout=_WITHIN_S)
        if self.book.outstanding:
            raise TimeoutError(f"{self.book.outstanding} events were not answered within {_WITHIN_S:g} s")

    async def _corrected(
        self, n: int, receipt: asyncio.Future[Receipt], take_back: Callable[[Entry], Awaitable[None]]
    ) -> list[asyncio.Future[Receipt]]:
        """Takes the n-th event back if it was acked; some of the actors act once more."""
        await asyncio.wait([receipt], timeout=_WITHIN_S)
        entry = self.book.entries[n]
        if entry.fate is not EventStatus.ACKED:
            return []
        await take_back(entry)
        self.book.void(entry)
        if self._random.random() < 0.5:
            return []
        return [await self._send(*self._event(n, order=1))]

    async def late(self) -> str:
        """What is answered to a vote for the game that has ended."""
        event, _ = self._event(1)
        event.actor_id += "-late"
        try:
            await self._publisher.send(event)
        except Refused as error:
            return error.code.name
        return "OK"

    def _event(self, n: int, order: int = 0) -> tuple[Event, Entry]:
        """`order`: how often its actor has done the same before."""
        actor = f"{self.game_id}-{self.number}-{n}"
        event = Event(game_id=self.game_id, actor_id=actor)
        if n % 3 == 1:
            option = self._random.choice(scene.OPTIONS)
            event.vote.CopyFrom(Vote(poll_id=scene.FINAL, option_ids=[option]))
            return event, Entry(self.game_id, f"poll/{scene.FINAL}", actor, order, (option,), amount=1)
        if n % 3 == 2:
            event.score.CopyFrom(Score(board_id=_BOARD, points=4**order))
            return event, Entry(self.game_id, f"board/{_BOARD}", actor, order, amount=4**order)
        at = self._random.randrange(len(scene.KINDS))
        kind, count = scene.KINDS[at], at + 1
        event.reaction.CopyFrom(Reaction(pulse_id=scene.PULSE, kind=kind, count=count))
        return event, Entry(self.game_id, f"pulse/{scene.PULSE}", actor, 0, label=kind, amount=count)

    async def _send(self, event: Event, entry: Entry) -> asyncio.Future[Receipt]:
        receipt = await self._publisher.submit(event)
        self.book.sent(entry)
        receipt.add_done_callback(partial(self._told, entry))
        return receipt

    def _told(self, entry: Entry, receipt: asyncio.Future[Receipt]) -> None:
        error = None if receipt.cancelled() else receipt.exception()
        if isinstance(error, Refused):
            self.book.refuse(entry, error.code.name, maybe_stored=error.maybe_stored)
        elif isinstance(error, Shed):
            self.book.shed_it(entry, maybe_stored=error.maybe_stored)
        elif error is not None or receipt.cancelled():
            self.book.give_up(entry)
        else:
            self.book.ack(entry, ((p.partition, p.sequence) for p in receipt.result().positions))


async def _until(condition: Callable[[], Awaitable[bool]]) -> None:
    """Raises TimeoutError after _WITHIN_S."""
    give_up_at = asyncio.get_running_loop().time() + _WITHIN_S
    while not await condition():
        if asyncio.get_running_loop().time() > give_up_at:
            raise TimeoutError(f"not within {_WITHIN_S:g} s")
        await asyncio.sleep(_LOOK_S)
