"""Guests' votes and presences are marked as such, and a poll may refuse guests; the token says who is one."""

from __future__ import annotations

import pytest

from bench._rows import Row
from grandstand.catalog.v1.catalog_pb2 import POLL_VOTERS_PLATFORM
from grandstand.event.v1.event_pb2 import PRESENCE_STATE_HERE, Event, Presence, Score, Vote
from grandstand.wire.errors import Forbidden, GrandstandError, Invalid
from mesh.auth import Identity
from mesh.catalog.view import CatalogView
from tests.support import blocks
from tests.support.blocks import GAME, NOW_S, origin
from tests.support.intake import IntakeRig, Listener, bearer

GUEST = Identity("guest-1", False, None, NOW_S + 60, guest=True)
REFUSED = "poll 'ours' takes no votes of guests \\(voters: platform\\); sign in with the platform"


def catalog() -> CatalogView:
    view = CatalogView()
    view.put(f"game.{GAME}", 1, blocks.game(audience=True).SerializeToString())
    for at, poll in enumerate(
        (blocks.poll(weight_max=5), blocks.poll("ours", voters=POLL_VOTERS_PLATFORM)), start=2
    ):
        view.put(f"poll.{GAME}.{poll.poll_id}", at, poll.SerializeToString())
    view.put(f"board.{GAME}.top", 4, blocks.board(1).SerializeToString())
    return view


def vote(seq: int, poll_id: str = "mvp", weight: int = 0, **fields: object) -> Event:
    return Event(
        game_id=GAME,
        origin_seq=seq,
        vote=Vote(poll_id=poll_id, option_ids=["a"], weight=weight),
        **fields,  # type: ignore[arg-type]
    )


def relayed(event: Event, number: int) -> Event:
    """As a gateway relays it."""
    event.origin_id, event.actor_id = origin(number), event.actor_id or f"guest-{number}"
    return event


def taken(identity: Identity, *events: Event) -> tuple[list[Row], list[GrandstandError]]:
    rig, listener = IntakeRig(catalog()), Listener()
    listener.open(identity, actor_id=identity.actor_id, producer=identity.producer)
    rig.take(listener, *events)
    return rig.rows(), [error for _, _, error, _ in listener.told]


def test_a_guests_own_stream_marks_its_votes_and_nobody_elses_does() -> None:
    for identity in (GUEST, bearer("ann")):
        # The first is validated, the second found by its bytes. What the event itself says is not believed.
        rows, refused = taken(identity, vote(1), vote(2, guest=not identity.guest))
        assert refused == []
        assert [row.guest for row in rows] == [identity.guest] * 2


def test_a_gateway_says_of_each_event_that_it_relays_whether_a_guest_acts() -> None:
    here = Event(
        game_id=GAME, origin_seq=1, guest=True, presence=Presence(state=PRESENCE_STATE_HERE, source=7)
    )
    score = Event(game_id=GAME, origin_seq=1, guest=True, score=Score(board_id="top", points=5))
    rows, refused = taken(
        bearer("", producer=True),
        relayed(vote(1, guest=True), 1),
        relayed(vote(1), 2),
        relayed(vote(1, guest=True), 3),
        relayed(here, 4),
        relayed(score, 5),
    )
    assert refused == []
    told = {row.actor_id: row.guest for row in rows}
    assert told == {"guest-1": True, "guest-2": False, "guest-3": True, "guest-4": True, "guest-5": False}


def test_a_block_has_guests_votes_in_a_section_of_their_own() -> None:
    rig, gateway = IntakeRig(catalog()), Listener()
    gateway.open(producer=True)
    rig.take(gateway, *(relayed(vote(1, guest=n % 2 == 0), n) for n in range(1, 6)))
    (batch,) = rig.batches()
    sections = batch.encode(NOW_S * 10**9).events.sections
    assert [(s.topic, s.guests, s.rows) for s in sections] == [("poll/mvp", False, 3), ("poll/mvp", True, 2)]


@pytest.mark.parametrize("through_a_gateway", [False, True])
def test_a_poll_of_the_platforms_players_refuses_guests_and_no_player(through_a_gateway: bool) -> None:
    players, guests = [vote(1, "ours"), vote(2, "ours")], [vote(1, "ours"), vote(2, "ours")]
    if through_a_gateway:
        gateway = bearer("", producer=True)
        rows, refused = taken(
            gateway, *(relayed(each, n) for n, each in enumerate(players)), *map(_of_guest, guests)
        )
    else:
        rows, _ = taken(bearer("ann"), *players)
        none, refused = taken(GUEST, *guests)
        assert none == []
    assert [row.guest for row in rows] == [False, False]
    for error in refused:
        with pytest.raises(Forbidden, match=REFUSED):
            raise error
    assert len(refused) == 2


def _of_guest(event: Event) -> Event:
    event.guest = True
    return relayed(event, 7)


def test_a_guests_vote_weighs_one_whoever_relays_it() -> None:
    _, (error,) = taken(bearer("", producer=True), relayed(vote(1, weight=5, guest=True), 1))
    with pytest.raises(Invalid, match="more than 1 is for producers only"):
        raise error
