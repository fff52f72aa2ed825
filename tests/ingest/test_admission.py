"""Admission: what an actor, a game and an ingest may send, and what happens beyond (I7, I10)."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from grandstand.wire import bounds as wire_bounds
from ingest import bounds as ingest_bounds
from ingest.admission import SHED, Admission, OverRate
from ingest.buckets import Buckets, Rate, SteadyClock

PLENTY = Rate(1e6, 1e6)
KINDS = ("vote", "score", "custom", "measure", "reaction", "presence", "")
SHEDDABLE = ("measure", "reaction", "presence")

rates = st.builds(Rate, st.floats(0.1, 1_000), st.integers(1, 500).map(float))
tight = st.builds(Rate, st.floats(0.1, 50), st.integers(1, 8).map(float))
"""Few enough for a short history to go beyond them."""
gaps_s = st.one_of(st.just(0.0), st.floats(0, 0.1), st.floats(0, 60))


def times(gaps: list[float]) -> list[float]:
    now_s, found = 0.0, []
    for gap_s in gaps:
        now_s += gap_s
        found.append(now_s)
    return found


def assert_within(rate: Rate, at_s: list[float]) -> None:
    """In every interval no more than burst + rate * its length."""
    for first, since_s in enumerate(at_s):
        for last in range(first, len(at_s)):
            bound = rate.burst + rate.per_s * (at_s[last] - since_s)
            assert last - first + 1 <= bound * (1 + 1e-9) + 1e-5


@given(rates, st.lists(gaps_s, max_size=60))
def test_in_no_interval_is_more_than_burst_and_rate_within(rate: Rate, gaps: list[float]) -> None:
    bucket = Buckets(*rate, keys_max=1)
    within = []
    for now_s in times(gaps):
        if bucket.has_room("k", now_s):
            assert bucket.take("k", now_s) == 0.0
            within.append(now_s)
    assert_within(rate, within)


@given(rates, st.integers(1, 1_000), st.floats(0, 1e6))
def test_a_debt_is_paid_after_the_time_that_take_said_and_not_before(
    rate: Rate, count: int, now_s: float
) -> None:
    bucket = Buckets(*rate, keys_max=1)
    fits = bucket.has_room("k", now_s, count)
    owed_s = bucket.take("k", now_s, count)
    assert fits == (owed_s == 0.0) == (count <= rate.burst)
    assert owed_s == pytest.approx(max(0.0, count - rate.burst) / rate.per_s, abs=2e-5)
    assert bucket.has_room("k", now_s + owed_s + 1 / rate.per_s + 2e-5)
    if owed_s > 1e-6:
        assert not bucket.has_room("k", now_s + owed_s - 1e-6)


@pytest.mark.parametrize(("rate", "burst"), [(0, 1), (-1, 1), (float("inf"), 1), (float("nan"), 1), (1, 0.5)])
def test_a_rate_that_is_none_is_refused(rate: float, burst: float) -> None:
    with pytest.raises(ValueError, match="more than 0 and at least 1 are needed"):
        Buckets(rate, burst, keys_max=1)


events = st.lists(
    st.tuples(
        st.sampled_from([0.0, 0.0, 0.0, 0.01, 0.3, 20.0]),
        st.sampled_from(["ann", "bob", "cid"]),
        st.sampled_from(["g", "h"]),
        st.sampled_from(KINDS),
        st.booleans(),
    ),
    min_size=20,
    max_size=80,
)


def decide(admission: Admission, actor: str, game: str, kind: str, own: bool, now_s: float) -> float | str:
    try:
        return admission.admit(actor, game, kind, own=own, now_s=now_s)
    except OverRate as error:
        return error.message


@given(tight, tight, tight, events)
def test_what_may_be_refused_or_shed_stays_within_its_actor_and_its_game(
    actor: Rate, game: Rate, instance: Rate, history: list[tuple[float, str, str, str, bool]]
) -> None:
    admission = Admission(actor, game, instance)
    now_s = 0.0
    by_actor: dict[tuple[str, str], list[float]] = {}
    by_total: dict[str, list[float]] = {}
    by_game: dict[str, list[float]] = {}
    for gap_s, who, where, kind, own in history:
        now_s += gap_s
        own = own and kind in SHEDDABLE  # others of one's own are admitted as a debt
        answer = decide(admission, who, where, kind, own, now_s)
        if answer == SHED:
            assert kind in SHEDDABLE
        elif isinstance(answer, str):
            assert kind not in SHEDDABLE
        else:
            by_actor.setdefault((who, where), []).append(now_s)
            by_total.setdefault(who, []).append(now_s)
            by_game.setdefault(where, []).append(now_s)
    for at_s in by_total.values():
        assert_within(Rate(*(ingest_bounds.ACTOR_GAMES * each for each in actor)), at_s)
    for at_s in by_actor.values():
        assert_within(actor, at_s)
    for at_s in by_game.values():
        assert_within(game, at_s)


@given(tight, tight, tight, events)
def test_what_is_refused_or_shed_is_not_charged(
    actor: Rate, game: Rate, instance: Rate, history: list[tuple[float, str, str, str, bool]]
) -> None:
    """One that never saw them answers the same ever after."""
    all_of_them, the_taken = Admission(actor, game, instance), Admission(actor, game, instance)
    for admission in (all_of_them, the_taken):
        admission.owes_s("ann", 0.0)  # the clock begins here for both
    now_s = 0.0
    for gap_s, who, where, kind, own in history:
        now_s += gap_s
        answer = decide(all_of_them, who, where, kind, own, now_s)
        if isinstance(answer, float) and answer >= 0:
            assert decide(the_taken, who, where, kind, own, now_s) == answer


@given(tight, tight, tight, events)
def test_votes_scores_and_customs_are_never_shed_and_ones_own_never_refused(
    actor: Rate, game: Rate, instance: Rate, history: list[tuple[float, str, str, str, bool]]
) -> None:
    admission = Admission(actor, game, instance)
    now_s = 0.0
    for gap_s, who, where, kind, own in history:
        now_s += gap_s
        answer = decide(admission, who, where, kind, own, now_s)
        if kind not in SHEDDABLE:
            assert answer != SHED
            assert not own or isinstance(answer, float)


@given(events)
def test_an_actors_flood_changes_nothing_of_what_others_are_told(
    history: list[tuple[float, str, str, str, bool]],
) -> None:
    """The game and the ingest have room for the rates of all their actors."""
    actor = Rate(10, 20)
    shared = Rate(100 * actor.per_s, 100 * actor.burst)
    quiet, flooded = Admission(actor, shared, shared), Admission(actor, shared, shared)
    flooder_waits_until_s = 0.0
    now_s = 0.0
    for gap_s, who, where, kind, own in history:
        now_s += gap_s
        for flood_kind in ("measure", "reaction"):
            for _ in range(30):
                decide(flooded, "mallory", where, flood_kind, True, now_s)
        for _ in range(30):
            decide(flooded, "mallory", where, "vote", False, now_s)
        if now_s >= flooder_waits_until_s:
            pause_s = flooded.admit("mallory", where, "vote", own=True, now_s=now_s)
            flooder_waits_until_s = now_s + pause_s
        assert decide(quiet, who, where, kind, own, now_s) == decide(flooded, who, where, kind, own, now_s)


def test_a_debt_says_how_long_the_stream_is_not_read_and_another_stream_does_not_help() -> None:
    admission = Admission(Rate(50, 200), PLENTY, PLENTY)
    answers = [admission.admit("ann", "g", "vote", own=True, now_s=5.0) for _ in range(300)]
    assert answers[:200] == [0.0] * 200
    assert answers[299] == pytest.approx(100 / 50)
    assert admission.owes_s("ann", 5.0) == pytest.approx(2.0)
    assert admission.owes_s("ann", 6.5) == pytest.approx(0.5)
    assert admission.owes_s("ann", 7.5) == admission.owes_s("bob", 5.0) == 0.0


def spent(admission: Admission, game: str, *, producer: str | None, own: bool = False) -> int:
    """How many votes of ann's it takes at once."""
    taken = 0
    while True:
        try:
            pause_s = admission.admit("ann", game, "vote", own=own, now_s=1.0, producer=producer)
        except OverRate:
            return taken
        if pause_s:
            return taken
        taken += 1


