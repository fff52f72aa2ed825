"""The viewers of the notices benchmark, in a process of their own: browsers at the edge with their inboxes.

`python -m bench._notice_viewers PORT HOME GAME` answers each line on its standard input by one JSON object:

    open N           opens N viewers, actors viewer-0 .. viewer-(N-1); says how many have been shown an inbox
    settle COUNT S   waits until COUNT notifications were seen, or S seconds are over; gives [number, viewer,
                     microseconds of the machine's monotonic clock] of each since the last `settle`

A notification's title is its number. Each is logged at the first frame that shows it. A viewer has a
connection of its own, from one of many addresses.
"""

from __future__ import annotations

import gc
import json
import os
import select
import socket
import sys
import time
from pathlib import Path
from typing import Any

from bench._audience import address_of
from bench._child import HOST, READY
from bench._marks import Mark
from bench._wire import NOTHING, GrpcWeb, Rest, WireError
from grandstand.gateway.v1.gateway_pb2 import SubscribeRequest, SubscribeResponse
from toolbox.local.development import development_token
from toolbox.local.machine import raise_descriptor_limit

INBOX = "inbox"
STDIN = 0
OPEN_S = 30.0
BATCH = 100
"""How many viewers are opened before the first frames are read."""
_READ_BYTES = 64 * 1024
_POLL_S = 0.05


class _Viewer:
    __slots__ = ("has_head", "ids", "is_shown", "number", "plug", "rest", "seen")

    def __init__(self, number: int, plug: socket.socket) -> None:
        self.number = number
        self.plug = plug
        self.rest: Rest = NOTHING
        self.has_head = False
        self.is_shown = False
        self.ids: set[str] = set()
        """Of what it has been shown: a few hundred in a run."""
        self.seen: list[tuple[int, int]] = []


class NoticeViewers:
    """All of them; what they saw is kept until it is asked for."""

    def __init__(self, port: int, home: Path, game_id: str) -> None:
        self._port = port
        self._home = home
        self._wire = GrpcWeb(port, SubscribeRequest(game_id=game_id, topics=[INBOX]), 0, self._mark)
        self._poll = select.epoll()
        self._viewers: dict[int, _Viewer] = {}
        self._reading: _Viewer | None = None
        self._count = 0
        self._ended: list[str] = []

    def open(self, count: int) -> dict[str, Any]:
        until_s = time.monotonic() + OPEN_S
        for number in range(count):
            self._join(number)
            if number % BATCH == BATCH - 1:
                self._read_for(0.0)
        while self._shown() < count and not self._ended and time.monotonic() < until_s:
            self._read_for(_POLL_S)
        return {"watching": self._shown(), "ended": self._ended[:3]}

    def settle(self, count: int, patience_s: float) -> dict[str, Any]:
        until_s = time.monotonic() + patience_s
        while self._count < count and time.monotonic() < until_s:
            self._read_for(_POLL_S)
        seen = [
            (number, viewer.number, us) for viewer in self._viewers.values() for number, us in viewer.seen
        ]
        for viewer in self._viewers.values():
            viewer.seen = []
        self._count = 0
        return {"seen": seen, "ended": self._ended[:3]}

    def rest(self) -> bool:
        """Reads until a line waits on standard input."""
        self._poll.register(STDIN, select.EPOLLIN)
        try:
            while True:
                ready = self._poll.poll()
                for fd, _ in ready:
                    if fd != STDIN:
                        self._read(fd)
                if any(fd == STDIN for fd, _ in ready):
                    return True
        finally:
            self._poll.unregister(STDIN)

    def _shown(self) -> int:
        return sum(viewer.is_shown for viewer in self._viewers.values())

    def _join(self, number: int) -> None:
        token = development_token(self._home, f"viewer-{number}")
        request = self._wire.request(0)
        line, _, rest = request.partition(b"\r\n")
        plug = socket.socket()
        plug.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        plug.bind((address_of(number), 0))
        plug.connect((HOST, self._port))
        plug.sendall(line + b"\r\nauthorization: Bearer " + token.encode() + b"\r\n" + rest)
        plug.setblocking(False)
        self._viewers[plug.fileno()] = _Viewer(number, plug)
        self._poll.register(plug.fileno(), select.EPOLLIN)

    def _read_for(self, wait_s: float) -> None:
        for fd, _ in self._poll.poll(wait_s):
            self._read(fd)

    def _read(self, fd: int) -> None:
        viewer = self._viewers[fd]
        try:
            data = viewer.plug.recv(_READ_BYTES)
        except BlockingIOError:
            return
        except OSError as error:
            self._part(fd, str(error))
            return
        if not data:
            self._part(fd, "the connection was closed")
            return
        if not viewer.has_head:
            head, found, data = (viewer.rest[0] + data).partition(b"\r\n\r\n")
            if not found:
                viewer.rest = head, b""
                return
            if not head.startswith(self._wire.status):
                self._part(fd, head.partition(b"\r\n")[0].decode(errors="replace"))
                return
            viewer.has_head, viewer.rest = True, NOTHING
        self._reading = viewer
        try:
            heard = self._wire.hear(viewer.rest, data)
        except WireError as error:
            self._part(fd, str(error))
            return
        viewer.rest = heard.rest
        if heard.ended:
            self._part(fd, heard.ended)

    def _mark(self, payload: bytes) -> Mark | None:
        """Logs what the viewer is shown for the first time."""
        viewer, now_us = self._reading, time.monotonic_ns() // 1000
        assert viewer is not None
        response = SubscribeResponse.FromString(payload)
        for state in response.personal.topics:
            if state.topic != INBOX:
                continue
            viewer.is_shown = True
            for notification in state.inbox.newest:
                if notification.notification_id in viewer.ids:
                    continue
                viewer.ids.add(notification.notification_id)
                if notification.title.isdecimal():
                    viewer.seen.append((int(notification.title), now_us))
                    self._count += 1
        return None

    def _part(self, fd: int, why: str) -> None:
        viewer = self._viewers.pop(fd)
        self._poll.unregister(fd)
        viewer.plug.close()
        self._ended.append(f"viewer-{viewer.number}: {why}"[:160])


def main() -> None:
    port, home, game_id = sys.argv[1:]
    raise_descriptor_limit()
    gc.disable()
    viewers = NoticeViewers(int(port), Path(home), game_id)
    print(READY, flush=True)
    waiting = b""
    while viewers.rest():
        data = os.read(STDIN, 4096)
        if not data:
            return
        *lines, waiting = (waiting + data).split(b"\n")
        for line in lines:
            verb, *arguments = line.decode().split()
            if verb == "open":
                answer = viewers.open(int(arguments[0]))
            else:
                answer = viewers.settle(int(arguments[0]), float(arguments[1]))
            print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main()
