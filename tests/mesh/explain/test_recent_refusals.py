"""What an ingest remembers of refusals: the last of each actor, whoever else is refused how often."""

from __future__ import annotations

from grandstand.event.v1.event_pb2 import Vote
from grandstand.internal.v1.internal_pb2 import IncomingEvent
from grandstand.wire.errors import Invalid
from mesh import limits
from mesh.explain.recent_refusals import RecentRefusals

NOW_S = 1_790_000_000.5


def refuse(refusals: RecentRefusals, actor: str, seq: int) -> None:
    vote = Vote(poll_id="mvp").SerializeToString()
    event = IncomingEvent(origin_seq=seq, game_id="g", vote=vote)
    refusals.refused_event(actor, "v-own", event, Invalid(f"no {seq}"))


def test_a_refusal_says_of_what_and_why() -> None:
    refusals = RecentRefusals(lambda: NOW_S)
    refuse(refusals, "ann", 3)
    broken = IncomingEvent(origin_id="v1", actor_id="bob", origin_seq=1, game_id="g", vote=b"\xff")
    refusals.refused_event("relay", "", broken, Invalid("no"))
    (ann,), (bob,) = refusals.of("ann", "i").refusals, refusals.of("bob", "i").refusals
    assert (ann.game_id, ann.topic, ann.origin_id, ann.origin_seq) == ("g", "poll/mvp", "v-own", 3)
    assert (ann.code, ann.message, ann.at_us) == (3, "no 3", int(NOW_S * 1e6))
    assert (bob.origin_id, bob.topic) == ("v1", "")
    assert refusals.of("relay", "i").refused == 0


def test_i7_one_who_is_refused_all_day_pushes_out_nobody_else_s() -> None:
    refusals = RecentRefusals(lambda: NOW_S)
    refuse(refusals, "ann", 1)
    for seq in range(1, 1_001):
        refuse(refusals, "loud", seq)
    found = refusals.of("loud", "i")
    assert found.refused == 1_000
    assert [each.origin_seq for each in found.refusals] == list(range(993, 1_001))
    for number in range(limits.REFUSED_ACTORS_MAX - 1):
        refuse(refusals, f"a{number}", 1)
    assert len(refusals) == limits.REFUSED_ACTORS_MAX
    assert refusals.of("ann", "i").refused == 0, "the one refused longest ago has left"
    assert refusals.of("loud", "i").refused == 1_000


def test_what_is_shed_is_counted() -> None:
    refusals = RecentRefusals(lambda: NOW_S)
    for _ in range(3):
        refusals.shed("ann", "g", "reaction")
    for number in range(20):
        refusals.shed("ann", f"g{number}", "measure")
    sheds = refusals.of("ann", "i").sheds
    assert len(sheds) == limits.REFUSALS_PER_ACTOR
    refusals.shed("bob", "g", "reaction")
    (shed,) = refusals.of("bob", "i").sheds
    assert (shed.kind, shed.count) == ("reaction", 1)