def test_a_producer_of_one_game_takes_nothing_of_what_an_actor_may_do_elsewhere() -> None:
    admission = Admission(Rate(50, 200), PLENTY, PLENTY, PLENTY)
    assert spent(admission, "theirs", producer="rogue") == 200
    assert spent(admission, "theirs", producer=None) == 0, "in its own game it can"
    for game in ("g1", "g2", "g3", "g4"):
        assert spent(admission, game, producer=None) == 200
    assert admission.owes_s("ann", 1.0) == 0.0


def test_an_actor_may_do_in_all_games_what_it_may_in_four_however_many_it_names() -> None:
    admission = Admission(Rate(50, 200), PLENTY, PLENTY)
    assert [spent(admission, f"g{n}", producer=None) for n in range(6)] == [200] * 4 + [0] * 2
    with pytest.raises(
        OverRate, match=r"^actor 'ann', in all games: more than 200 events/s with 800 at once"
    ):
        admission.admit("ann", "g9", "vote", own=False, now_s=1.0)
    assert admission.admit("ann", "g9", "reaction", own=True, now_s=1.0) == SHED
    assert admission.admit("ann", "g9", "vote", own=True, now_s=1.0) == pytest.approx(1 / 200, abs=1e-6)


def test_more_of_one_event_is_a_debt_of_its_actor_in_that_game_and_in_all() -> None:
    admission = Admission(Rate(50, 200), PLENTY, PLENTY)
    assert admission.admit("ann", "g", "reaction", own=True, now_s=1.0) == 0.0
    admission.charge_more("ann", "g", 99, now_s=1.0)
    assert spent(admission, "g", producer=None) == 100
    assert [spent(admission, f"g{n}", producer=None) for n in range(4)] == [200, 200, 200, 0]
    admission.charge_more("ann", "g", 100, now_s=1.0)
    assert admission.admit("ann", "g", "vote", own=True, now_s=1.0) == pytest.approx(101 / 50)
    assert admission.admit("bob", "g", "vote", own=True, now_s=1.0) == 0.0


