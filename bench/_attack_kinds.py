"""The kinds of attack: streams held or opened at a rate, conversations, floods of frames, connections.

An attack starts units (streams, frames, connections, calls); the driver (`bench._attacker`) says how many are
due, and turns the loop. What became of them is counted by its status. An attack holds at most `held` units at
once; it starts a new one when one has ended, at the plan's rate.

`landed` counts what should have been refused and was not, where an attack can tell.
"""

from __future__ import annotations

import select
import socket
import time
from collections import Counter, deque
from collections.abc import Callable
from typing import NamedTuple, Protocol

from bench._attack_line import Address, AttackLine, connected
from mesh.http2 import frames as f

STARTS_MAX = 512
"""Units started in one turn: then the CPU is looked at."""


class Lines:
    """The connections of an attack, read by one epoll."""

    def __init__(self) -> None:
        self._poll = select.epoll()
        self._lines: dict[int, AttackLine] = {}
        self.ended: Counter[str] = Counter()
        """Why connections ended."""

    def add(self, line: AttackLine) -> None:
        self._lines[line.socket.fileno()] = line
        self._poll.register(line.socket.fileno(), select.EPOLLIN)

    def turn(self, wait_s: float) -> None:
        """Reads and writes what can be."""
        for fd, line in tuple(self._lines.items()):
            line.flush()
            if line.over:
                self._forget(fd, line)
        for fd, _ in self._poll.poll(wait_s, 512):
            ready = self._lines.get(fd)
            if ready is None:
                continue
            ready.receive()
            if ready.over:
                self._forget(fd, ready)

    def _forget(self, fd: int, line: AttackLine) -> None:
        # The closed socket has left the epoll by itself.
        del self._lines[fd]
        self.ended[line.over] += 1


class Attack(Protocol):
    outcomes: Counter[str]
    """Of units that ended, by status."""
    landed: int

    @property
    def held(self) -> int:
        """Units open now."""

    def start(self, due: int) -> int:
        """Starts up to this many units; how many it did."""

    def turn(self, wait_s: float) -> None:
        """Reads and writes what can be; waits for so long if there is nothing."""


class Unit(NamedTuple):
    """A stream's request. `message` None: it stays silent."""

    block: bytes
    message: bytes | None = None
    is_last: bool = True
    """Our side ends with the message."""


class StreamAttack:
    """Streams of one kind: `unit(n)` is the n-th. Each connection has `per_line` at once.

    `hears(data)`: given the DATA that comes. `lands(status)`: whether a stream that ended so did harm.
    """

    def __init__(
        self,
        at: Address,
        source: str,
        unit: Callable[[int], Unit],
        *,
        held: int,
        per_line: int = 100,
        resets: bool = False,
        lands: Callable[[str], bool] | None = None,
        outlives_s: float = 0.0,
        is_wide: bool = True,
    ) -> None:
        """`resets`: each stream is reset at once. `outlives_s`: a stream that is open for longer lands.
        `is_wide`: see AttackLine."""
        self.outcomes: Counter[str] = Counter()
        self.landed = 0
        self._at = at
        self._source = source
        self._unit = unit
        self._held_max = held
        self._per_line = per_line
        self._resets = resets
        self._lands = lands
        self._outlives_s = outlives_s
        self._is_wide = is_wide
        self._begun: deque[tuple[float, AttackLine, int]] = deque()
        self._lines = Lines()
        self._room: deque[AttackLine] = deque()
        self._is_in_room: set[AttackLine] = set()
        self._held = 0
        self._count = 0

    @property
    def held(self) -> int:
        return self._held

    def start(self, due: int) -> int:
        started = 0
        while started < due and self._held < self._held_max:
            line = self._line()
            if line is None:
                break
            unit = self._unit(self._count)
            self._count += 1
            stream = line.start(unit.block, unit.message, is_last=unit.is_last)
            self._held += 1
            started += 1
            if self._outlives_s:
                self._begun.append((time.monotonic(), line, stream))
            if self._resets:
                line.say(f.rst_stream(stream, f.CANCEL))
                line.open.discard(stream)
                self._over("reset by us")
        return started

    def turn(self, wait_s: float) -> None:
        self._lines.turn(wait_s)
        oldest_s = time.monotonic() - self._outlives_s
        while self._begun and self._begun[0][0] < oldest_s:
            _, line, stream = self._begun.popleft()
            self.landed += stream in line.open

    def _line(self) -> AttackLine | None:
        """With room for a stream; None while there is none."""
        while self._room:
            line = self._room[0]
            if not line.over and len(line.open) < self._per_line:
                return None if line.is_congested else line
            self._room.popleft()
            self._is_in_room.discard(line)
        try:
            line = AttackLine(self._at, self._source, self._ended, is_wide=self._is_wide)
        except OSError as error:
            self.outcomes[f"connect: {error.strerror}"] += 1
            return None
        self._lines.add(line)
        self._offer(line)
        return line

    def _offer(self, line: AttackLine) -> None:
        if line not in self._is_in_room:
            self._is_in_room.add(line)
            self._room.append(line)

    def _ended(self, line: AttackLine, stream: int, status: str) -> None:
        self._over(status)
        if not line.over:
            self._offer(line)

    def _over(self, status: str) -> None:
        self._held -= 1
        self.outcomes[status] += 1
        if self._lands is not None and self._lands(status):
            self.landed += 1


