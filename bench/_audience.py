"""Thousands of viewers on connections of their own, read by one loop: what a crowd of browsers is to Envoy.

Each holds what it has of an unfinished frame and the number it was last shown, and no more. All viewers of a
game are sent nearly the same bytes, so what some bytes say is looked up before it is read (`bench._wire`):
a frame costs this process little more than the kernel's read of it. While nothing has come it sleeps
PAUSE_S and is not woken by the kernel: as with a network between, a write pays for no reader's wake-up.

Every viewer must see the numbers in order. `skipped` counts those that never came to one (it was shown a
later one), `backwards` those that were shown after a later one; a number shown twice is no frame.

A viewer whose stream ends is gone, and `ended` says why. With `comes_back` it comes again, handing in what
it was last shown, after a wait of the product's own clients: exponential, with full jitter.

Bounds: OPENING_MAX viewers are opened at once, those who come back not counted; SAID_MAX readings are
remembered.
"""

from __future__ import annotations

import heapq
import os
import select
import socket
import struct
import time
from array import array
from collections.abc import Callable
from random import Random

from bench._wire import NOTHING, ParsedBytes, Rest, ViewerProtocol, WireError
from grandstand.client.backoff import Backoff

OPENING_MAX = 128
VIEWERS_PER_ADDRESS = 100
SAID_MAX = 4_096
HEAD_BYTES_MAX = 16 * 1024
PAUSE_S = 0.001
_READ_BYTES = 8 * 1024
_PATIENCE_S = 30.0
# linux/in.h; not in Python's socket module. The port is chosen when it connects: 28,000 for each address.
_IP_BIND_ADDRESS_NO_PORT = 24
_RESET_ON_CLOSE = struct.pack("ii", 1, 0)


class CrowdViewer:
    """One who watches, over one connection after the other."""

    __slots__ = (
        "failures",
        "gap_us",
        "has_head",
        "is_watching",
        "newest",
        "number",
        "rest",
        "seen_us",
        "socket",
        "was_cut",
    )

    def __init__(self, number: int) -> None:
        self.number = number
        self.socket: socket.socket | None = None
        self.rest: Rest = NOTHING
        """Until it has the response head, what there is of it."""
        self.has_head = False
        self.is_watching = False
        """It was shown something on this connection."""
        self.newest = 0
        """The number it was last shown, on any connection; 0 while there is none."""
        self.seen_us = 0
        self.gap_us = 0
        """The longest time between two frames of one connection since `begin`."""
        self.was_cut = False
        self.failures = 0
        """Attempts in a row that led to nothing."""


