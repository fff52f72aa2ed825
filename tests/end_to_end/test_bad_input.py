"""Bad input gets its code and a message that names the value and the bound; nothing else is disturbed.

Through real Envoy, by both ways in: a browser's unary Send and a native Publish stream. After
each, a vote by somebody else still counts.
"""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import Callable
from typing import Any

import grpc.aio
import pytest

from grandstand.catalog.v1.catalog_pb2 import BOARD_MODE_BEST, Board, Game, Metric, Poll, PollOption, Pulse
from grandstand.client import ClientError
from grandstand.event.v1.event_pb2 import Custom, Event, Measure, Vote
from grandstand.gateway.v1 import gateway_pb2 as gateway
from grandstand.ingest.v1.ingest_pb2 import EventBatch, Hello, PublishRequest, PublishResponse
from grandstand.ingest.v1.ingest_pb2_grpc import IngestServiceStub
from grandstand.wire import bounds as wire_bounds
from tests.support.games import GameClient, new_game, run, until
from tests.support.mesh_fixture import RunningMesh

Code = grpc.StatusCode

BAD_EVENTS: dict[str, tuple[Callable[[GameClient], Event], grpc.StatusCode, str]] = {
    "unknown game": (
        lambda game: Event(game_id="nowhere", actor_id="ann", vote=Vote(poll_id="mvp", option_ids=["red"])),
        Code.NOT_FOUND,
        "game 'nowhere' is not known",
    ),
    "unknown poll": (
        lambda game: game.vote("ann", poll_id="nope"),
        Code.NOT_FOUND,
        "poll 'nope' is not known",
    ),
    "unknown option": (
        lambda game: game.vote("ann", "green"),
        Code.NOT_FOUND,
        "'green' is not an option of poll 'mvp'; there are red, blue",
    ),
    "over-long id": (
        lambda game: game.vote("ann", poll_id="p" * 65),
        Code.INVALID_ARGUMENT,
        "has 65 characters; at most 64 are allowed",
    ),
    "control characters": (
        lambda game: game.vote("ann", poll_id="a\x1b[31m"),
        Code.INVALID_ARGUMENT,
        r"has the character '\x1b'",
    ),
    "a closed poll": (
        lambda game: game.vote("ann", poll_id="closed"),
        Code.FAILED_PRECONDITION,
        "poll 'closed' of game",
    ),
    "a second vote": (
        lambda game: game.vote("early"),
        Code.ALREADY_EXISTS,
        "actor 'early' has already voted in poll 'mvp'",
    ),
    "more options than the poll allows": (
        lambda game: Event(
            game_id=game.game_id, actor_id="ann", vote=Vote(poll_id="mvp", option_ids=["red", "blue"])
        ),
        Code.INVALID_ARGUMENT,
        "vote.option_ids: 2 options; exactly 1 is allowed",
    ),
    "a measure that is no number": (
        lambda game: Event(
            game_id=game.game_id, actor_id="ann", measure=Measure(metric_id="delay", value=float("nan"))
        ),
        Code.INVALID_ARGUMENT,
        "measure.value: nan is out of range",
    ),
    "an unknown metric": (
        lambda game: Event(game_id=game.game_id, actor_id="ann", measure=Measure(metric_id="x", value=1.0)),
        Code.NOT_FOUND,
        "measure.metric_id: 'x' is not a metric of game",
    ),
    "an unknown custom topic": (
        lambda game: Event(game_id=game.game_id, actor_id="ann", custom=Custom(custom_id="x")),
        Code.NOT_FOUND,
        "custom.custom_id: 'x' is not a custom topic of game",
    ),
    "no body": (
        lambda game: Event(game_id=game.game_id, actor_id="ann"),
        Code.INVALID_ARGUMENT,
        "event.body: is not set",
    ),
}


async def prepared(game: GameClient) -> None:
    """Poll `mvp` with one vote, of `early`; poll `closed`, closed; metric `delay`."""
    await game.open_poll()
    await game.add(metrics=[Metric(metric_id="delay")])
    await game.open_poll("closed")
    closing = await game.backend.close_poll(game.game_id, "closed")
    await game.send(game.vote("early"))
    at_s = closing.closes_at.ToNanoseconds() / 1e9
    await until(lambda: time.time() > at_s, "the poll's close has passed")


async def assert_undisturbed(game: GameClient, voters: int = 2) -> None:
    positions = await game.send(game.vote("somebody-else", "blue"))
    assert (await game.topic("poll/mvp", positions)).tally.voters == voters


@pytest.mark.parametrize("case", BAD_EVENTS)
def test_send_refuses(mesh: RunningMesh, case: str) -> None:
    make, code, message = BAD_EVENTS[case]

    async def scenario() -> None:
        async with new_game(mesh.edge, mesh.mesh) as game:
            await prepared(game)
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await game.send(make(game))
            assert caught.value.code() == code
            assert message in str(caught.value.details())
            await assert_undisturbed(game)

    run(scenario())


