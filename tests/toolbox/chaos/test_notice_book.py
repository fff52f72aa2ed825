"""Chaos tells which notices were due, seen, and seen twice."""

from __future__ import annotations

from grandstand.aggregate.v1.aggregate_pb2 import TopicState
from grandstand.catalog.v1.catalog_pb2 import STAGE_OPEN, STAGE_SEALED
from grandstand.notify.v1.notify_pb2 import Notification
from toolbox.chaos.notice_book import NoticeBook
from toolbox.chaos.notices import fired
from toolbox.chaos.scene import scenes


def named(title: str, notification_id: str = "1") -> Notification:
    return Notification(notification_id=notification_id, title=title)


def test_each_is_due_to_each_and_seen_once() -> None:
    book = NoticeBook()
    for title in ("kept", "lost", "unanswered"):
        book.sent(title)
    book.due("kept", ["ann", "bob"], "sent")
    book.due("lost", ["ann"], "sent")
    # Listed and shown: the same id is no second notice.
    book.seen("ann", [named("kept"), named("unanswered", "2")])
    book.seen("ann", [named("kept")])
    book.seen("bob", [named("kept")])
    assert (book.due_count, book.seen_count, book.doubled_count, book.unanswered) == (3, 2, 0, 1)
    assert book.notes() == ["ann was not told 'lost' (sent)"]
    book.seen("bob", [named("kept", "3")])
    book.seen("ann", [named("unanswered", "4")])
    assert book.doubled_count == 2
    assert "bob was told 'kept' 2 times: 1, 3" in book.notes()


def test_firings_are_due_by_the_results() -> None:
    game = scenes(60, 100)[1]
    final, open_poll = TopicState(topic="poll/final"), TopicState(topic="poll/closing-1", stage=STAGE_OPEN)
    final.tally.voters = 40
    states = {(game.game_id, state.topic): state for state in (final, open_poll)}
    states[("other", "poll/final")] = final
    assert fired(game, states).keys() == {"reached 10 poll/final", "reached 40 poll/final"}
    open_poll.stage = STAGE_SEALED
    assert "sealed poll/closing-1" in fired(game, states)
