"""`explain` on a whole mesh: what became of an actor's events, told to a person and to programs."""

from __future__ import annotations

import asyncio
import json
import time
from typing import Any

import grpc
import pytest

from grandstand.client import Publisher, Shed, open_channel
from grandstand.event.v1.event_pb2 import Event, Reaction, Score
from grandstand.support.v1.support_pb2 import ExplainRequest, ExplainResponse
from grandstand.support.v1.support_pb2_grpc import SupportServiceStub
from mesh.explain.explaining import Explainer
from mesh.explain.question import ExplainQuestion
from mesh.jetstream.bus import Bus
from mesh.redis.database import connect
from mesh.redis.results import ResultStore
from tests.support.games import new_game, run, until
from tests.support.mesh_fixture import RunningMesh
from toolbox.cli.audit import audit_board, audit_poll
from toolbox.cli.explain import explain
from toolbox.local.store_users import OPERATOR

ANN = "auth0|ann@example.org"


async def explained(mesh: RunningMesh, question: ExplainQuestion) -> ExplainResponse:
    """As the command does it, with the operator's rights."""
    at = mesh.stores(OPERATOR)
    bus, database = await Bus.connect(at.nats, "test"), connect(at.redis)
    try:
        give_up_s = asyncio.get_running_loop().time() + 30
        return await Explainer(bus, ResultStore(database)).explain(question, give_up_s)
    finally:
        await database.aclose()
        await bus.close()


async def asked(mesh: RunningMesh, token: str, **fields: Any) -> ExplainResponse:
    """As support staff does it."""
    async with open_channel(mesh.mesh) as channel:
        call = SupportServiceStub(channel).Explain
        metadata = (("authorization", f"Bearer {token}"),)
        response: ExplainResponse = await call(ExplainRequest(**fields), metadata=metadata, timeout=10)
        return response


def kinds_of(told: ExplainResponse) -> list[str]:
    return [step.kind for step in told.steps]


def test_the_stories_of_votes_that_are_counted_resent_and_refused(mesh: RunningMesh) -> None:
    async def scenario() -> None:
        async with new_game(mesh.edge, mesh.mesh) as game:
            await game.open_poll()
            vote = await game.identified(game.vote(ANN, "blue"))
            (first,) = await game.send(vote)
            (again,) = await game.send(vote)
            await game.topic("poll/mvp", [again])
            with pytest.raises(grpc.aio.AioRpcError, match="already voted"):
                await game.send(game.vote(ANN, "red"))
            told = await explained(mesh, ExplainQuestion(game.game_id, ANN, "poll/mvp"))
            assert told.summary.startswith(f"It counts: vote for blue in poll/mvp of {ANN}"), told
            about = {}
            for step in told.steps:
                about.setdefault(step.kind, step)
            assert about["counted"].position == about["stored"].position == first
            assert about["counted"].origin_id == vote.origin_id
            assert about["received"].ingest.startswith("ingest-")
            assert about["resent"].position == again
            assert f"stored at {first.sequence}" in about["resent"].text
            assert "already voted" in about["refused"].text
            assert about["topic_opened"].at.ToNanoseconds() <= about["received"].at.ToNanoseconds()
            assert {"folded", "asked"} <= about.keys()

            one = ExplainQuestion(game.game_id, ANN, origin_id=vote.origin_id, origin_seq=vote.origin_seq)
            fields = {"origin_id": one.origin_id, "origin_seq": one.origin_seq}
            by_rpc = await asked(mesh, mesh.operator(), game_id=game.game_id, actor_id=ANN, **fields)
            assert by_rpc.summary == told.summary
            line = f"explained actor {ANN!r} in game {game.game_id} by tests (operator) from "
            assert line in mesh.log("aggregate-1")
            assert "refused" not in kinds_of(by_rpc)

            closed = await game.backend.close_poll(game.game_id, "mvp")
            await until(lambda: time.time() > closed.closes_at.ToNanoseconds() / 1e9, "the poll closes")
            with pytest.raises(grpc.aio.AioRpcError, match="closed"):
                await game.send(game.vote("bob", "red"))
            told = await explained(mesh, ExplainQuestion(game.game_id, "bob", "poll/mvp"))
            assert told.summary.startswith("It was refused by ingest-")
            assert "closed" in told.summary

            told = await explained(mesh, ExplainQuestion(game.game_id, "nobody"))
            assert "was ever stored" in told.summary

            foreign = game.vote("cleo", "red")
            foreign.origin_id, foreign.origin_seq = f"v{'0' * 32}", 1
            with pytest.raises(grpc.aio.AioRpcError, match="go on with the new one"):
                await game.send(foreign)
            told = await explained(mesh, ExplainQuestion(game.game_id, "cleo", "poll/mvp"))
            assert told.summary.startswith("It was refused by gateway-"), "no ingest saw it"
            (about,) = [step for step in told.steps if step.kind == "refused"]
            assert (about.topic, about.origin_id, about.origin_seq) == ("poll/mvp", foreign.origin_id, 1)

    run(scenario())