class Conversation:
    """A raw Publish stream: says what it is told, keeps what it hears."""

    def __init__(self, game: GameClient, **hello: Any) -> None:
        self._call = IngestServiceStub(game.edge).Publish()
        self._hello = Hello(**({"actor_id": "ann"} | hello))

    async def __aenter__(self) -> Conversation:
        await self.say(PublishRequest(hello=self._hello))
        assert (await self.hear()).HasField("welcome")
        return self

    async def __aexit__(self, *_: object) -> None:
        self._call.cancel()

    async def say(self, request: PublishRequest) -> None:
        await self._call.write(request)

    async def events(self, *events: Event, first: int = 1) -> None:
        for number, event in enumerate(events, start=first):
            event.origin_seq = event.origin_seq or number
        await self.say(PublishRequest(events=EventBatch(events=events)))

    async def hear(self) -> PublishResponse:
        response = await self._call.read()
        assert response is not grpc.aio.EOF, "the stream ended"
        return response

    async def done_writing(self) -> None:
        await self._call.done_writing()

    async def ending(self) -> tuple[grpc.StatusCode, str]:
        """Hears the rest; how the stream ended."""
        try:
            while await self._call.read() is not grpc.aio.EOF:
                pass
        except grpc.aio.AioRpcError:
            pass
        return await self._call.code(), await self._call.details() or ""


@pytest.mark.parametrize("case", BAD_EVENTS)
def test_publish_rejects_the_event_alone_and_acks_the_others(mesh: RunningMesh, case: str) -> None:
    make, code, message = BAD_EVENTS[case]

    async def scenario() -> None:
        async with new_game(mesh.edge, mesh.mesh) as game:
            await prepared(game)
            bad = make(game)
            async with Conversation(game, actor_id="", producer=True) as stream:
                await stream.events(game.vote("bea", "red"), bad, game.vote("cid", "red"))
                # The catalog may be asked first: what came before it may be acked meanwhile, not it itself.
                while not (reject := await stream.hear()).HasField("reject"):
                    assert reject.ack.origin_seq == 1
                assert (reject.reject.origin_seq, reject.reject.code) == (2, code.value[0])
                assert message in reject.reject.message
                assert not reject.reject.retryable
                acked = 0
                while acked < 3:
                    acked = (await stream.hear()).ack.origin_seq
                await stream.done_writing()
                assert (await stream.ending())[0] == Code.OK
            await assert_undisturbed(game, voters=4)

    run(scenario())


def test_a_weight_is_a_producers_and_never_comes_through_the_gateway(mesh: RunningMesh) -> None:
    async def scenario() -> None:
        async with new_game(mesh.edge, mesh.mesh) as game:
            await game.open_poll("heavy", weight_max=5)
            vote = Vote(poll_id="heavy", option_ids=["red"], weight=2)
            with pytest.raises(grpc.aio.AioRpcError, match=r"event\.vote\.weight: is 2; at most 1") as caught:
                await game.send(Event(game_id=game.game_id, actor_id="ann", vote=vote))
            assert caught.value.code() == Code.INVALID_ARGUMENT
            async with Conversation(game) as stream:
                await stream.events(Event(game_id=game.game_id, vote=vote))
                reject = (await stream.hear()).reject
                assert "vote.weight: is 2; more than 1 is for producers only" in reject.message
            async with Conversation(game, actor_id="", producer=True) as stream:
                await stream.events(Event(game_id=game.game_id, actor_id="ann", vote=vote))
                positions = (await stream.hear()).ack.positions
            (red, _) = (await game.topic("poll/heavy", positions)).tally.options
            assert (red.votes, red.weight) == (1, 2)

    run(scenario())


BAD_STREAMS: dict[str, tuple[PublishRequest, str]] = {
    "an empty batch": (
        PublishRequest(events=EventBatch()),
        f"a batch of 0; 1 to {wire_bounds.BATCH_EVENTS_MAX} events are allowed",
    ),
    "too many events": (
        PublishRequest(events=EventBatch(events=[Event(origin_seq=n) for n in range(1, 1_002)])),
        f"a batch of 1001; 1 to {wire_bounds.BATCH_EVENTS_MAX}",
    ),
    "a number that jumps": (
        PublishRequest(events=EventBatch(events=[Event(origin_seq=9)])),
        "origin_seq: 9 after 1; 2 expected",
    ),
    "a number that comes twice": (
        PublishRequest(events=EventBatch(events=[Event(origin_seq=1)])),
        "origin_seq: 1 after 1; 2 expected",
    ),
    "a second hello": (PublishRequest(hello=Hello(actor_id="ann")), "a second hello"),
    "nothing at all": (PublishRequest(), "events or heartbeat expected, got none of them in 0 bytes"),
}