class ViewerCrowd:
    """Opens, reads, counts. Its calls raise WireError, OSError."""

    def __init__(self, wire: ViewerProtocol, port: int, random: Random) -> None:
        self.comes_back = False
        self.ended: dict[str, int] = {}
        """Why streams were ended by the other side, and how many; also of viewers that came back."""
        self.latencies_us = array("q")
        """From the publication of a frame to its last byte, of every frame since `begin`."""
        self.frames = self.skipped = self.backwards = self.bytes = 0
        self.returns = 0
        """First frames of those who came back, since `begin`."""
        self.return_lag = 0
        """How many numbers such a first frame lay behind what somebody had been shown by then, at most."""
        self._wire = wire
        self._address = ("127.0.0.1", port)
        self._random = random
        self._backoff = Backoff()
        self._poll = select.epoll()
        self._viewers: dict[int, CrowdViewer] = {}
        self._waiting: list[tuple[float, int, CrowdViewer]] = []
        """Who comes again, and when."""
        self._listened: dict[int, Callable[[], None]] = {}
        self._said: dict[tuple[Rest, bytes], ParsedBytes] = {}
        self._watching = 0
        self._opened = 0
        self._newest = 0

    @property
    def watching(self) -> int:
        return self._watching

    @property
    def is_whole(self) -> bool:
        """Every viewer that there is watches."""
        return not self._waiting and self._watching == len(self._viewers)

    def listen(self, fd: int, called: Callable[[], None]) -> None:
        """Calls it whenever there is something to read, from within `turn`."""
        self._listened[fd] = called
        self._poll.register(fd, select.EPOLLIN)

    def open(self, count: int) -> None:
        """Until this many more are watching: have been shown a first frame."""
        wanted = self._opened + count
        until_s = time.monotonic() + _PATIENCE_S
        while self._opened < wanted or not self.is_whole:
            if self._opened < wanted and len(self._viewers) - self._watching < OPENING_MAX:
                self._connect(CrowdViewer(self._opened))
                self._opened += 1
                until_s = time.monotonic() + _PATIENCE_S
                self.turn(0.0)
            else:
                self.turn(PAUSE_S)
            if self.ended:
                raise WireError(f"{sum(self.ended.values())} viewers were refused: {next(iter(self.ended))}")
            if time.monotonic() > until_s:
                late = len(self._viewers) - self._watching
                raise WireError(f"{late} viewers were shown nothing within {_PATIENCE_S:g} s")

    def begin(self) -> None:
        """Counts from here."""
        self.frames = self.skipped = self.backwards = self.bytes = self.returns = self.return_lag = 0
        self.latencies_us = array("q")
        now_us = _now_us()
        for viewer in self._viewers.values():
            viewer.gap_us = 0
            viewer.seen_us = now_us

    def cut(self, count: int) -> None:
        """Resets the connections of the first viewers, this many, all at once."""
        cut = [fd for fd, viewer in self._viewers.items() if viewer.number < count]
        for fd in cut:
            viewer = self._viewers[fd]
            assert viewer.socket is not None
            viewer.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)
            self._part(fd, "")

    def settle(self, number: int, patience_s: float) -> int:
        """Until all were shown this frame, or nothing came for so long; how many were not."""
        frames, until_s = -1, 0.0
        while True:
            behind = len(self._waiting) + sum(viewer.newest < number for viewer in self._viewers.values())
            now_s = time.monotonic()
            if self.frames > frames:
                frames, until_s = self.frames, now_s + patience_s
            if not behind or now_s > until_s:
                return behind
            look_s = now_s + 0.05
            while (left_s := look_s - time.monotonic()) > 0:
                self.turn(left_s)

    def gap_us(self, *, of_the_cut: bool = False) -> int:
        """The longest that a viewer was shown nothing, once it was shown something."""
        gaps = (viewer.gap_us for viewer in self._viewers.values() if viewer.was_cut == of_the_cut)
        return max(gaps, default=0)

    def rest(self, wait_s: float) -> None:
        """As `turn`, for when nothing is measured: it sleeps until something comes."""
        self._read(self._poll.poll(wait_s))

    def turn(self, wait_s: float) -> None:
        """Reads what has come; when nothing has, waits for so long, but PAUSE_S at most."""
        if ready := self._poll.poll(0.0):
            self._read(ready)
        else:
            time.sleep(min(wait_s, PAUSE_S))
        while self._waiting and self._waiting[0][0] <= time.monotonic():
            self._connect(heapq.heappop(self._waiting)[2])

    def close(self) -> None:
        for viewer in self._viewers.values():
            assert viewer.socket is not None
            viewer.socket.close()
        self._viewers.clear()
        self._poll.close()

    def _read(self, ready: list[tuple[int, int]]) -> None:
        viewers, said, read = self._viewers, self._said, os.read
        for fd, _ in ready:
            viewer = viewers.get(fd)
            if viewer is None:
                if fd in self._listened:
                    self._listened[fd]()
                continue
            try:
                data = read(fd, _READ_BYTES)
            except BlockingIOError:
                continue
            except OSError as error:
                self._part(fd, error.strerror or type(error).__name__)
                continue
            if not viewer.has_head:
                self._open(fd, viewer, data)
                continue
            key = viewer.rest, data
            heard = said.get(key)
            if heard is None:
                heard = self._hear(key)
            self.bytes += len(data)
            viewer.rest = heard.rest
            if heard.marks:
                self._see(viewer, heard, _now_us())
            if heard.ended or not data:
                self._part(fd, heard.ended or "the connection was closed")

    def _hear(self, key: tuple[Rest, bytes]) -> ParsedBytes:
        if len(self._said) >= SAID_MAX:
            self._said.clear()
        heard = self._said[key] = self._wire.hear(*key)
        return heard

    def _see(self, viewer: CrowdViewer, heard: ParsedBytes, now_us: int) -> None:
        newest = viewer.newest
        if not viewer.is_watching:
            self._see_first(viewer, heard.marks[0].number)
            newest = viewer.newest
        else:
            gap_us = now_us - viewer.seen_us
            if gap_us > viewer.gap_us:
                viewer.gap_us = gap_us
        viewer.seen_us = now_us
        for number, published_us in heard.marks:
            if number <= newest:
                self.backwards += number < newest
                continue
            self.skipped += number - newest - 1
            newest = number
            self.frames += 1
            self.latencies_us.append(now_us - published_us)
        viewer.newest = newest
        if newest > self._newest:
            self._newest = newest

    def _see_first(self, viewer: CrowdViewer, number: int) -> None:
        """Of a connection: the state as it stands, which is no frame that was due."""
        self._watching += 1
        viewer.is_watching = True
        viewer.failures = 0
        if viewer.newest:
            self.returns += 1
            self.return_lag = max(self.return_lag, self._newest - number)
        viewer.newest = max(number, viewer.newest)

    def _request_of(self, viewer: CrowdViewer) -> bytes:
        """Its first bytes."""
        return self._wire.request(viewer.newest)

    def _connect(self, viewer: CrowdViewer) -> None:
        made = socket.socket()
        try:
            made.setsockopt(socket.IPPROTO_IP, _IP_BIND_ADDRESS_NO_PORT, 1)
            made.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            made.bind((address_of(viewer.number), 0))
            made.settimeout(_PATIENCE_S)
            made.connect(self._address)
            made.sendall(self._request_of(viewer))
            made.setblocking(False)
        except OSError:
            made.close()
            if not self.comes_back:
                raise
            self._come_back(viewer)
            return
        viewer.socket, viewer.rest = made, NOTHING
        viewer.has_head = viewer.is_watching = False
        self._viewers[made.fileno()] = viewer
        self._poll.register(made.fileno(), select.EPOLLIN)

    def _open(self, fd: int, viewer: CrowdViewer, data: bytes) -> None:
        """The response head, and what comes with it."""
        had = viewer.rest[0] + data
        head, found, rest = had.partition(b"\r\n\r\n")
        if not found and data and len(had) <= HEAD_BYTES_MAX:
            viewer.rest = had, b""
            return
        if not head.startswith(self._wire.status):
            self._part(fd, head.decode(errors="replace").partition("\r\n")[0] or "the connection was closed")
            return
        if said := self._wire.joins():
            assert viewer.socket is not None
            viewer.socket.sendall(said)
        viewer.has_head = True
        heard = self._wire.hear(NOTHING, rest)
        viewer.rest = heard.rest
        if heard.marks:
            self._see(viewer, heard, _now_us())
        if heard.ended:
            self._part(fd, heard.ended)

    def _part(self, fd: int, why: str) -> None:
        viewer = self._viewers.pop(fd)
        self._watching -= viewer.is_watching
        assert viewer.socket is not None
        viewer.socket.close()
        viewer.socket = None
        if why:
            self.ended[why] = self.ended.get(why, 0) + 1
        if self.comes_back:
            viewer.was_cut = True
            self._come_back(viewer)

    def _come_back(self, viewer: CrowdViewer) -> None:
        due_s = time.monotonic() + self._backoff.delay_s(viewer.failures, self._random)
        viewer.failures += 1
        heapq.heappush(self._waiting, (due_s, viewer.number, viewer))


def _now_us() -> int:
    return time.monotonic_ns() // 1000


def address_of(number: int) -> str:
    """Where the viewer with this number calls from: as in life, no address has very many."""
    block = number // VIEWERS_PER_ADDRESS
    return f"127.{1 + block // 62_500}.{block // 250 % 250}.{1 + block % 250}"
