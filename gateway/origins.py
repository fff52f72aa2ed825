"""Which numbers each origin has under way through this gateway, and its newest: what Send takes (I2). Pure.

An origin's anti-replay window remembers as many numbers as its credit, counted back from the newest one that
was stored. So two things are refused here, before they can fall behind it:

    the unanswered numbers would span more than the credit     Exhausted: wait for answers
    a number lies `credit` or more behind the newest one sent  NotNow: it cannot be told from a replay

Bound: SEND_ORIGINS_REMEMBERED_MAX origins, the least recently used forgotten first. A number that lies too
far behind after that is taken, and the fold then drops it as a replay: only its sender, which broke its
credit, loses.
"""

from __future__ import annotations

from collections import OrderedDict

from gateway import bounds
from grandstand.wire import ids
from grandstand.wire.errors import Exhausted, NotNow


class SendOrigins:
    def __init__(self, remembered_max: int = bounds.SEND_ORIGINS_REMEMBERED_MAX) -> None:
        self._remembered_max = remembered_max
        self._newest: OrderedDict[str, int] = OrderedDict()
        self._unanswered: dict[str, set[int]] = {}

    def __len__(self) -> int:
        """How many are remembered."""
        return len(self._newest)

    def take(self, origin_id: str, origin_seq: int) -> None:
        """The number is under way from now on, until `answered`. Raises Exhausted and NotNow."""
        credit = ids.origin_credit(origin_id)
        newest = self._newest.get(origin_id, origin_seq)
        if newest - origin_seq >= credit:
            raise NotNow(
                f"event.origin_seq: {origin_seq} lies {newest - origin_seq} behind {newest}, the newest one "
                f"sent; from {credit} on it cannot be told from a replay. "
                "If it was never sent, send it under a new number"
            )
        numbers = self._unanswered.get(origin_id)
        if numbers:
            span = max(*numbers, origin_seq) - min(*numbers, origin_seq)
            if span >= credit:
                raise Exhausted(
                    f"event.origin_seq: {origin_seq} is {span} from {min(numbers)}, which is not answered "
                    f"yet; at most {credit} may be unanswered, wait for answers"
                )
            numbers.add(origin_seq)
        else:
            self._unanswered[origin_id] = {origin_seq}
        self._newest[origin_id] = max(newest, origin_seq)
        self._newest.move_to_end(origin_id)
        if len(self._newest) > self._remembered_max:
            self._newest.popitem(last=False)

    def answered(self, origin_id: str, origin_seq: int) -> None:
        """The number is not under way any more. Unknown ones are no error."""
        numbers = self._unanswered.get(origin_id)
        if numbers is not None:
            numbers.discard(origin_seq)
            if not numbers:
                del self._unanswered[origin_id]