def test_a_producer_pays_for_all_that_it_sends_and_waits_when_it_is_too_much() -> None:
    admission = Admission(PLENTY, PLENTY, PLENTY, Rate(100, 10))
    for producer, expected in (("one", 10), ("two", 10), ("", 10)):
        pauses = [
            admission.admit(f"a{n}", f"g{n % 3}", kind, own=False, now_s=0.0, producer=producer)
            for n, kind in enumerate(["vote", "measure"] * 10)
        ]
        assert pauses[:expected] == [0.0] * expected
        assert pauses[expected:] == [pytest.approx((n + 1) / 100) for n in range(20 - expected)]
    assert admission.admit("a1", "g", "vote", own=True, now_s=0.0) == 0.0


def test_a_debt_in_one_game_is_one_of_the_actors_new_streams_and_of_no_other_actors() -> None:
    admission = Admission(Rate(50, 200), PLENTY, PLENTY)
    for _ in range(250):
        admission.admit("ann", "g", "vote", own=True, now_s=1.0)
    assert admission.owes_s("ann", 1.0) == pytest.approx(1.0)
    assert admission.owes_s("bob", 1.0) == 0.0
    assert admission.admit("ann", "h", "vote", own=True, now_s=2.1) == 0.0


def test_a_refusal_names_who_the_rate_the_burst_and_when_to_send_again() -> None:
    admission = Admission(Rate(50, 3), Rate(1_000, 4), PLENTY)
    for _ in range(3):
        assert admission.admit("ann", "g", "vote", own=False, now_s=1.0) == 0.0
    with pytest.raises(OverRate) as caught:
        admission.admit("ann", "g", "vote", own=False, now_s=1.0)
    assert caught.value.message == (
        "actor 'ann': more than 50 events/s with 3 at once; send again after 0.020 s"
    )
    assert caught.value.retryable
    assert admission.admit("bob", "g", "score", own=False, now_s=1.0) == 0.0
    with pytest.raises(OverRate, match=r"^game 'g': more than 1000 events/s with 4 at once") as caught:
        admission.admit("cid", "g", "custom", own=False, now_s=1.0)
    again_at_s = 1.0 + caught.value.retry_after_s
    assert admission.admit("cid", "g", "custom", own=False, now_s=again_at_s + 1e-9) == 0.0