@pytest.mark.parametrize("case", BAD_STREAMS)
def test_a_message_out_of_turn_ends_its_stream_after_what_came_before_is_acked(
    mesh: RunningMesh, case: str
) -> None:
    request, message = BAD_STREAMS[case]

    async def scenario() -> None:
        async with new_game(mesh.edge, mesh.mesh) as game:
            await game.open_poll()
            async with Conversation(game) as stream:
                await stream.events(game.vote("ann", "red"))
                await stream.say(request)
                assert (await stream.hear()).ack.origin_seq == 1
                code, details = await stream.ending()
            assert code == Code.INVALID_ARGUMENT
            assert message in details
            await assert_undisturbed(game)

    run(scenario())


def test_a_message_of_5_mb_is_refused_by_size_and_nothing_acked_is_lost(mesh: RunningMesh) -> None:
    async def scenario() -> None:
        async with new_game(mesh.edge, mesh.mesh) as game:
            await game.open_poll()
            huge = game.vote("ann", "x" * 5_000_000)
            async with Conversation(game) as stream:
                await stream.events(game.vote("ann", "red"))
                assert (await stream.hear()).ack.origin_seq == 1
                await stream.events(huge, first=2)
                code, details = await stream.ending()
            assert code == Code.RESOURCE_EXHAUSTED
            assert str(wire_bounds.INGEST_MESSAGE_BYTES_MAX) in details
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await game.send(game.vote("bob", "x" * 5_000_000))
            assert caught.value.code() == Code.RESOURCE_EXHAUSTED
            assert str(wire_bounds.GATEWAY_MESSAGE_BYTES_MAX) in str(caught.value.details())
            await assert_undisturbed(game)

    run(scenario())


def test_a_stream_that_ends_half_way_keeps_what_it_accepted(mesh: RunningMesh) -> None:
    async def scenario() -> None:
        async with new_game(mesh.edge, mesh.mesh) as game:
            await game.open_poll()
            async with game.watching("poll/mvp") as viewer:
                async with Conversation(game) as stream:
                    await stream.events(game.vote("ann", "red"))
                    assert (await stream.hear()).ack.origin_seq == 1
                    # cut off in the middle of the next one: no half-close, no goodbye
                await until(lambda: viewer.states["poll/mvp"].tally.voters == 1, "the acked vote is seen")
            await assert_undisturbed(game)

    run(scenario())


def test_an_origin_that_ignores_its_credit_is_stopped(mesh: RunningMesh) -> None:
    async def scenario() -> None:
        async with new_game(mesh.edge, mesh.mesh) as game:
            await game.open_board()
            async with Conversation(game) as stream:
                score = Event(game_id=game.game_id)
                score.score.board_id = "top"
                batch = [Event() for _ in range(wire_bounds.VIEWER_CREDIT + 1)]
                for event in batch:
                    event.CopyFrom(score)
                await stream.events(*batch)
                code, details = await stream.ending()
            assert code == Code.RESOURCE_EXHAUSTED
            assert f"at most {wire_bounds.VIEWER_CREDIT} may be unacked" in details

    run(scenario())


@pytest.mark.parametrize(
    ("request_", "code", "message"),
    [
        (gateway.SubscribeRequest(game_id="nowhere"), Code.NOT_FOUND, "game 'nowhere' is not known"),
        (gateway.SubscribeRequest(), Code.INVALID_ARGUMENT, "game_id: is empty"),
        (
            gateway.SubscribeRequest(game_id="g", topics=["polls"]),
            Code.INVALID_ARGUMENT,
            "topic: 'polls' is none of",
        ),
        (gateway.SubscribeRequest(game_id="g", topics=["po*"]), Code.INVALID_ARGUMENT, "'po*' is no pattern"),
        (
            gateway.SubscribeRequest(game_id="g", max_updates_per_s=1000),
            Code.INVALID_ARGUMENT,
            "max_updates_per_s: is 1000; 1 to 20 are allowed",
        ),
        (
            gateway.SubscribeRequest(game_id="g", positions=[{"partition": 99}]),
            Code.INVALID_ARGUMENT,
            "positions.partition: is 99; 0 to 15 are allowed",
        ),
        (
            gateway.SubscribeRequest(game_id="g", topics=[f"poll/{n}" for n in range(33)]),
            Code.INVALID_ARGUMENT,
            "33 topics; at most 32 are allowed",
        ),
    ],
    ids=lambda value: value[:30] if isinstance(value, str) else None,
)
def test_subscribe_refuses(
    mesh: RunningMesh, request_: gateway.SubscribeRequest, code: grpc.StatusCode, message: str
) -> None:
    async def scenario() -> None:
        async with new_game(mesh.edge, mesh.mesh) as game:
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await game.gateway.Subscribe(request_).read()
            assert caught.value.code() == code
            assert message in str(caught.value.details())

    run(scenario())


