"""Games that end, are deleted and return, on a running mesh, while others still send to them."""

from __future__ import annotations

import asyncio
import json

import grpc
import pytest

from grandstand.catalog.v1.catalog_pb2 import STAGE_SEALED, Game, Pulse
from grandstand.client import ClientError
from grandstand.event.v1.event_pb2 import Event, Reaction
from tests.support.commands import failed, succeeded
from tests.support.games import GameClient, eventually, new_game, run, until, votes_of
from tests.support.mesh_fixture import RunningMesh

ENDED = (grpc.StatusCode.FAILED_PRECONDITION, grpc.StatusCode.NOT_FOUND)


class Crowd:
    """Votes and reacts, each time as somebody else, until it is refused for good."""

    def __init__(self, game: GameClient) -> None:
        self._game = game
        self.acked = {"vote": 0, "reaction": 0}
        self.refused: list[str] = []
        self._numbers = iter(range(1_000_000))

    async def act(self, kind: str) -> None:
        game = self._game
        while True:
            actor = f"{kind}{next(self._numbers)}"
            event = game.vote(actor)
            if kind == "reaction":
                event = Event(game_id=game.game_id, actor_id=actor)
                event.reaction.CopyFrom(Reaction(pulse_id="cheer", kind="clap"))
            try:
                positions = await game.send_until_answered(event)
            except grpc.aio.AioRpcError as error:
                if error.code() != grpc.StatusCode.FAILED_PRECONDITION:
                    raise
                self.refused.append(error.details() or "")
                return
            self.acked[kind] += bool(positions)  # else it was shed


async def counts_of(game: GameClient) -> dict[str, int] | None:
    """What the sealed game counts; None before."""
    topics = {each.topic: each for each in (await game.backend.read(game.game_id)).topics}
    if {each.stage for each in topics.values()} != {STAGE_SEALED}:
        return None
    (clapped,) = (k.total for k in topics["pulse/cheer"].pulse.kinds if k.kind == "clap")
    return {"vote": sum(votes_of(topics["poll/mvp"]).values()), "reaction": clapped}


def test_a_game_that_ends_under_load_counts_all_that_was_acked(mesh: RunningMesh) -> None:
    """Its owner ends it twice, a worker is killed meanwhile, and who taps the game sees it to its end."""

    async def scenario() -> None:
        async with new_game(mesh.edge, mesh.mesh, spread=4) as game:
            await game.open_poll()
            crowd = Crowd(game)
            tapping = asyncio.create_task(
                asyncio.to_thread(succeeded, mesh.home, "tap", game.game_id, "poll/*")
            )
            acting = [asyncio.create_task(crowd.act(kind)) for kind in ("vote", "reaction") for _ in range(6)]
            await until(lambda: min(crowd.acked.values()) > 20, "the crowd is busy")
            ended = await game.backend.end_game(game.game_id)
            killed = mesh.kill("aggregate-1")
            await asyncio.gather(*acting)
            for said in crowd.refused:
                assert f"'{game.game_id}' ended at " in said or "closed at " in said
            await asyncio.to_thread(mesh.wait_restarted, "aggregate-1", killed)
            assert (await game.backend.end_game(game.game_id)).ended_at == ended.ended_at, "as the first time"
            with pytest.raises(ClientError, match="its id is free once it is forgotten, 25 h after its end"):
                await game.open_poll("later")
            counts = await eventually(lambda: counts_of(game), "all of it is sealed")
            assert counts == crowd.acked, "no more, and no less"
            lines = [json.loads(line) for line in (await tapping).splitlines()]
            polls = [line for line in lines if line["topic"] == "poll/mvp"]
            assert {line["kind"] for line in polls} == {"full", "delta"}
            final = polls[-1]["state"]
            assert sum(int(each.get("votes", 0)) for each in final["tally"]["options"]) == counts["vote"]
            assert final["stage"] == "STAGE_SEALED"
            assert lines[-1]["kind"] == "game_ended"

    run(scenario())


def test_a_game_that_was_deleted_returns_while_an_old_client_sends(mesh: RunningMesh) -> None:
    async def scenario() -> None:
        async with new_game(mesh.edge, mesh.mesh) as game:
            await game.open_poll()
            first = (await game.backend.get_game(game.game_id)).game
            # It means the poll of the old game, and has no say in it any more.
            old = await game.identified(game.vote("ann", poll_id="mvp"))
            out = await asyncio.to_thread(succeeded, mesh.home, "game", "delete", game.game_id)
            assert "its id may be used again" in out
            with pytest.raises(grpc.aio.AioRpcError) as refused:
                await game.send(old)
            assert refused.value.code() in ENDED
            await game.backend.define_game(
                Game(game_id=game.game_id, title="Again", pulses=[Pulse(pulse_id="cheer", kinds=["fire"])])
            )
            again = (await game.backend.get_game(game.game_id)).game
            assert again.generation > first.generation
            await game.open_poll(options=("green", "blue"))
            positions = await game.send(game.vote("ann", "green"))
            state = await game.topic("poll/mvp", positions)
            assert votes_of(state) == {"green": 1, "blue": 0}
            counted = await asyncio.to_thread(failed, mesh.home, "game", "delete", game.game_id)
            assert "something was counted in poll/mvp" in counted
            assert "EndGame" in counted

    run(scenario())
