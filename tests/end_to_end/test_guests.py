"""What a guest does on a running mesh: told apart in results, refused where a poll is the platform's."""

from __future__ import annotations

import grpc
import pytest

from grandstand.catalog.v1.catalog_pb2 import POLL_VOTERS_PLATFORM
from grandstand.event.v1.event_pb2 import PRESENCE_STATE_HERE, Event, Position, Presence
from grandstand.gateway.v1.gateway_pb2 import IssueGuestRequest, IssueOriginRequest, SendRequest
from tests.support.games import GameClient, new_game, run
from tests.support.mesh_fixture import RunningMesh


def test_guests_votes_are_told_apart_and_a_poll_may_refuse_them(mesh: RunningMesh) -> None:
    async def scenario() -> None:
        async with new_game(mesh.edge, mesh.mesh) as game:
            await game.add(audience=True)
            await game.open_poll()
            await game.open_poll("ours", voters=POLL_VOTERS_PLATFORM)
            guest = await game.gateway.IssueGuest(IssueGuestRequest(), metadata=())

            async def sent(event: Event, token: str) -> list[Position]:
                event.actor_id = ""
                shown = (("authorization", f"Bearer {token}"),)
                issued = await game.gateway.IssueOrigin(IssueOriginRequest(), metadata=shown)
                event.origin_id, event.origin_seq = issued.origin_id, 1
                return list((await game.gateway.Send(SendRequest(event=event), metadata=shown)).positions)

            async def refused(event: Event, why: str) -> None:
                with pytest.raises(grpc.aio.AioRpcError, match=why) as told:
                    await sent(event, guest.token)
                assert told.value.code() is grpc.StatusCode.PERMISSION_DENIED

            positions = await sent(game.vote("", "red"), guest.token)
            positions += await sent(game.vote("", "red"), mesh.viewer("ann"))
            assert await counts(game, "poll/mvp", positions) == ([(2, 1), (0, 0)], 2, 1)
            await refused(game.vote("", "red", "ours"), "poll 'ours' takes no votes of guests")
            positions = await sent(game.vote("", "red", "ours"), mesh.viewer("ann"))
            assert await counts(game, "poll/ours", positions) == ([(1, 0), (0, 0)], 1, 0)
            here = Event(game_id=game.game_id, presence=Presence(state=PRESENCE_STATE_HERE))
            await refused(here, "event.presence: is not taken here")

    run(scenario())


async def counts(
    game: GameClient, topic: str, positions: list[Position]
) -> tuple[list[tuple[int, int]], int, int]:
    """Votes and guests' votes of each option; voters, and the guests among them."""
    tally = (await game.topic(topic, positions)).tally
    return [(o.votes, o.guest_votes) for o in tally.options], tally.voters, tally.guest_voters
