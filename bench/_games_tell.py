"""What `bench._games_votes` is to our mesh, to a peer: each vote is a text that its game's viewers are sent.

nchan: a POST to the game's channel, pipelined over some connections. socket-io: a line to our Socket.IO
server, which emits it to the game's room. The text begins with the game's count of votes.
"""

from __future__ import annotations

import select
import socket
from collections.abc import Sequence

from bench._h2 import H2Error
from bench._marks import Mark, text_of
from bench._publisher import post

_CONNECTIONS = 8
_READ_BYTES = 256 * 1024
_AT_ONCE = 256


class Teller:
    """A game is told of over one connection, so that its texts stay in order. Its calls raise OSError,
    H2Error."""

    def __init__(self, port: int, games: Sequence[str], length: int, *, by_post: bool) -> None:
        """`length`: of a text, in bytes."""
        self.refused: dict[str, int] = {}
        self._length = length
        self._heads = [post(game, length) if by_post else f"{game} ".encode() for game in games]
        self._end = b"" if by_post else b"\n"
        self._sockets = [socket.create_connection(("127.0.0.1", port)) for _ in range(_CONNECTIONS)]
        self._poll = select.epoll()
        for each in self._sockets:
            each.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._poll.register(each.fileno(), select.EPOLLIN)
        self._by_file = {each.fileno(): each for each in self._sockets}

    def send(self, first: int, base: int, count: int) -> int:
        """As `Voter.send`."""
        count = min(count, _AT_ONCE)
        games = len(self._heads)
        parts: list[list[bytes]] = [[] for _ in self._sockets]
        for number in range(first, first + count):
            game = number % games
            text = text_of(Mark(base + number // games + 1, 0), self._length)
            parts[game % _CONNECTIONS] += (self._heads[game], text, self._end)
        for each, part in zip(self._sockets, parts, strict=True):
            if part:
                each.sendall(b"".join(part))
        return count

    def turn(self, wait_s: float) -> None:
        """Reads the answers away."""
        for fd, _ in self._poll.poll(wait_s):
            if not self._by_file[fd].recv(_READ_BYTES):
                raise H2Error("the peer closed a publisher's connection")

    def finish(self) -> None:
        """Nothing is acked."""
