"""The catalog with several instances: a change is applied at a stated sequence or refused, never half."""

from __future__ import annotations

import asyncio
import time
import uuid
from collections.abc import Iterator

import grpc
import pytest

from grandstand.catalog.v1 import catalog_pb2 as pb
from grandstand.catalog.v1.catalog_pb2_grpc import CatalogServiceStub
from grandstand.client import Backend, ClientError, Publisher, open_channel
from grandstand.event.v1.event_pb2 import PRESENCE_STATE_HERE, Event, Measure, Presence, Reaction, Score
from grandstand.wire import ids
from mesh import limits
from tests.support.games import GameClient, bearing, new_game, run, until
from tests.support.mesh_fixture import RunningMesh, running


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningMesh]:
    """A mesh with two aggregation workers: each call may meet another one."""
    with running(tmp_path_factory.mktemp("pair") / "home", "--aggregate", "2") as mesh:
        yield mesh


def measure(game: GameClient, metric_id: str, value: float, actor_id: str = "ann") -> Event:
    return Event(game_id=game.game_id, actor_id=actor_id, measure=Measure(metric_id=metric_id, value=value))


async def defined(game: GameClient) -> pb.Game:
    return (await game.backend.get_game(game.game_id)).game


def test_what_a_game_is_given_counts_from_the_answer_on_while_it_is_busy(pair: RunningMesh) -> None:
    async def scenario() -> None:
        async with new_game(pair.edge, pair.mesh, spread=4) as game, open_channel(pair.mesh) as channel:
            catalog = CatalogServiceStub(bearing(channel, pair.owner))
            stop = asyncio.Event()
            cheered = 0

            async def keep_cheering() -> None:
                nonlocal cheered
                while not stop.is_set():
                    cheer = Reaction(pulse_id="cheer", kind="fire")
                    actor_id = f"fan-{cheered % 50}"
                    await game.send(Event(game_id=game.game_id, actor_id=actor_id, reaction=cheer))
                    cheered += 1

            cheering = asyncio.create_task(keep_cheering())
            try:
                for number in range(8):
                    wanted = await defined(game)
                    wanted.metrics.add(metric_id=f"m{number}", unit="ms", writers=pb.WRITERS_ACTORS)
                    wanted.audience = True
                    answer = await catalog.DefineGame(pb.DefineGameRequest(game=wanted), timeout=10)
                    partitions = {position.partition for position in answer.applied_at}
                    assert partitions == set(ids.partitions_of(game.game_id, 4))
                    states = await game.backend.read(game.game_id, ["*"], answer.applied_at)
                    assert f"metric/m{number}" in {state.topic for state in states.topics}
                    event = measure(game, f"m{number}", 1.5)
                    (position,) = await game.send(event)
                    applied = {p.partition: p.sequence for p in answer.applied_at}
                    assert position.sequence > applied[position.partition]
                    assert (await game.topic(f"metric/m{number}", [position])).metric.count == 1
            finally:
                stop.set()
                await cheering
            here = Event(game_id=game.game_id, actor_id="ann", presence=Presence(state=PRESENCE_STATE_HERE))
            async with Publisher(game.edge, producer=True) as server:
                positions = (await server.send(here)).positions
            assert (await game.topic("audience", positions)).audience.uniques == 1
            last = Reaction(pulse_id="cheer", kind="clap")
            actors = [f"fan-{number}" for number in range(50)]  # every partition's last word
            ends = [
                position
                for actor_id in actors
                for position in await game.send(Event(game_id=game.game_id, actor_id=actor_id, reaction=last))
            ]
            newest: dict[int, int] = {}
            for position in ends:
                newest[position.partition] = max(position.sequence, newest.get(position.partition, 0))
            barrier = [{"partition": p, "sequence": s} for p, s in newest.items()]
            kinds = {k.kind: k.total for k in (await game.topic("pulse/cheer", barrier)).pulse.kinds}
            assert kinds == {"fire": cheered, "clap": 50}

    run(scenario())


def test_changes_at_the_same_moment_are_applied_whole_or_refused(pair: RunningMesh) -> None:
    async def scenario() -> None:
        async with new_game(pair.edge, pair.mesh, spread=2) as game:
            base = await defined(game)

            def adding(number: int) -> pb.Game:
                wanted = pb.Game()
                wanted.CopyFrom(base)
                wanted.metrics.add(metric_id=f"m{number}", writers=pb.WRITERS_ACTORS)
                return wanted

            answers = await asyncio.gather(
                *(game.backend.define_game(adding(number)) for number in range(6)), return_exceptions=True
            )
            applied = [isinstance(answer, pb.Game) for answer in answers]
            codes = {answer.code for answer in answers if isinstance(answer, ClientError)}
            assert codes == {grpc.StatusCode.FAILED_PRECONDITION}
            assert sum(applied) == 1, "all wanted what none of the others had"
            (metric,) = (await defined(game)).metrics
            assert metric.metric_id == f"m{applied.index(True)}"
            for number, was_applied in enumerate(applied):
                event = measure(game, f"m{number}", 1.0)
                if was_applied:
                    positions = await game.send(event)
                    assert (await game.topic(f"metric/m{number}", positions)).metric.count == 1
                else:
                    with pytest.raises(grpc.aio.AioRpcError, match=f"'m{number}' is not a metric"):
                        await game.send(event)

    run(scenario())