def test_beyond_the_instances_rate_everybody_waits_alike() -> None:
    admission = Admission(PLENTY, PLENTY, Rate(100, 10))
    pauses = [admission.admit(f"a{n}", f"g{n}", "vote", own=n % 2 == 0, now_s=0.0) for n in range(30)]
    assert pauses[:10] == [0.0] * 10
    assert pauses[10:] == [pytest.approx((n + 1) / 100) for n in range(20)]


def test_of_a_shared_burst_measures_are_shed_first_then_reactions_and_presence_and_votes_never() -> None:
    def taken(kind: str, actor: Rate, game: Rate, instance: Rate) -> int:
        admission = Admission(actor, game, instance)
        return sum(admission.admit(f"a{n}", "g", kind, own=True, now_s=0.0) == 0.0 for n in range(200))

    small = Rate(1, 100)
    for game, instance in ((small, PLENTY), (PLENTY, small)):
        counts = [taken(kind, PLENTY, game, instance) for kind in ("measure", "reaction", "presence", "vote")]
        assert counts == [50, 75, 75, 100]


def test_a_producer_that_acts_for_itself_is_held_by_its_game_alone() -> None:
    admission = Admission(Rate(1, 1), Rate(10, 100), PLENTY)
    for _ in range(50):
        assert admission.admit("", "g", "measure", own=True, now_s=0.0) == 0.0
    assert admission.admit("", "g", "measure", own=True, now_s=0.0) == SHED


def test_memory_is_bounded_under_a_million_actors_and_games() -> None:
    admission = Admission(actors_max=1_000, games_max=100)
    for number in range(1_000_000):
        admission.admit(f"a{number}", f"g{number}", "vote", own=True, now_s=number / 30_000)
    assert len(admission._actors) == 1_000 >= len(admission._actors.groups) - 1
    assert len(admission._totals) == 1_000
    assert len(admission._games) == 100


@pytest.mark.parametrize("remembered", ["actor", "game"])
def test_a_name_longer_than_an_id_takes_no_memory_and_all_of_them_share_one_bucket(remembered: str) -> None:
    few = Rate(1, 5)
    admission = Admission(*((few, PLENTY) if remembered == "actor" else (PLENTY, few)), PLENTY)
    answers = []
    for number in range(10):
        names = {"actor": "ann", "game": "g", remembered: f"{number}" + "x" * wire_bounds.ACTOR_ID_BYTES_MAX}
        answers.append(decide(admission, names["actor"], names["game"], "vote", False, 0.0))
    assert answers[:5] == [0.0] * 5
    assert all(isinstance(answer, str) and len(answer) < 300 for answer in answers[5:])
    kept = admission._actors if remembered == "actor" else admission._games
    assert all(len(name) <= wire_bounds.ACTOR_ID_BYTES_MAX for slot in kept._ring for name in slot)


def full_table(owing: Callable[[int], int]) -> Buckets:
    """Eight keys that owe this many events each; the table holds no more."""
    buckets = Buckets(10, 100, 8)
    for number in range(8):
        buckets.take(f"k{number}", 0.0, owing(number))
    return buckets


