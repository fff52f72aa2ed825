"""What may be asked of Subscribe, and what it is answered with: the value, the bound, the way out."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from gateway.overload import Tier
from gateway.subscription import check
from grandstand.event.v1.event_pb2 import Cursor, Position
from grandstand.gateway.v1.gateway_pb2 import SubscribeRequest, TopicCursor
from grandstand.internal.v1.internal_pb2 import Partial, TallyPartial
from grandstand.wire.errors import Forbidden, GrandstandError, Invalid, Unauthenticated
from mesh.auth import Games, Identity
from mesh.redis.share import Share
from mesh.results_feed.view import GameView

ANN = Identity("ann", False, None, 9e9)


def seen(topic: str, sequence: int, partition: int = 0) -> TopicCursor:
    return TopicCursor(
        topic=topic, cursor=Cursor(positions=[Position(partition=partition, sequence=sequence)])
    )


def view(applied: int, **topics: int) -> GameView:
    """Of one partition, 0: how far it is folded, and how far each poll is."""
    made = GameView()
    partials = {
        f"poll/{name}": Partial(
            topic=f"poll/{name}",
            sequence=sequence,
            tally=TallyPartial(option_ids=["a"], votes=[sequence], voters=sequence),
        )
        for name, sequence in topics.items()
    }
    made.load([Share(0, applied, partials)])
    return made


@pytest.mark.parametrize(
    ("request_", "identity", "error", "says"),
    [
        (SubscribeRequest(), None, Invalid, "game_id"),
        (SubscribeRequest(game_id="g" * 65), None, Invalid, "game_id"),
        (
            SubscribeRequest(game_id="g", max_updates_per_s=21),
            None,
            Invalid,
            "max_updates_per_s: is 21; 1 to 20",
        ),
        (SubscribeRequest(game_id="g", topics=["nonsense"]), None, Invalid, "nonsense"),
        (SubscribeRequest(game_id="g", topics=["poll/a"] * 33), None, Invalid, "33 topics; at most 32"),
        (
            SubscribeRequest(game_id="g", cursors=[seen("poll/a", 1)] * 65),
            None,
            Invalid,
            "65 cursors; at most 64",
        ),
        (SubscribeRequest(game_id="g", cursors=[seen("*", 1)]), None, Invalid, "topic"),
        (SubscribeRequest(game_id="g", cursors=[seen("poll/a", 1, 16)]), None, Invalid, "0 to 15"),
        (SubscribeRequest(game_id="g", positions=[Position(sequence=2**63)]), None, Invalid, "2^63-1"),
        (SubscribeRequest(game_id="g", topics=["inbox"]), None, Unauthenticated, "IssueGuest"),
        (
            SubscribeRequest(game_id="g", topics=["standing/laps"]),
            Identity("", True, None, 9e9),
            Forbidden,
            "names no actor",
        ),
        (SubscribeRequest(game_id="g"), Identity("ann", False, Games.of(["h"]), 9e9), Forbidden, "'g'"),
    ],
)
def test_a_bad_request_is_told_what_is_wrong(
    request_: SubscribeRequest, identity: Identity | None, error: type[GrandstandError], says: str
) -> None:
    with pytest.raises(error) as raised:
        check(request_, identity)
    assert says in raised.value.message


def test_equal_subscriptions_are_one_cohort_whatever_their_order() -> None:
    one = check(SubscribeRequest(game_id="g", topics=["poll/*", "board/x"]), None)
    other = check(SubscribeRequest(game_id="g", topics=["board/x", "poll/*"], max_updates_per_s=20), None)
    assert one.key == other.key
    assert hash(one.key) == hash(other.key)


@pytest.mark.parametrize(
    "change",
    [
        lambda r: SubscribeRequest(game_id="h"),
        lambda r: SubscribeRequest(game_id="g", topics=["poll/*"]),
        lambda r: SubscribeRequest(game_id="g", max_updates_per_s=5),
        lambda r: SubscribeRequest(game_id="g", deltas=True),
    ],
)
def test_what_differs_is_another_cohort(change: Callable[[SubscribeRequest], SubscribeRequest]) -> None:
    request = SubscribeRequest(game_id="g")
    assert check(request, None).key != check(change(request), None).key


def test_tiers_are_by_token() -> None:
    request = SubscribeRequest(game_id="g")
    assert check(request, None).key.tier is Tier.ANONYMOUS
    assert check(request, ANN).key.tier is Tier.VIEWER
    assert check(request, Identity("server", True, None, 9e9)).key.tier is Tier.PRODUCER


def test_personal_topics_do_not_part_cohorts() -> None:
    with_own = check(SubscribeRequest(game_id="g", topics=["poll/*", "inbox", "standing/laps"]), ANN)
    without = check(SubscribeRequest(game_id="g", topics=["poll/*"]), ANN)
    assert with_own.key == without.key
    assert with_own.personal.inbox
    assert with_own.personal.boards == {"laps"}
    assert with_own.actor_id == "ann"


@pytest.mark.parametrize(
    ("cursor", "met"),
    [
        (seen("poll/x", 7), True),
        (seen("poll/x", 8), False),
        (seen("poll/y", 7), False),
        (seen("poll/y", 5), True),  # folded that far, so there was nothing of it
        (seen("poll/x", 2**62, partition=3), True),  # no partition of this game
    ],
)
def test_a_cursor_is_met_by_its_topic_or_by_what_is_folded(cursor: TopicCursor, met: bool) -> None:
    subscription = check(SubscribeRequest(game_id="g", cursors=[cursor]), None)
    assert subscription.resumes
    assert (subscription.missing(view(5, x=7)) is None) == met


def test_a_position_is_met_only_by_what_is_folded_of_all_topics() -> None:
    subscription = check(SubscribeRequest(game_id="g", positions=[Position(sequence=7)]), None)
    assert subscription.missing(view(6, x=7)) == Position(sequence=7)
    assert subscription.missing(view(7)) is None


def test_cursors_of_personal_topics_and_empty_ones_ask_for_nothing() -> None:
    cursors = [seen("standing/laps", 9), TopicCursor(topic="poll/x")]
    subscription = check(SubscribeRequest(game_id="g", cursors=cursors), ANN)
    assert not subscription.resumes
    assert [(topic, [p.sequence for p in seen]) for topic, seen in subscription.personal_cursors] == [
        ("standing/laps", [9])
    ]
