"""A game of its own for each test, and what a test says and asks through the real mesh."""

from __future__ import annotations

import asyncio
import contextlib
import uuid
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from typing import Any, TypeVar, cast

import grpc.aio

from grandstand.aggregate.v1.aggregate_pb2 import TopicState
from grandstand.catalog.v1.catalog_pb2 import (
    BOARD_MODE_SUM,
    WRITERS_ACTORS,
    Board,
    BoardMode,
    Game,
    Poll,
    PollOption,
    Pulse,
)
from grandstand.client import Backend, Viewer, open_channel
from grandstand.client.credentials import Token, token_of
from grandstand.event.v1.event_pb2 import Event, Position, Vote
from grandstand.gateway.v1 import gateway_pb2 as gateway
from grandstand.gateway.v1.gateway_pb2_grpc import GatewayServiceStub
from grandstand.wire import bounds as wire_bounds
from tests.support.mesh_fixture import mesh_at
from tests.support.servers import eventually

PATIENCE_S = 20.0
Result = TypeVar("Result")


def run(scenario: Coroutine[Any, Any, Result], within_s: float = 60.0) -> Result:
    """Runs a test's scenario; a hang is a failure, not a stuck run."""

    async def bounded() -> Result:
        async with asyncio.timeout(within_s):
            return await scenario

    return asyncio.run(bounded())


async def until(condition: Callable[[], object], what: str, within_s: float = PATIENCE_S) -> None:
    """Waits for a condition that other tasks of this loop bring about; fails naming it."""
    loop = asyncio.get_running_loop()
    give_up_at = loop.time() + within_s
    while not condition():
        assert loop.time() < give_up_at, f"not within {within_s:g} s: {what}"
        await asyncio.sleep(0.01)


_KINDS = ("unary_unary", "unary_stream", "stream_unary", "stream_stream")


class _Bearing:
    """Duck-typed: what stubs ask of a channel."""

    def __init__(self, channel: grpc.aio.Channel, token: Token) -> None:
        self.bare = channel
        self._token = token

    def __getattr__(self, name: str) -> Any:
        found = getattr(self.bare, name)
        return self._showing(found) if name in _KINDS else found

    def _showing(self, of_kind: Callable[..., Any]) -> Callable[..., Any]:
        def method(*path: Any, **codecs: Any) -> Callable[..., Any]:
            call = of_kind(*path, **codecs)

            def bearing_call(*request: Any, metadata: Any = None, **options: Any) -> Any:
                shown = tuple(metadata or ())
                if "authorization" not in dict(shown):
                    shown = (*shown, ("authorization", f"Bearer {token_of(self._token)}"))
                return call(*request, metadata=shown, **options)

            return bearing_call

        return method


def bearing(channel: grpc.aio.Channel, token: Token) -> grpc.aio.Channel:
    """`channel`, showing `token` with every call that shows none of its own."""
    return cast(grpc.aio.Channel, _Bearing(channel, token))