class FrameFlood:
    """Frames on one connection, which has one open stream; a new connection when it is closed."""

    def __init__(
        self, at: Address, source: str, opening: Unit, frames: Callable[[int], bytes], *, resends: int = 1
    ) -> None:
        """`frames(stream)`: `resends` frames of the flood."""
        self.outcomes: Counter[str] = Counter()
        self.landed = 0
        self._at = at
        self._source = source
        self._opening = opening
        self._frames = frames
        self._resends = resends
        self._lines = Lines()
        self._line: AttackLine | None = None
        self._stream = 0

    @property
    def held(self) -> int:
        return int(self._line is not None and not self._line.over)

    def start(self, due: int) -> int:
        line = self._line
        if line is None or line.over:
            try:
                line = self._line = AttackLine(self._at, self._source, self._ended, is_wide=False)
            except OSError as error:
                self.outcomes[f"connect: {error.strerror}"] += 1
                return 0
            self._lines.add(line)
            opening = self._opening
            self._stream = line.start(opening.block, opening.message, is_last=opening.is_last)
        started = 0
        chunk = self._frames(self._stream)
        while started < due and not line.is_congested:
            line.say(chunk)
            started += self._resends
        return started

    def turn(self, wait_s: float) -> None:
        line = self._line
        self._lines.turn(wait_s)
        if line is not None and line.over:
            self.outcomes[line.over] += 1
            self._line = None

    def _ended(self, line: AttackLine, stream: int, status: str) -> None:
        self.outcomes[f"stream: {status}"] += 1


class ConnectionAttack:
    """Connections that say `first` (or nothing) and no more."""

    def __init__(self, at: Address, source: str, *, held: int, first: bytes = b"") -> None:
        self.outcomes: Counter[str] = Counter()
        self.landed = 0
        self._at = at
        self._source = source
        self._held_max = held
        self._first = first
        self._poll = select.epoll()
        self._sockets: dict[int, socket.socket] = {}

    @property
    def held(self) -> int:
        return len(self._sockets)

    def start(self, due: int) -> int:
        started = 0
        while started < due and len(self._sockets) < self._held_max:
            try:
                made = connected(self._at, self._source)
                if self._first:
                    made.send(self._first)
            except OSError as error:
                self.outcomes[f"connect: {error.strerror}"] += 1
                break
            self._sockets[made.fileno()] = made
            self._poll.register(made.fileno(), select.EPOLLIN)
            started += 1
        return started

    def turn(self, wait_s: float) -> None:
        for fd, _ in self._poll.poll(wait_s, 512):
            made = self._sockets[fd]
            try:
                data = made.recv(4_096)
            except BlockingIOError:
                continue
            except OSError:
                data = b""
            if not data:
                del self._sockets[fd]
                made.close()
                self.outcomes["closed"] += 1