def test_a_full_table_forgets_first_what_owes_nothing() -> None:
    buckets = full_table(lambda number: 1 if number == 6 else 50)
    buckets.take("new", 0.2)
    assert "k6" not in buckets.tat_s
    assert len(buckets) == 8


def test_a_full_table_of_debtors_forgets_the_smallest_debt_and_never_the_flooder() -> None:
    buckets = full_table(lambda number: 90 if number == 0 else 10 + number)
    for number in range(100):
        buckets.take(f"n{number}", 0.0, 5)
        assert len(buckets) == 8
    assert not buckets.has_room("k0", 0.0, 11)


def test_the_table_grows_with_the_keys_of_a_minute_or_two_and_not_with_all_there_ever_were() -> None:
    buckets, per_s = Buckets(5, 3, keys_max=1_000_000), 20
    for n in range(per_s * 600):
        buckets.take(f"k{n}", n / per_s)
    assert len(buckets) <= 2 * per_s * ingest_bounds.BUCKET_IDLE_S
    assert f"k{per_s * 600 - per_s * 59}" in buckets.tat_s


@given(st.lists(st.tuples(st.sampled_from("abcdefghij"), gaps_s), max_size=80), st.integers(1, 10))
def test_forgetting_what_owes_nothing_changes_nothing(
    history: list[tuple[str, float]], keys_max: int
) -> None:
    """A small table answers as a large one for as long as it had a key to forget that owed nothing."""
    small, large = Buckets(5, 3, keys_max), Buckets(5, 3, 100)
    now_s = 0.0
    for key, gap_s in history:
        now_s += gap_s
        debtors = sum(tat_s > now_s for other, tat_s in large.tat_s.items() if other != key)
        if debtors >= keys_max:
            return
        assert small.take(key, now_s) == large.take(key, now_s)
        assert len(small) <= keys_max


@given(st.lists(st.one_of(st.floats(-1e10, 1e10), st.floats(1.7e9, 1.7e9 + 10)), min_size=1, max_size=60))
def test_a_steady_clock_never_goes_back_and_gains_no_more_than_the_clock_went_forward(
    readings: list[float],
) -> None:
    clock = SteadyClock()
    before_s, forward_s, last = 0.0, 0.0, readings[0]
    for now_s in readings:
        steady_s = clock.at(now_s)
        assert steady_s >= before_s
        before_s = steady_s
        forward_s += max(0.0, now_s - last)
        last = now_s
    assert before_s <= forward_s * (1 + 1e-9) + 1e-3


@pytest.mark.parametrize("step_s", [-10 * 365 * 86_400.0, -3_600.0, -2.0])
def test_a_clock_that_is_set_back_locks_nobody_out(step_s: float) -> None:
    admission = Admission(Rate(50, 200), PLENTY, PLENTY)
    now_s = 1.8e9
    for _ in range(200):
        assert admission.admit("ann", "g", "vote", own=True, now_s=now_s) == 0.0
    now_s += step_s
    assert admission.admit("ann", "g", "vote", own=True, now_s=now_s) == pytest.approx(1 / 50)
    now_s += 2.0
    assert admission.admit("ann", "g", "vote", own=True, now_s=now_s) == 0.0


def test_a_clock_that_jumps_years_ahead_and_back_gives_one_burst_and_no_more() -> None:
    admission = Admission(Rate(50, 200), PLENTY, PLENTY)

    def burst(now_s: float) -> int:
        return sum(decide(admission, "ann", "g", "vote", False, now_s) == 0.0 for _ in range(1_000))

    assert burst(1.8e9) == 200
    assert burst(1.8e9 + 1e9) == 200
    assert burst(1.8e9 + 1.0) == 0
    assert burst(1.8e9 + 2.0) == 50


def test_a_clock_that_is_read_out_of_order_gains_nothing() -> None:
    admission = Admission(Rate(50, 200), PLENTY, PLENTY)
    taken = 0
    for number in range(2_000):
        now_s = 100.0 - 0.5 * (number % 2)
        taken += decide(admission, "ann", "g", "vote", False, now_s) == 0.0
    assert taken == 200


