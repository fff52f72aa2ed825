"""The events of a message: taken, refused or shed, each told once; and what the log did not take in time."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench._rows import rows_of
from grandstand.catalog.v1.catalog_pb2 import BOARD_MODE_SUM, STAGE_CLOSED, CustomTopic, Game, Metric
from grandstand.event.v1.event_pb2 import (
    PRESENCE_STATE_HERE,
    Custom,
    Event,
    Measure,
    Position,
    Presence,
    Reaction,
    Score,
    Vote,
)
from grandstand.ingest.v1.ingest_pb2 import EventBatch, PublishRequest
from grandstand.internal.v1.internal_pb2 import Incoming, IncomingBatch, IncomingEvent
from grandstand.wire import ids
from grandstand.wire.errors import (
    Exhausted,
    Forbidden,
    GrandstandError,
    Invalid,
    NotNow,
    Unavailable,
    Unknown,
)
from ingest.admission import Admission
from ingest.buckets import Rate
from ingest.intake import Unresolved
from ingest.republish import split_for_republish
from mesh.catalog.view import CatalogView
from tests.support import blocks
from tests.support.blocks import GAME, NOW_S, origin
from tests.support.intake import UNLIMITED, IntakeRig, Listener, bearer, incoming, taken_ack

BODIES = {
    "vote": {"vote": Vote(poll_id="mvp", option_ids=["a"])},
    "score": {"score": Score(board_id="top", points=5)},
    "reaction": {"reaction": Reaction(pulse_id="cheer", kind="fire")},
    "presence": {"presence": Presence(state=PRESENCE_STATE_HERE)},
    "measure": {"measure": Measure(metric_id="ping", value=1.5)},
    "custom": {"custom": Custom(custom_id="words", payload=b"hi")},
}


@pytest.fixture
def catalog() -> CatalogView:
    return filled()


def filled() -> CatalogView:
    view = CatalogView()
    game = blocks.game(
        audience=True, metrics=["ping"], customs=[CustomTopic(custom_id="words", fold="words")]
    )
    assert game.metrics == [Metric(metric_id="ping")]
    view.put(f"game.{GAME}", 1, game.SerializeToString())
    view.put(f"poll.{GAME}.mvp", 2, blocks.poll().SerializeToString())
    view.put(f"board.{GAME}.top", 3, blocks.board(BOARD_MODE_SUM).SerializeToString())
    return view


def event(seq: int, kind: str = "vote", **fields: object) -> Event:
    return Event(**({"game_id": GAME, "origin_seq": seq} | BODIES.get(kind, {}) | fields))


def opened(**hello: object) -> Listener:
    listener = Listener()
    listener.open(**hello)
    return listener


def test_every_kind_goes_into_its_place(catalog: CatalogView) -> None:
    rig, ann = IntakeRig(catalog), opened(producer=True, actor_id="ann")
    rig.take(ann, *(event(n, kind) for n, kind in enumerate(BODIES, 1)))
    assert [row.topic for row in rig.rows()] == [
        *("poll/mvp", "board/top", "pulse/cheer", "audience", "metric/ping", "custom/words")
    ]
    assert ann.told == []


@pytest.mark.parametrize("producer", [False, True])
def test_a_reaction_is_charged_to_its_actor_as_often_as_it_counts(
    catalog: CatalogView, producer: bool
) -> None:
    rig = IntakeRig(catalog, Admission(Rate(50, 200), UNLIMITED, Rate(1, 1_000)))
    sender = Listener()
    sender.open(bearer("ann", producer=producer), producer=producer)
    actor = {"actor_id": "eve"} if producer else {}
    hundred = {"reaction": Reaction(pulse_id="cheer", kind="fire", count=100)}
    for first in range(1, 9, 2):
        rig.take(sender, *(event(first + n, "reaction", **hundred, **actor) for n in range(2)))
    assert [row.value for row in rig.rows()] == [100, 100]
    if producer:
        rig.take(sender, event(9, "reaction", **hundred, actor_id="bob"))
        assert [row.value for row in rig.rows()] == [100]


def test_what_comes_before_a_number_at_fault_is_taken_and_nothing_after_it(catalog: CatalogView) -> None:
    rig, ann = IntakeRig(catalog), opened()
    with pytest.raises(Invalid, match="origin_seq: 4 after 2; 3 expected"):
        rig.take(ann, event(1), event(2), event(4), event(3))
    assert [row.origin_seq for row in rig.rows()] == [1, 2]
    assert ann.session.unacked == 2


def test_a_refused_event_takes_its_number_and_disturbs_nobody(catalog: CatalogView) -> None:
    rig, ann = IntakeRig(catalog), opened()
    rig.take(ann, event(1), event(2, "none"), event(3, game_id="nowhere"), event(4))
    assert [(seq, type(error)) for _, seq, error, _ in ann.told] == [(2, Invalid), (3, Unknown)]
    (batch,) = rig.batches()
    for run in batch.runs:
        run.ticket.stored(run.first, run.last, Position(sequence=1))
    ack = taken_ack(ann.session)
    assert ack is not None
    assert ack.origin_seq == 4


def test_an_end_client_acts_only_as_itself(catalog: CatalogView) -> None:
    rig, ann = IntakeRig(catalog), opened()
    rig.take(ann, event(1, actor_id="bob"), event(2, actor_id="ann"))
    assert [(seq, type(error)) for _, seq, error, _ in ann.told] == [(1, Forbidden)]
    with pytest.raises(Invalid, match="only a producer may relay"):
        rig.take(ann, event(1, origin_id=origin(9)))


def test_a_token_for_some_games_opens_no_other(catalog: CatalogView) -> None:
    rig = IntakeRig(catalog)
    ann = opened(identity=bearer(games=["other"]))
    rig.take(ann, event(1))
    assert isinstance(ann.told[0][2], Forbidden)
    assert rig.rows() == []


def test_a_producer_names_the_actor_of_each_event_with_a_valid_id(catalog: CatalogView) -> None:
    rig, server = IntakeRig(catalog), opened(producer=True)
    rig.take(
        server, event(1, actor_id="bob"), event(2), event(3, actor_id="a\nb"), event(4, actor_id="x" * 129)
    )
    assert [row.actor_id for row in rig.rows()] == ["bob"]
    assert [(seq, type(error)) for _, seq, error, _ in server.told] == [
        (2, Invalid),
        (3, Invalid),
        (4, Invalid),
    ]


def test_relayed_events_are_told_by_their_own_identity(catalog: CatalogView) -> None:
    rig, gateway = IntakeRig(catalog), opened(producer=True)
    rig.take(
        gateway,
        event(41, origin_id=origin(1), actor_id="bob"),
        event(7, origin_id="forged", actor_id="bob"),
        event(0, origin_id=origin(2), actor_id="bob"),
        event(2**63, origin_id=origin(2), actor_id="bob"),
    )
    assert [(origin_id, seq, type(error)) for origin_id, seq, error, _ in gateway.told] == [
        ("forged", 7, Invalid),
        (origin(2), 0, Invalid),
        (origin(2), 2**63, Invalid),
    ]
    (batch,) = rig.batches()
    for run in batch.runs:
        run.ticket.stored(run.first, run.last, Position(sequence=8))
    ack = taken_ack(gateway.session)
    assert ack is not None
    assert [(r.origin_id, r.origin_seq, r.position.sequence) for r in ack.receipts] == [(origin(1), 41, 8)]
    assert gateway.session.unsettled == 0


@pytest.mark.parametrize(
    ("measures", "reactions", "shed"),
    [(False, False, []), (True, False, [5]), (True, True, [3, 4, 5])],
)
def test_i7_measures_are_shed_first_then_reactions_and_presence_and_nothing_else(
    catalog: CatalogView, measures: bool, reactions: bool, shed: list[int]
) -> None:
    rig, ann = IntakeRig(catalog), opened()
    rig.pressure.sheds_measures, rig.pressure.sheds_reactions = measures, reactions
    rig.take(ann, *(event(n, kind) for n, kind in enumerate(BODIES, 1)))
    (batch,) = rig.batches()
    for run in batch.runs:
        run.ticket.stored(run.first, run.last, Position(sequence=1))
    ack = taken_ack(ann.session)
    assert ack is not None
    assert (ack.origin_seq, list(ack.shed_origin_seqs), ack.shed) == (6, shed, len(shed))


def test_a_relayed_event_that_is_shed_is_refused_for_now(catalog: CatalogView) -> None:
    rig, gateway = IntakeRig(catalog), opened(producer=True)
    rig.pressure.sheds_measures = True
    rig.take(gateway, event(1, "measure", origin_id=origin(1), actor_id="bob"))
    ((_, _, error, _),) = gateway.told
    assert isinstance(error, Exhausted)
    assert error.retryable


def test_beyond_its_rate_a_client_is_slowed_and_a_relayed_actor_refused(catalog: CatalogView) -> None:
    rig = IntakeRig(catalog, Admission(Rate(10, 2), UNLIMITED, UNLIMITED))
    ann, gateway = opened(), opened(producer=True)
    assert rig.take(ann, event(1), event(2)) == 0.0
    assert rig.take(ann, event(3)) == pytest.approx(0.1)
    assert ann.told == []
    rig.take(gateway, *(event(n, origin_id=origin(1), actor_id="bob") for n in (1, 2, 3)))
    assert [(seq, type(error).__name__, error.retryable) for _, seq, error, _ in gateway.told] == [
        (3, "OverRate", True)
    ]


def test_a_full_log_refuses_what_is_relayed_and_leaves_clients_to_their_credit(catalog: CatalogView) -> None:
    rig, gateway = IntakeRig(catalog), opened(producer=True)
    rig.pressure.log_full = True
    rig.take(gateway, event(1, origin_id=origin(1), actor_id="bob"))
    assert "nearly full" in gateway.told[0][2].message
    assert gateway.told[0][2].retryable


def closes(catalog: CatalogView) -> None:
    poll = blocks.poll()
    poll.stage = STAGE_CLOSED
    catalog.put(f"poll.{GAME}.mvp", 9, poll.SerializeToString())


def test_i9_what_was_not_stored_in_time_is_judged_by_the_clock_of_now(catalog: CatalogView) -> None:
    rig, ann = IntakeRig(catalog), opened()
    rig.take(ann, event(1), event(2, "score"))
    (batch,) = rig.batches()
    closes(catalog)
    split = split_for_republish(batch, Unavailable("away"), rig.checker, NOW_S)
    (((entry,), error),) = split.refused
    assert (entry[1], type(error)) == (1, NotNow)
    batch.keep(split.kept)
    assert [(run.first, run.last) for run in batch.runs] == [(2, 2)]


def test_what_nobody_waits_for_does_not_go_off_again(catalog: CatalogView) -> None:
    rig, ann, bob, gateway = IntakeRig(catalog), opened(), opened(), opened(producer=True)
    rig.take(ann, event(1))
    rig.take(bob, event(1))
    rig.take(gateway, event(1, actor_id="eve"), event(5, origin_id=origin(1), actor_id="eve"))
    (batch,) = rig.batches()
    bob.is_gone = True
    split = split_for_republish(batch, Unavailable("away"), rig.checker, NOW_S)
    assert [entry[0] for entries in split.kept.values() for entry in entries] == [ann, gateway]
    assert len(split.refused) == 1
    assert len(split.refused[0][0]) == 2


def histories() -> st.SearchStrategy[list[tuple[int, str, str, bool]]]:
    step = st.tuples(
        st.integers(0, 2), st.sampled_from([*BODIES, "none"]), st.sampled_from(["", "nowhere"]), st.booleans()
    )
    return st.lists(step, max_size=80)


@given(histories())
def test_every_number_is_settled_exactly_once_whatever_becomes_of_it(
    steps: list[tuple[int, str, str, bool]],
) -> None:
    """Shed, refused, stored at once, or stored after a block that was not taken."""
    catalog = filled()
    rig = IntakeRig(catalog, Admission(Rate(1, 5), UNLIMITED, UNLIMITED))
    listeners = [opened(), opened(), opened(producer=True)]
    settled: dict[int, list[int]] = {0: [], 1: [], 2: []}
    for at, listener in enumerate(listeners):
        watch(listener, settled[at])
    for which, kind, game, sheds in steps:
        listener = listeners[which]
        if listener.session.unacked >= listener.session.credit_max:
            continue
        rig.pressure.sheds_measures = rig.pressure.sheds_reactions = sheds
        actor = {"actor_id": "eve"} if listener.session.producer else {}
        rig.take(
            listener, event(listener.session.next_seq, kind, **({"game_id": game} if game else {}), **actor)
        )
    closes(catalog)
    for batch in rig.batches():
        split = split_for_republish(batch, Unavailable("away"), rig.checker, NOW_S)
        for entries, error in split.refused:
            for ticket, seq, *_ in entries:
                ticket.refused(seq, error, maybe_stored=True)
        batch.keep(split.kept)
        for run in batch.runs:
            run.ticket.stored(run.first, run.last, Position(sequence=1))
    for at, listener in enumerate(listeners):
        assert sorted(settled[at]) == list(range(1, listener.session.next_seq))
        assert listener.session.unsettled == 0
        assert listener.session.acked == listener.session.next_seq - 1


def watch(listener: Listener, settled: list[int]) -> None:
    """Notes the numbers that are settled."""
    stored, shed, refused = listener.stored, listener.shed, listener.refused

    def on_stored(first: int, last: int, position: Position) -> None:
        settled.extend(range(first, last + 1))
        stored(first, last, position)

    def on_shed(seq: int) -> None:
        settled.append(seq)
        shed(seq)

    def on_refused(seq: int, error: GrandstandError, *, maybe_stored: bool = False) -> None:
        settled.append(seq)
        refused(seq, error, maybe_stored=maybe_stored)

    listener.stored, listener.shed, listener.refused = on_stored, on_shed, on_refused  # type: ignore[method-assign]


def test_a_stream_that_ended_takes_nothing(catalog: CatalogView) -> None:
    rig, ann = IntakeRig(catalog), opened()
    ann.session.close()
    with pytest.raises(Invalid, match="nothing more expected"):
        rig.take(ann, event(1))
    assert rig.rows() == []


def test_ingest_reads_the_same_bytes_as_the_public_contract() -> None:
    """internal.v1.Incoming is a second reading of PublishRequest: every field it names has the same
    number and a type of the same wire format."""
    for ours, public in (
        (Incoming.DESCRIPTOR, PublishRequest.DESCRIPTOR),
        (IncomingBatch.DESCRIPTOR, EventBatch.DESCRIPTOR),
        (IncomingEvent.DESCRIPTOR, Event.DESCRIPTOR),
    ):
        assert {field.name: field.number for field in ours.fields} == {
            field.name: field.number for field in public.fields
        }
        for field in ours.fields:
            other = public.fields_by_name[field.name]
            assert field.type == other.type or (
                field.type == field.TYPE_BYTES and other.type == field.TYPE_MESSAGE
            )
            assert field.is_repeated == other.is_repeated


def test_i9_a_stale_view_holds_votes_and_scores_and_takes_the_rest(catalog: CatalogView) -> None:
    rig, unresolved = IntakeRig(catalog), Unresolved()
    ann = opened(producer=True, actor_id="ann")
    events = [event(n, kind) for n, kind in enumerate(BODIES, 1)]
    rig.intake.take(ann, incoming(events), NOW_S, NOW_S, unresolved, anchor_s=5.0, is_fresh=False)
    assert [held.origin_seq for held, _ in unresolved] == [1, 2]
    assert [row.origin_seq for row in rig.rows()] == [3, 4, 5, 6]
    assert ann.told == []
    rig.intake.take_unresolved(ann, unresolved, NOW_S, NOW_S + 9, anchor_s=7.0)
    (batch,) = rig.batches()
    assert [row.origin_seq for row in rows_of(batch)] == [1, 2]
    assert (batch.anchor_s, batch.stamped_at_s) == (7.0, NOW_S)


def test_i9_what_was_held_is_refused_once_its_poll_is_closed_whenever_it_came(catalog: CatalogView) -> None:
    rig, ann, unresolved = IntakeRig(catalog), opened(), Unresolved()
    rig.intake.take(ann, incoming([event(1)]), NOW_S, NOW_S, unresolved, is_fresh=False)
    closes(catalog)
    rig.intake.take_unresolved(ann, unresolved, NOW_S - 60, NOW_S)
    assert [(seq, type(error)) for _, seq, error, _ in ann.told] == [(1, NotNow)]


def test_i2_votes_in_a_new_poll_fold_where_it_was_opened_whatever_is_known_of_its_game() -> None:
    """The game's spread was changed and the poll opened; this ingest has heard of the poll alone. A
    resend by an ingest that has heard of both must meet the same anti-replay window."""
    behind, ahead = filled(), filled()
    poll, game = blocks.poll(), Game()
    poll.poll_id, poll.spread = "new", 4
    game.CopyFrom(behind.game(GAME))
    game.spread = 4
    for view in (behind, ahead):
        view.put(f"poll.{GAME}.new", 7, poll.SerializeToString())
    ahead.put(f"game.{GAME}", 8, game.SerializeToString())
    assert behind.game(GAME).spread != 4
    vote = Vote(poll_id="new", option_ids=["a"])
    for actor in ("ann", "bob", "cid", "dan", "eve"):
        folded = set()
        for view in (behind, ahead):
            rig, server = IntakeRig(view), opened(producer=True)
            rig.take(server, event(1, actor_id=actor, vote=vote), event(2, actor_id=actor, vote=vote))
            folded |= {row.partition for row in rig.rows()}
        assert folded == {ids.partition_of(GAME, actor, 4)}