def test_the_stories_of_a_replaced_and_a_voided_vote_and_of_reactions_that_were_shed(
    mesh: RunningMesh,
) -> None:
    async def scenario() -> None:
        async with new_game(mesh.edge, mesh.mesh) as game:
            await game.open_poll(changeable=True)
            await game.send(game.vote(ANN, "blue"))
            (second,) = await game.send(game.vote(ANN, "red"))
            await game.topic("poll/mvp", [second])
            told = await explained(mesh, ExplainQuestion(game.game_id, ANN))
            replaced = next(step for step in told.steps if step.kind == "replaced")
            assert "vote for blue" in replaced.text
            assert str(second.sequence) in replaced.text
            assert told.summary.startswith("It counts: vote for red")
            await game.backend.void_votes(game.game_id, "mvp", ANN)
            told = await explained(mesh, ExplainQuestion(game.game_id, ANN))
            assert told.summary.startswith("It counted and counts no more: the actor's votes were voided")

            cheer = Reaction(pulse_id="cheer", kind="fire", count=100)
            async with Publisher(game.edge, actor_id="bob") as publisher:
                sends = (publisher.send(Event(game_id=game.game_id, reaction=cheer)) for _ in range(9))
                outcomes = await asyncio.gather(*sends, return_exceptions=True)
            assert any(isinstance(outcome, Shed) for outcome in outcomes)
            told = await explained(mesh, ExplainQuestion(game.game_id, "bob", "pulse/cheer"))
            assert {"counted", "shed"} <= set(kinds_of(told))

    run(scenario())


def test_an_audit_finds_what_is_shown_in_the_stream(
    mesh: RunningMesh, capsys: pytest.CaptureFixture[str]
) -> None:
    async def scenario() -> None:
        async with new_game(mesh.edge, mesh.mesh, spread=3) as game:
            await game.open_poll()
            await game.open_board()
            for actor in ("ann", "bob", ANN):
                await game.send(game.vote(actor))
                score = Score(board_id="top", points=3)
                positions = await game.send(Event(game_id=game.game_id, actor_id=actor, score=score))
            await game.topic("board/top", positions)
            await asyncio.to_thread(audit_poll, "mvp", game.game_id, mesh.home, as_json=True)
            await asyncio.to_thread(audit_board, "top", game.game_id, mesh.home, as_json=True)
            polls, boards = map(json.loads, capsys.readouterr().out.splitlines())
            assert polls["same"] is boards["same"] is True
            assert len(polls["partitions"]) == 3
            await asyncio.to_thread(explain, ANN, game.game_id, home=mesh.home, topic="poll/mvp")
            out = capsys.readouterr().out
            assert f"It counts: vote for red in poll/mvp of {ANN}" in out
            assert "edge: the edge itself refused " in out

    run(scenario())


def test_only_an_operator_of_the_game_is_told(mesh: RunningMesh) -> None:
    async def scenario() -> None:
        for token, code in ((mesh.owner(), "PERMISSION_DENIED"), ("", "UNAUTHENTICATED")):
            with pytest.raises(grpc.aio.AioRpcError) as refused:
                await asked(mesh, token, game_id="g", actor_id="ann")
            assert refused.value.code().name == code
        with pytest.raises(grpc.aio.AioRpcError, match="give both or none"):
            await asked(mesh, mesh.operator(), game_id="g", actor_id="ann", origin_id=f"v{'0' * 32}")

    run(scenario())