@given(
    st.lists(
        st.tuples(
            st.floats(0, 0.2),
            st.lists(st.tuples(st.integers(0, 3), st.integers(0, 1)), min_size=1, max_size=12),
        ),
        max_size=30,
    )
)
def test_a_calm_batch_is_decided_as_each_of_its_events_would_be(
    batches: list[tuple[float, list[tuple[int, int]]]],
) -> None:
    rates = (Rate(20, 5), Rate(60, 30), Rate(90, 60), Rate(70, 25))
    one_by_one, by_batch = Admission(*rates), Admission(*rates)
    now_s = 1_790_000_000.0
    for pause_s, events in batches:
        now_s += pause_s
        for game in (0, 1):
            actors = [f"actor{actor}" for actor, of in events if of == game]
            sent = {"own": True, "now_s": now_s, "producer": "server"}
            expected = [one_by_one.admit(each, f"g{game}", "vote", **sent) for each in actors]
            found, count = list[float](), 0
            calm = by_batch.calm(f"g{game}", len(actors), now_s, "", "server")
            for each in actors:
                if calm is not None and by_batch.admit_calm(f"g{game}", each, calm):
                    found.append(0.0)
                    count += 1
                else:
                    found.append(by_batch.admit(each, f"g{game}", "vote", **sent))
            if calm is not None:
                by_batch.charge(f"g{game}", count, calm)
            assert found == pytest.approx(expected, abs=1e-6)


@given(st.lists(st.tuples(st.floats(0, 0.2), st.sampled_from("gh"), st.integers(1, 12)), max_size=30))
def test_nor_does_a_calm_batch_of_an_actors_own_differ(batches: list[tuple[float, str, int]]) -> None:
    rates = (Rate(20, 5), PLENTY, PLENTY)
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(ingest_bounds, "ACTOR_GAMES", 1.2)
        one_by_one, by_batch = Admission(*rates), Admission(*rates)
    now_s = 1_790_000_000.0
    for pause_s, game, size in batches:
        now_s += pause_s
        expected = [one_by_one.admit("ann", game, "vote", own=True, now_s=now_s) for _ in range(size)]
        calm, found = by_batch.calm(game, size, now_s, "ann"), list[float]()
        for _ in range(size):
            if calm is not None and by_batch.admit_calm(game, "ann", calm):
                found.append(0.0)
            else:
                if calm is not None:
                    by_batch.charge(game, len(found), calm)
                    calm = None
                found.append(by_batch.admit("ann", game, "vote", own=True, now_s=now_s))
        if calm is not None:
            by_batch.charge(game, size, calm)
        assert found == pytest.approx(expected, abs=1e-6)


def test_a_calm_game_that_is_forgotten_meanwhile_is_charged_all_the_same() -> None:
    admission = Admission(Rate(50, 200), Rate(100, 100), Rate(1_000, 1_000), games_max=1)
    admission.admit("ann", "g1", "vote", own=True, now_s=0.0)
    calm = admission.calm("g1", 20, 10.0, "ann")
    assert calm is not None
    assert all(admission.admit_calm("g1", "ann", calm) for _ in range(20))
    admission.admit("bob", "g2", "vote", own=True, now_s=10.0)
    admission.charge("g1", 20, calm)
    assert admission.calm("g1", 31, 10.0, "ann") is None, "20 of the 50 that are calm are used up"
    assert admission.calm("g1", 25, 10.0, "ann") is not None


def test_a_reaction_of_many_by_the_first_player_of_a_game_is_charged_to_it() -> None:
    admission = Admission(PLENTY, PLENTY, PLENTY)
    admission.admit("", "g", "vote", own=True, now_s=0.0, producer="server")
    now = admission.calm("g", 1, 0.0, "", "server")
    assert now is not None
    assert admission.admit_calm("g", "bob", now, 3)
    assert admission._actors.tat("bob", "g") == pytest.approx(now + 3 * admission._actors.event_s)
