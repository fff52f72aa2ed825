"""What is purged of the streams, and whom a message of them is for."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from grandstand.internal.v1.internal_pb2 import StoredNotice
from grandstand.notify.v1.notify_pb2 import Audience
from mesh.jetstream import subjects
from mesh.notices import bounds
from notify.purging import NoticePurging, Purge, member_purges
from notify.routing import delivery, pushes
from tests.support.notices import DAY_S, stored_notice

NOW_S = 2_000_000_000.0
SUBJECTS = [
    *("notices.sent.aa", "notices.sent.aa.0", "notices.cancelled.bb", "notices.due.cc.1"),
    *("notices.fired.kept.r.poll.p", "notices.fired.kept.s.poll.p", "notices.fired.gone.r.poll.p"),
]
DAYS_OVER = st.integers(-3, 3)


def stored(days_over: int) -> StoredNotice:
    """Of which the key need not be known any more for this many days."""
    return stored_notice(sent_s=NOW_S - days_over * DAY_S - bounds.KEPT_AFTER_EXPIRY_S - 60, life_s=60)


@given(st.lists(st.tuples(st.sampled_from(SUBJECTS), DAYS_OVER), max_size=30))
def test_what_is_purged_is_over_and_of_a_games_rule_the_last_firing_stays(
    sent: list[tuple[str, int]],
) -> None:
    messages = [(n, subject, stored(over)) for n, (subject, over) in enumerate(sent, 1)]
    last = {subject: n for n, subject, _ in messages}
    purges = list(NoticePurging(lambda game_id: game_id == "kept").purges(messages, NOW_S))
    for subject, below in purges:
        firings = subject.startswith("notices.fired.kept.")
        assert below <= last[subject] + (not firings)
        newest = max(n for n, (at, over) in enumerate(sent, 1) if at == subject and over >= 0 and n <= below)
        assert below in (newest, newest + 1)
    for n, (subject, over) in enumerate(sent, 1):
        if over >= 0 and not subject.startswith("notices.fired.kept."):
            assert Purge(subject, n + 1) in purges


def test_that_an_actor_left_a_segment_is_forgotten_and_who_belongs_to_it_never() -> None:
    old_s = NOW_S - 8 * DAY_S
    messages = [
        *((1, "segments.s.a", b"1", old_s), (2, "segments.s.b", b"", old_s)),
        (3, "segments.s.c", b"", NOW_S - 6 * DAY_S),
    ]
    assert list(member_purges(messages, NOW_S)) == [Purge("segments.s.b", 3)]


@pytest.mark.parametrize(
    ("subject", "message"),
    [
        (subjects.notice_sent("aa"), stored_notice()),
        (subjects.notice_sent("aa"), stored_notice(Audience(actor_id="ann"), due_in_s=60)),
        (subjects.notice_part("aa", 0), stored_notice(actor_ids=["ann"], due_in_s=60)),
        (subjects.notice_scheduled("aa"), stored_notice(Audience(actor_id="ann"))),
        (subjects.notice_cancelled("aa"), stored_notice(Audience(actor_id="ann"))),
        (subjects.notice_fired("g", "r", "poll/p"), StoredNotice(generation=1)),
        ("notices.of.a.later.release", stored_notice(Audience(actor_id="ann"))),
    ],
)
def test_what_is_not_due_or_for_nobody_is_in_no_inbox(subject: str, message: StoredNotice) -> None:
    assert delivery(1, subject, message) is None


def test_a_crowd_is_told_by_one_message_and_each_actor_by_few() -> None:
    def of(sequence: int, message: StoredNotice) -> object:
        return delivery(sequence, subjects.notice_sent("aa"), message)

    crowd = of(1, stored_notice(Audience(viewers=True)))
    many = [of(n, stored_notice(actor_ids=["ann", "bob"])) for n in range(2, 102)]
    found = list(pushes([crowd, *many]))  # type: ignore[list-item]
    assert [subject for subject, _ in found] == ["crowd.game.g", *["inbox.ann"] * 2, *["inbox.bob"] * 2]
    assert max(len(message) for _, message in found) < 256 * 1024