def test_the_same_definition_by_many_at_once_is_one_and_is_answered_alike(pair: RunningMesh) -> None:
    async def scenario() -> None:
        async with open_channel(pair.mesh) as channel, open_channel(pair.edge) as edge:
            channel = bearing(channel, pair.owner)
            backends = [Backend(channel) for _ in range(8)]
            wanted = pb.Game(game_id=f"t-{uuid.uuid4().hex[:12]}", title="T", audience=True)
            games = await asyncio.gather(*(b.define_game(wanted) for b in backends))
            assert all(game == games[0] for game in games)
            client = GameClient(edge, channel, wanted.game_id)
            polls = await asyncio.gather(*(client.open_poll() for _ in backends))
            assert all(poll == polls[0] for poll in polls)
            assert polls[0].stage == pb.STAGE_OPEN
            board = pb.Board(game_id=wanted.game_id, board_id="b", title="B", mode=pb.BOARD_MODE_BEST)
            board.season.every.seconds = 3_600
            boards = await asyncio.gather(*(b.open_board(board) for b in backends))
            assert all(board == boards[0] for board in boards)
            assert boards[0].season.HasField("starts_at")
            state = await client.topic("board/b")
            assert state.board.season.starts_at == boards[0].season.starts_at

    run(scenario())


def test_a_definition_says_where_it_holds_also_when_it_is_repeated(pair: RunningMesh) -> None:
    async def scenario() -> None:
        async with new_game(pair.edge, pair.mesh, spread=2) as game, open_channel(pair.mesh) as channel:
            catalog = CatalogServiceStub(bearing(channel, pair.owner))
            wanted = await defined(game)
            wanted.metrics.add(metric_id="m")
            first = await catalog.DefineGame(pb.DefineGameRequest(game=wanted), timeout=10)
            again = await catalog.DefineGame(pb.DefineGameRequest(game=wanted), timeout=10)
            assert first.game == again.game
            applied = {p.partition: p.sequence for p in first.applied_at}
            assert set(applied) == set(ids.partitions_of(game.game_id, 2))
            assert {p.partition for p in again.applied_at} == set(applied)
            assert all(p.sequence >= applied[p.partition] for p in again.applied_at)
            wanted.title = "Another"
            titled = await catalog.DefineGame(pb.DefineGameRequest(game=wanted), timeout=10)
            assert titled.game.title == "Another"

    run(scenario())


def test_a_games_spread_is_fixed_by_its_first_topic_whoever_opens_it(pair: RunningMesh) -> None:
    """Openings and changes of the spread race; a poll that opened takes votes of every actor."""

    async def scenario() -> None:
        async with open_channel(pair.mesh) as channel, open_channel(pair.edge) as edge:
            channel = bearing(channel, pair.owner)
            backend = Backend(channel)
            for _ in range(6):
                game_id = f"t-{uuid.uuid4().hex[:12]}"
                await backend.define_game(pb.Game(game_id=game_id, title="T", spread=1))
                client = GameClient(bearing(edge, pair.producer), channel, game_id)
                widening = backend.define_game(pb.Game(game_id=game_id, title="T", spread=4))
                _, widened = await asyncio.gather(client.open_poll(), widening, return_exceptions=True)
                spread = (await backend.get_game(game_id)).game.spread
                if isinstance(widened, BaseException):
                    assert isinstance(widened, ClientError)
                    assert widened.code == grpc.StatusCode.FAILED_PRECONDITION
                    assert spread == 1
                else:
                    assert spread == 4
                sent = [await client.send(client.vote(f"actor-{number}")) for number in range(12)]
                positions = {p.partition: p for each in sent for p in each}
                state = await client.topic("poll/mvp", list(positions.values()))
                assert state.tally.voters == 12

    run(scenario())


def test_what_one_instance_wrote_another_reads(pair: RunningMesh) -> None:
    """Each addition is made from what GetGame answers, so a stale answer would be refused."""

    async def scenario() -> None:
        async with new_game(pair.edge, pair.mesh) as game:
            for number in range(16):
                await game.add(metrics=[pb.Metric(metric_id=f"m{number}")])
            assert len((await defined(game)).metrics) == 16

    run(scenario())


def test_an_idle_board_starts_anew_by_itself_and_seals_the_season_before(pair: RunningMesh) -> None:
    async def scenario() -> None:
        async with new_game(pair.edge, pair.mesh, spread=2) as game:
            every_s = int(limits.SEASON_MIN_S)
            starts_at_s = int(time.time()) - every_s + 4  # the next season begins in three or four seconds
            season = pb.Season()
            season.every.seconds, season.starts_at.seconds = every_s, starts_at_s
            await game.open_board(season=season)
            async with game.watching("board/top") as viewer:
                score = Score(board_id="top", points=5)
                await game.send(Event(game_id=game.game_id, actor_id="ann", score=score))

                def shown() -> tuple[int, list[int], list[int], bool]:
                    board = viewer.states["board/top"].board
                    points = [[e.points for e in part.entries] for part in (board, board.previous)]
                    return (board.season.number, *points, board.previous.sealed)

                await until(lambda: shown() == (1, [5], [], False), "the score is seen")
                await until(lambda: shown() == (2, [], [5], False), "the board starts again")
                await until(lambda: shown() == (2, [], [5], True), "the season before is sealed")

    run(scenario())
