"""Which notifications are news: each is told once, however it came. Pure.

A notice to a game's viewers comes as an announcement and, to those who watch their inbox, in that too, under
the same id. Once the inbox is known it alone says what is news: it knows what was muted, and what was read
elsewhere. What was in it when it came first was there before: it is shown in it, not told.

Bounds: KNOWN_MAX ids, those that came first are forgotten first; UNTOLD_MAX notifications that nobody has
taken, the oldest gives way.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Iterable

from grandstand.notify.v1.notify_pb2 import InboxResult, Notification

KNOWN_MAX = 512
UNTOLD_MAX = 256


class Notifications:
    def __init__(self) -> None:
        self._known: OrderedDict[str, None] = OrderedDict()
        self._untold: deque[Notification] = deque(maxlen=UNTOLD_MAX)
        self._has_inbox = False

    def take_inbox(self, inbox: InboxResult) -> None:
        """The inbox changed."""
        oldest_first = list(reversed(inbox.newest))
        if self._has_inbox:
            self._untold.extend(
                each for each in oldest_first if not each.read and each.notification_id not in self._known
            )
        self._learn(oldest_first)
        self._has_inbox = True

    def take_announced(self, notice: Notification) -> None:
        """A notice to the game's viewers was announced."""
        if not self._has_inbox and notice.notification_id not in self._known:
            self._untold.append(notice)
            self._learn([notice])

    def take_news(self) -> list[Notification]:
        """What is news since it was asked last, the oldest first."""
        news = list(self._untold)
        self._untold.clear()
        return news

    def _learn(self, notifications: Iterable[Notification]) -> None:
        for each in notifications:
            self._known.setdefault(each.notification_id)
        while len(self._known) > KNOWN_MAX:
            self._known.popitem(last=False)