class GameClient:
    """One game on a running mesh: its backend, its viewers, and browsers that send.

    Whoever calls through `edge` is a producer, who may act for anybody; through `mesh`, an owner.
    """

    def __init__(self, edge: grpc.aio.Channel, mesh: grpc.aio.Channel, game_id: str) -> None:
        self.game_id = game_id
        self.edge = edge
        self._bare_edge = edge.bare if isinstance(edge, _Bearing) else edge
        self.mesh = mesh
        self.backend = Backend(mesh)
        self.gateway: Any = GatewayServiceStub(edge)
        self._newest = 0
        self._unanswered: set[int] = set()
        self._origin = ""

    async def add(self, **fields: Any) -> Game:
        """Adds to what the game counts, such as metrics=[...] or audience=True."""
        game = (await self.backend.get_game(self.game_id)).game
        game.MergeFrom(Game(**fields))
        for added in (*game.metrics, *game.customs):
            added.writers = added.writers or WRITERS_ACTORS  # `send` is an actor's way
        return await self.backend.define_game(game)

    async def open_poll(
        self, poll_id: str = "mvp", options: Sequence[str] = ("red", "blue"), **fields: Any
    ) -> Poll:
        return await self.backend.open_poll(
            Poll(
                game_id=self.game_id,
                poll_id=poll_id,
                question="Who?",
                options=[PollOption(option_id=o, label=o.title()) for o in options],
                **fields,
            )
        )

    async def open_board(
        self, board_id: str = "top", mode: BoardMode = BOARD_MODE_SUM, **fields: Any
    ) -> Board:
        fields = {"writers": WRITERS_ACTORS, **fields}
        return await self.backend.open_board(
            Board(game_id=self.game_id, board_id=board_id, title="Top", mode=mode, **fields)
        )

    def vote(self, actor_id: str, option: str = "red", poll_id: str = "mvp", **fields: Any) -> Event:
        return Event(
            game_id=self.game_id,
            actor_id=actor_id,
            vote=Vote(poll_id=poll_id, option_ids=[option]),
            **fields,
        )

    async def identified(self, event: Event) -> Event:
        """The event with the next identity of this client's origin."""
        if not self._origin:
            issued = await self.gateway.IssueOrigin(gateway.IssueOriginRequest(), timeout=PATIENCE_S)
            self._origin = issued.origin_id
        event.origin_id = self._origin
        self._newest += 1
        event.origin_seq = self._newest
        return event

    async def send(self, event: Event) -> list[Position]:
        """As a browser does: Send through the edge. Raises grpc.aio.AioRpcError."""
        if not event.origin_id:
            await self.identified(event)
        answer = await self.gateway.Send(gateway.SendRequest(event=event), timeout=PATIENCE_S)
        return list(answer.positions)

    async def send_until_answered(self, event: Event) -> list[Position]:
        """As `send`, again and again while the answer is UNAVAILABLE, as clients do. Waits while as many
        numbers of the origin as may be are unanswered."""
        await until(self._may_send, "the oldest event is answered")
        await self.identified(event)
        self._unanswered.add(event.origin_seq)

        async def answer() -> list[Position] | None:
            try:
                return await self.send(event)
            except grpc.aio.AioRpcError as error:
                if error.code() != grpc.StatusCode.UNAVAILABLE:
                    raise
            return None

        try:
            return await eventually(answer, "ingest answers") or []
        finally:
            self._unanswered.discard(event.origin_seq)

    def _may_send(self) -> bool:
        return self._newest + 1 - min(self._unanswered, default=self._newest) < wire_bounds.VIEWER_CREDIT

    async def topic(self, topic: str, positions: Sequence[Position] = ()) -> TopicState:
        return (await self.backend.read(self.game_id, [topic], positions)).topics[0]

    @contextlib.asynccontextmanager
    async def watching(self, *topics: str, **options: Any) -> AsyncIterator[Viewer]:
        """A viewer that is kept up to date for the body, its snapshot in."""
        # Nobody, unless a token is among the options: who watches with one is counted.
        viewer = Viewer(self._bare_edge, self.game_id, topics=topics, **options)
        snapshot = asyncio.Event()

        async def watch() -> None:
            async for message in viewer:
                if message.HasField("snapshot"):
                    snapshot.set()

        task = asyncio.create_task(watch())
        waiting = asyncio.create_task(snapshot.wait())
        try:
            await asyncio.wait({task, waiting}, return_when=asyncio.FIRST_COMPLETED, timeout=PATIENCE_S)
            if task.done():
                await task
            assert snapshot.is_set(), "no snapshot came"
            yield viewer
        finally:
            for each in (task, waiting):
                each.cancel()
            await asyncio.gather(task, waiting, return_exceptions=True)


def votes_of(state: TopicState | None) -> dict[str, int]:
    return {o.option_id: o.votes for o in state.tally.options} if state is not None else {}


@contextlib.asynccontextmanager
async def new_game(edge: str, mesh: str, *, spread: int = 1) -> AsyncIterator[GameClient]:
    """A game nobody else uses, with a pulse `cheer` (fire, clap). Addresses are those of a RunningMesh."""
    game_id = f"t-{uuid.uuid4().hex[:12]}"
    at = mesh_at(edge)
    async with open_channel(edge, own_connection=True) as edge_channel, open_channel(mesh) as mesh_channel:
        game = GameClient(bearing(edge_channel, at.producer), bearing(mesh_channel, at.owner), game_id)
        await game.backend.define_game(
            Game(
                game_id=game_id,
                title=f"Test {game_id}",
                spread=spread,
                pulses=[Pulse(pulse_id="cheer", kinds=["fire", "clap"])],
            )
        )
        yield game
