"""A log of bounded size: a file and its predecessor, `name.log` and `name.log.1`, each at most `bytes_max`.

A full disk loses lines, counted, and never stops the process that wrote them: a service that blocks on its
log is down because of its log.
"""

from __future__ import annotations

import errno
import os
from pathlib import Path

BYTES_MAX = 8 * 1024 * 1024
LINE_BYTES_MAX = 16 * 1024
TAIL_BYTES = 16 * 1024


class LogFile:
    """Appends, and starts a new file when the old one is full."""

    def __init__(self, path: Path, bytes_max: int = BYTES_MAX) -> None:
        self.path = path
        self.bytes_lost = 0
        self.problem = ""
        """Why the last write was lost, in whole or in part; empty if it was not."""
        self._bytes_max = bytes_max
        self._file = open(path, "ab", buffering=0)  # noqa: PTH123, SIM115  lives as long as this object
        self._size = os.fstat(self._file.fileno()).st_size

    def write(self, data: bytes) -> None:
        try:
            if self._size + len(data) > self._bytes_max and self._size > 0:
                self._rotate()
            if self.problem:
                # A line may have been cut off before.
                self._size += self._file.write(b"\n") or 0
            written = self._file.write(data) or 0
            self._size += written
            self._lose(len(data) - written, os.strerror(errno.ENOSPC) if written < len(data) else "")
        except OSError as error:
            self._lose(len(data), error.strerror or str(error))

    def _lose(self, count: int, problem: str) -> None:
        self.bytes_lost += count
        self.problem = problem

    def _rotate(self) -> None:
        self._file.close()
        try:
            self.path.replace(self.path.with_name(self.path.name + ".1"))
        finally:
            self.reopen()

    def reopen(self) -> None:
        """Goes on in the file that is at its path now, as after somebody else has rotated it."""
        self._file.close()
        self._file = open(self.path, "ab", buffering=0)  # noqa: PTH123, SIM115
        self._size = os.fstat(self._file.fileno()).st_size

    def close(self) -> None:
        self._file.close()


class LineSplitter:
    """Cuts a stream of bytes into lines of at most LINE_BYTES_MAX; a longer one is cut in two."""

    def __init__(self) -> None:
        self._rest = b""

    def feed(self, data: bytes) -> list[str]:
        *lines, self._rest = (self._rest + data).split(b"\n")
        if len(self._rest) > LINE_BYTES_MAX:
            lines.append(self._rest)
            self._rest = b""
        return [_text(piece) for line in lines for piece in _pieces(line)]

    def end(self) -> list[str]:
        """What was left without a newline."""
        rest, self._rest = self._rest, b""
        return [_text(rest)] if rest else []


def _pieces(line: bytes) -> list[bytes]:
    return [line[i : i + LINE_BYTES_MAX] for i in range(0, len(line), LINE_BYTES_MAX)] or [b""]


def _text(line: bytes) -> str:
    """Printable: what a service logs may hold what a client sent, and must not steer the terminal."""
    text = line.decode("utf-8", "replace").rstrip("\r")
    return "".join(c if c.isprintable() or c == "\t" else "\N{REPLACEMENT CHARACTER}" for c in text)


def tail(path: Path, lines_max: int) -> list[str]:
    """The last lines of a log that are not empty; none when it cannot be read."""
    try:
        with path.open("rb") as file:
            file.seek(0, os.SEEK_END)
            file.seek(max(0, file.tell() - TAIL_BYTES))
            lines = file.read().decode("utf-8", "replace").splitlines()
    except OSError:
        return []
    return [line for line in lines if line.strip()][-lines_max:]
