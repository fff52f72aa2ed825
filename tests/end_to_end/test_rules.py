"""A rule of a game fires on a running mesh, and tells the game's viewers and the actor whom it concerns."""

from __future__ import annotations

from grandstand.catalog.v1.catalog_pb2 import Game, LeadChange, RankTaken, RuleNotice, Threshold
from grandstand.client import open_channel
from grandstand.event.v1.event_pb2 import Event, Score
from grandstand.notify.v1 import notify_pb2 as pb
from grandstand.notify.v1.notify_pb2_grpc import NotifyServiceStub
from tests.support.games import bearing, new_game, run
from tests.support.mesh_fixture import RunningMesh
from tests.support.servers import eventually


def test_a_lead_that_a_vote_changed_and_a_rank_that_a_score_took_are_told(mesh: RunningMesh) -> None:
    async def scenario() -> None:
        async with (
            new_game(mesh.edge, mesh.mesh, spread=2) as game,
            open_channel(mesh.edge) as edge,
        ):
            wanted = Game()
            said = RuleNotice(title="{leader} leads {question} with {value}, not {before}")
            lead = LeadChange()
            lead.hold.FromMilliseconds(100)
            wanted.rules.add(rule_id="lead", topic="poll/*", lead_changed=lead, notice=said)
            said = RuleNotice(title="{leader} took your place {rank}")
            wanted.rules.add(rule_id="rank", topic="board/*", rank_taken=RankTaken(first=1), notice=said)
            said = RuleNotice(title="{value} votes")
            votes = Threshold(at=1, each=True)
            wanted.rules.add(rule_id="votes", topic="poll/*", threshold=votes, notice=said)
            said = RuleNotice(title="{leader} has {value} points")
            wanted.rules.add(rule_id="points", topic="board/*", threshold=Threshold(at=5), notice=said)
            await game.add(rules=wanted.rules)
            await game.open_poll()
            await game.open_board()
            own = NotifyServiceStub(bearing(edge, lambda: mesh.viewer("ann")))

            async def are_told(*titles: str) -> None:
                async def found() -> bool:
                    inbox = await own.ListInbox(pb.ListInboxRequest(game_id=game.game_id), timeout=10)
                    shown = [each.title for each in inbox.notifications]
                    assert len(shown) == len(set(shown)), "once"
                    return {*titles} <= {*shown}

                await eventually(found, f"ann finds {titles}")

            await game.send(game.vote("ann"))

            # By then all rules have looked at the poll, and seen who led first.
            await are_told("1 votes")
            for actor in ("bob", "eve"):
                await game.send(game.vote(actor, "blue"))
            await are_told("Blue leads Who? with 2, not Red", "3 votes")
            for actor, points in (("ann", 5), ("bob", 9)):
                score = Score(board_id="top", points=points)
                await game.send(Event(game_id=game.game_id, actor_id=actor, score=score))
                if actor == "ann":
                    # The same of the board.
                    await are_told("ann has 5 points")
            await are_told("bob took your place 1")

    run(scenario())
