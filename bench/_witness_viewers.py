"""The viewers of the abuse benchmark: browsers at the edge, each frame's sequence and time kept.

Every viewer's log of (sequence, when) is kept whole: 300 viewers, 20 frames a second, for half a minute. A
vote is on a viewer's screen with the first frame whose cursor holds its position; the two are matched
afterwards, in numpy (`on_screen`). Newcomers take the place of the longest-standing viewer in turn: who
comes must be shown a first frame within JOIN_S.
"""

from __future__ import annotations

import select
import socket
import time
from collections import Counter, deque
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from bench._audience import address_of
from bench._marks import Mark
from bench._wire import NOTHING, GrpcWeb, ParsedBytes, Rest, WireError
from grandstand.gateway.v1.gateway_pb2 import SubscribeRequest, SubscribeResponse

JOIN_S = 10.0
SAID_MAX = 4_096
_READ_BYTES = 16 * 1024
_HEAD_BYTES_MAX = 16 * 1024


class _Viewer:
    __slots__ = ("born_s", "has_head", "log", "newest", "plug", "rest", "shown_s")

    def __init__(self, plug: socket.socket, now_s: float) -> None:
        self.plug = plug
        self.rest: Rest = NOTHING
        self.has_head = False
        self.born_s = now_s
        self.shown_s = 0.0
        self.newest = 0
        self.log: list[tuple[int, float]] = []


class WitnessViewers:
    """Opens, reads, logs. The caller polls the epoll it is given and hands what is ready to `read`."""

    def __init__(self, host: str, port: int, game_id: str, topic: str, poll: select.epoll) -> None:
        self.errors: Counter[str] = Counter()
        self.joins_s: list[float] = []
        self.frames = 0
        self._at = (host, port)
        self._topic = topic
        wanted = SubscribeRequest(game_id=game_id, topics=[topic])
        self._wire = GrpcWeb(port, wanted, 0, self._mark)
        self._poll = poll
        self._viewers: dict[int, _Viewer] = {}
        self._order: deque[int] = deque()
        self._gone: list[_Viewer] = []
        self._said: dict[tuple[Rest, bytes], ParsedBytes] = {}
        self._count = 0

    @property
    def watching(self) -> int:
        return sum(viewer.shown_s > 0 for viewer in self._viewers.values())

    def join(self) -> None:
        """One viewer more."""
        now_s = time.monotonic()
        plug = socket.socket()
        try:
            plug.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            plug.bind((address_of(self._count), 0))
            plug.settimeout(JOIN_S)
            plug.connect(self._at)
            plug.sendall(self._wire.request(0))
            plug.setblocking(False)
        except OSError as error:
            plug.close()
            self.errors[f"a newcomer: {error.strerror or error}"] += 1
            return
        finally:
            self._count += 1
        self._viewers[plug.fileno()] = _Viewer(plug, now_s)
        self._order.append(plug.fileno())
        self._poll.register(plug.fileno(), select.EPOLLIN)

    def replace_one(self) -> None:
        """The oldest leaves, and another comes."""
        if self._order:
            self._part(self._order[0], "")
        self.join()

    def begin(self) -> None:
        """Counts and logs from here."""
        self.errors.clear()
        self.joins_s.clear()
        self.frames = 0
        self._gone.clear()
        for viewer in self._viewers.values():
            viewer.log = [(viewer.newest, time.monotonic())] if viewer.newest else []

    def look(self, now_s: float) -> None:
        """Who was shown nothing for JOIN_S is an error, and gone."""
        late = [fd for fd, v in self._viewers.items() if not v.shown_s and now_s - v.born_s > JOIN_S]
        for fd in late:
            self._part(fd, f"a newcomer was shown nothing within {JOIN_S:g} s")

    def owns(self, fd: int) -> bool:
        return fd in self._viewers

    def read(self, fd: int) -> None:
        viewer = self._viewers[fd]
        try:
            data = viewer.plug.recv(_READ_BYTES)
        except BlockingIOError:
            return
        except OSError as error:
            self._part(fd, f"a viewer: {error.strerror or error}")
            return
        if not viewer.has_head:
            had = viewer.rest[0] + data
            head, found, data = had.partition(b"\r\n\r\n")
            if not found:
                if had == viewer.rest[0] or len(had) > _HEAD_BYTES_MAX:
                    self._part(fd, "a viewer: the connection was closed before an answer")
                else:
                    viewer.rest = had, b""
                return
            if not head.startswith(self._wire.status):
                self._part(fd, f"a viewer: {head.decode(errors='replace').partition(chr(13))[0]}")
                return
            viewer.has_head, viewer.rest = True, NOTHING
            if not data:
                return
        elif not data:
            self._part(fd, "a viewer: the connection was closed")
            return
        key = viewer.rest, data
        heard = self._said.get(key)
        if heard is None:
            if len(self._said) >= SAID_MAX:
                self._said.clear()
            try:
                heard = self._said[key] = self._wire.hear(*key)
            except WireError as error:
                self._part(fd, f"a viewer: {error}")
                return
        viewer.rest = heard.rest
        if heard.marks:
            self._see(viewer, heard.marks)
        if heard.ended:
            self._part(fd, f"a viewer's stream ended: {heard.ended}"[:160])

    def behind(self, sequence: int) -> int:
        """How many were not shown it yet."""
        return sum(viewer.newest < sequence for viewer in self._viewers.values() if viewer.shown_s)

    def on_screen(self, sent_s: Sequence[float], sequences: Sequence[int]) -> tuple[NDArray[np.float64], int]:
        """How long each vote took to each viewer that was there before it was sent; and how many of those who
        are still there were not shown one."""
        votes, sent = np.asarray(sequences, np.int64), np.asarray(sent_s, np.float64)
        found, missing = [np.empty(0)], 0
        for viewer in (*self._gone, *self._viewers.values()):
            if not viewer.log or not len(votes):
                continue
            shown = np.array([sequence for sequence, _ in viewer.log], np.int64)
            when = np.array([at for _, at in viewer.log])
            at = np.searchsorted(shown, votes)
            was_there = sent >= when[0]
            seen = was_there & (at < len(shown))
            found.append(when[at[seen]] - sent[seen])
            if viewer not in self._gone:
                missing += int((was_there & (at >= len(shown))).sum())
        return np.concatenate(found), missing

    def close(self) -> None:
        for fd in tuple(self._viewers):
            self._part(fd, "")

    def _see(self, viewer: _Viewer, marks: Sequence[Mark]) -> None:
        now_s = time.monotonic()
        if not viewer.shown_s:
            viewer.shown_s = now_s
            self.joins_s.append(now_s - viewer.born_s)
        for sequence, _ in marks:
            if sequence < viewer.newest:
                self.errors["a viewer was shown an older state (I5)"] += 1
            elif sequence > viewer.newest:
                viewer.newest = sequence
                viewer.log.append((sequence, now_s))
        self.frames += 1

    def _mark(self, payload: bytes) -> Mark | None:
        response = SubscribeResponse.FromString(payload)
        for state in response.snapshot.topics or response.update.topics:
            if state.topic == self._topic and state.cursor.positions:
                return Mark(max(position.sequence for position in state.cursor.positions), 0)
        return None

    def _part(self, fd: int, why: str) -> None:
        viewer = self._viewers.pop(fd)
        self._order.remove(fd)
        viewer.plug.close()
        if why:
            self.errors[why] += 1
        if viewer.log:
            self._gone.append(viewer)
