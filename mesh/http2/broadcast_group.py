"""Calls that are sent the same messages: one buffer per connection, whatever the number of its calls. Pure.

Envoy multiplexes thousands of viewers over one connection. What is the same for all of them is encoded once;
their DATA frames differ only in four bytes, the stream id. So the members of a group lie in columns, one set
for each connection (mesh.http2.members): while they are few a loop writes a frame for each, and when they are
many numpy writes one buffer with all frames.

A member has a position: how far it is in a sequence of messages. `advance` sends to the members in a range of
positions. Besides, there are a second sequence (`announce`) and heartbeats (`heartbeat`); both go only to
members whose position is not negative. A negative position means that nothing was sent to the member yet.

While nothing waits to be sent on a member's stream, its flow-control window lies in the column. While
something waits, the stream holds the window and the column has 0, so nothing overtakes what waits. A member
whose window is closed is skipped and keeps its position, which costs nothing; `on_writable` is called when it
can be sent to again. A member whose window is smaller than the message sends it in pieces, as does every
member if the message is longer than a frame; all of them share the bytes of that one message.

Bounds: the bytes available on the connection (mesh.http2.write_buffer). Members that do not fit are skipped
until bytes are available again.

Rejected: a loop for many calls, 0.3 µs for each instead of 0.05; numpy for few, a dozen calls of a
microsecond.
"""

from __future__ import annotations

from collections.abc import Callable
from math import inf
from typing import cast

import numpy as np

from mesh.http2.call import Call
from mesh.http2.few_members import FEW_MAX, FewMembers
from mesh.http2.many_members import ManyMembers
from mesh.http2.members import Chosen, Member, Members
from mesh.http2.shared_message import Shared
from mesh.http2.write_buffer import WriteBuffer


class BroadcastGroup:
    def __init__(self, on_writable: Callable[[], None]) -> None:
        """`on_writable` is called, perhaps often, when skipped members can be sent to again. It must schedule
        the sending and not send itself."""
        self._on_writable = on_writable
        self._connections: dict[WriteBuffer, Members] = {}
        self._members: tuple[Members, ...] = ()
        """Their values, as of now: while they are sent to, a connection may be removed."""

    def __len__(self) -> int:
        return sum(map(len, self._members))

    def add(self, call: Call, position: int, announced: int, now: float) -> None:
        """`call` is a call of this server that is not in the middle of a message. `announced`: the number of
        the last announcement that it is not to get any more; `now`: monotonic seconds. The call leaves the
        group when it ends."""
        stream = cast(Member, call)
        buffer = stream.write_buffer
        members = self._connections.get(buffer)
        if members is None:
            members = FewMembers(buffer, self._on_writable, self._remove_connection)
            self._connections[buffer] = members
            self._members = tuple(self._connections.values())
        elif isinstance(members, FewMembers) and len(members) >= FEW_MAX:
            members = self._connections[buffer] = ManyMembers.of(members)
            self._members = tuple(self._connections.values())
        stream.join(members, members.add(stream, position, announced, now))

    def advance(self, message: Shared, since: int, before: int, to: int, now: float) -> int:
        """Sends to members at `since` <= position < `before` and moves them to `to`. Returns how many;
        skipped members are not moved."""
        sent = 0
        for members in self._members:
            sent += members.advance(message, since, before, to, now)
        return sent

    def has_ready(self, since: int, before: int) -> bool:
        """Whether a member in that range of positions has an open window."""
        return any(members.has_ready(since, before) for members in self._members)

    def move(self, at: int, to: int) -> None:
        """Moves the members at position `at` to `to` without sending anything."""
        for members in self._members:
            members.reposition(at, to)

    def announce(self, message: Shared, number: int, now: float) -> int:
        """Sends to members whose last announcement is `number` - 1. Returns how many."""
        return sum(members.announce(message, number, now) for members in self._members)

    def has_unannounced(self, newest: int) -> bool:
        """Whether a member lacks the announcement `newest`."""
        return any(members.has_unannounced(newest) for members in self._members)

    def drop_announcements(self, below: int) -> None:
        """Announcements below that number are no longer sent to members that lack them."""
        for members in self._members:
            members.drop_announcements(below)

    def heartbeat(self, message: Shared, before: float, now: float) -> int:
        """Sends to members that were sent nothing since `before`. Returns how many."""
        return sum(members.heartbeat(message, before, now) for members in self._members)

    def send(self, message: Shared, chosen: Chosen, now: float) -> int:
        """Sends to members whose stream ids are `chosen`. Returns how many. A member without window, or for
        which the connection has no bytes available, is skipped, not queued."""
        return sum(members.send(message, chosen(members.stream_ids()), now) for members in self._members)

    def calls(self, chosen: Chosen) -> list[Call]:
        """The members whose stream ids are `chosen`."""
        return [
            cast(Call, members.streams[row])
            for members in self._members
            for row in np.flatnonzero(chosen(members.stream_ids())).tolist()
        ]

    def position(self, call: Call) -> int:
        """Of a member."""
        stream = cast(Member, call)
        return self._connections[stream.write_buffer].position(stream.row)

    def stalled(self) -> int:
        """How many members had no window when something was to be sent, and have had none since."""
        return sum(members.stalled() for members in self._connections.values())

    def oldest_sent_at(self) -> float:
        """When the member was sent something to which that happened longest ago; infinity without any."""
        return min((members.oldest_sent_at() for members in self._members), default=inf)

    def _remove_connection(self, buffer: WriteBuffer) -> None:
        del self._connections[buffer]
        self._members = tuple(self._connections.values())