def options(*ids: str) -> list[PollOption]:
    return [PollOption(option_id=option_id, label=option_id or "x") for option_id in ids]


@pytest.mark.parametrize(
    ("poll", "message"),
    [
        ({"poll_id": ""}, "poll.poll_id: is empty"),
        ({"poll_id": "a/b"}, "poll.poll_id: 'a/b' has the character '/'"),
        ({"question": ""}, "poll.question: is empty"),
        ({"question": "q" * 201}, "201 characters; at most 200 are allowed"),
        ({"options": options("a")}, "poll.options: 1 options; 2 to 64 are allowed"),
        ({"options": options("a", "b", "a")}, "poll.options.option_id: 'a' comes twice"),
        ({"options": options("a", "b c")}, "poll.options[1].option_id: 'b c' has the character ' '"),
        ({"open_for": {"seconds": 0}}, "poll.open_for: is 0 s; 1 to 86400 s are allowed"),
        ({"choices_max": 3}, "poll.choices_max: is 3; at most 2 are allowed"),
        ({"weight_max": 1_001}, "poll.weight_max: is 1001; at most 1000 is allowed"),
    ],
    ids=lambda value: value[:30] if isinstance(value, str) else None,
)
def test_a_bad_poll_is_refused_with_its_field(mesh: RunningMesh, poll: dict[str, Any], message: str) -> None:
    async def scenario() -> None:
        async with new_game(mesh.edge, mesh.mesh) as game:
            good = {"game_id": game.game_id, "poll_id": "p", "question": "Q?", "options": options("a", "b")}
            with pytest.raises(ClientError) as caught:
                await game.backend.open_poll(Poll(**(good | poll)))
            assert caught.value.code == Code.INVALID_ARGUMENT
            assert message in caught.value.message

    run(scenario())


def test_bad_games_and_boards_are_refused_with_their_field(mesh: RunningMesh) -> None:
    async def scenario() -> None:
        async with new_game(mesh.edge, mesh.mesh) as game:
            board = Board(game_id=game.game_id, board_id="b", title="B")
            with pytest.raises(ClientError, match=r"board\.mode: is 0; one of BOARD_MODE_BEST"):
                await game.backend.open_board(board)
            with pytest.raises(ClientError, match=r"game\.spread: is 17; 1 to 16 are allowed"):
                await game.backend.define_game(Game(game_id="g", title="G", spread=17))
            with pytest.raises(ClientError, match=r"game\.pulses\[0\]\.kinds: 0 kinds; 1 to 32"):
                await game.backend.define_game(Game(game_id="g", title="G", pulses=[Pulse(pulse_id="p")]))
            board.mode = BOARD_MODE_BEST
            board.season.every.seconds = 1
            with pytest.raises(ClientError, match=r"board\.season\.every: is 1 s; 10 s to 366 days"):
                await game.backend.open_board(board)
            with pytest.raises(ClientError, match=r"game\.pulses: 'cheer' counts in game") as caught:
                await game.backend.define_game(Game(game_id=game.game_id, title="T"))
            assert caught.value.code == Code.FAILED_PRECONDITION
            await game.open_poll()
            with pytest.raises(ClientError, match=r"game\.spread: is 1 and cannot become 4") as caught:
                await game.backend.define_game(Game(game_id=game.game_id, title="T", spread=4))
            assert caught.value.code == Code.FAILED_PRECONDITION

    run(scenario())


@pytest.mark.parametrize(
    "garbage", [b"\x00\xff" * 400, b"GET / HTTP/1.1\r\n" + b"a" * 70_000, b"PRI * HTTP/2.0\r\n\r\nXX"]
)
def test_garbage_on_the_edge_port_is_answered_and_closed_and_nobody_else_is_disturbed(
    mesh: RunningMesh, garbage: bytes
) -> None:
    async def scenario() -> None:
        async with new_game(mesh.edge, mesh.mesh) as game:
            await game.open_poll()
            await game.send(game.vote("early"))
            host, _, port = mesh.edge.rpartition(":")
            answer = await asyncio.to_thread(_speak, host, int(port), garbage)
            assert not answer or answer.startswith((b"HTTP/1.1 4", b"\x00\x00")), answer[:80]
            await assert_undisturbed(game)

    run(scenario())


def _speak(host: str, port: int, garbage: bytes) -> bytes:
    """Says `garbage`; what comes back until the other side closes."""
    answer = b""
    with socket.create_connection((host, port), timeout=10) as peer:
        try:
            peer.sendall(garbage)
            while piece := peer.recv(4096):
                answer += piece
        except ConnectionError:
            pass
    return answer
