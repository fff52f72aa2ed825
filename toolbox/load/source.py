"""Where a recording's lines come from: a file or standard input, plain or gzipped.

What it is, is told by the first two bytes, not by the name. A regular file is read in place, for its
lines are there; a pipe may wait for somebody to write, so a thread of its own reads it, ahead by at most
`AHEAD_LINES` (I7, it waits). The thread is a daemon: a replay that is stopped does not wait for a writer.

A line is read up to `LINE_BYTES_MAX`; of a longer one the beginning is handed out, to be reported, and
the rest skipped, so neither a missing newline nor a gzip bomb can fill the memory.
"""

from __future__ import annotations

import asyncio
import gzip
import io
import os
import stat
import threading
import zlib
from pathlib import Path
from typing import cast

from toolbox.load.recording import LINE_BYTES_MAX

GZIP_MAGIC = b"\x1f\x8b"
AHEAD_LINES = 256
COUNTED_BYTES_MAX = 16 * 1024 * 1024


class UnreadableError(Exception):
    """The rest of the input cannot be read: cut short, damaged, or gone."""


class Source:
    """The lines of one recording, in order; `close` it."""

    def __init__(self, path: str) -> None:
        """`-` is standard input. Raises OSError when it cannot be opened."""
        self._path = path
        self._raw = io.open(os.dup(0) if path == "-" else path, "rb")  # noqa: SIM115, UP020 - closed by close
        about = os.fstat(self._raw.fileno())
        self._is_file = stat.S_ISREG(about.st_mode)
        self._bytes_total = about.st_size
        self._lines: io.BufferedIOBase | None = None
        self._ahead: asyncio.Queue[bytes | UnreadableError] | None = None

    async def next(self) -> bytes:
        """The next line without its end; b"" at the end, b"\\n" for a blank line. Raises UnreadableError."""
        if self._is_file:
            return self._read()
        if self._ahead is None:
            self._ahead = asyncio.Queue(AHEAD_LINES)
            reader = threading.Thread(
                target=self._read_ahead, args=(asyncio.get_running_loop(), self._ahead), daemon=True
            )
            reader.start()
        line = await self._ahead.get()
        if isinstance(line, UnreadableError):
            raise line
        return line

    def lines_total(self) -> int | None:
        """How many lines there are, for a progress bar; None for a pipe, and where counting is too much."""
        if self._path == "-" or not (self._is_file and self._bytes_total <= COUNTED_BYTES_MAX):
            return None
        lines = bytes_count = 0
        try:
            with Path(self._path).open("rb") as raw, _unpacked(raw) as unpacked:
                while chunk := unpacked.read(1 << 16):
                    bytes_count += len(chunk)
                    lines += chunk.count(b"\n")
                    if bytes_count > COUNTED_BYTES_MAX:
                        return None
        except (OSError, EOFError, zlib.error):
            return None
        return lines

    def close(self) -> None:
        """A pipe that a thread reads is left to the end of the process."""
        if self._ahead is None:
            self._raw.close()

    def _read_ahead(
        self, loop: asyncio.AbstractEventLoop, ahead: asyncio.Queue[bytes | UnreadableError]
    ) -> None:
        line: bytes | UnreadableError = b"\n"
        while line and not isinstance(line, UnreadableError):
            try:
                line = self._read()
            except UnreadableError as error:
                line = error
            try:
                asyncio.run_coroutine_threadsafe(ahead.put(line), loop).result()
            except (RuntimeError, asyncio.CancelledError):
                return  # The loop is gone: nobody reads any more.

    def _read(self) -> bytes:
        try:
            if self._lines is None:
                self._lines = _unpacked(self._raw)
            line = self._lines.readline(LINE_BYTES_MAX + 1)
            rest = line
            while len(rest) > LINE_BYTES_MAX and not rest.endswith(b"\n"):
                rest = self._lines.readline(LINE_BYTES_MAX + 1)
        except (OSError, EOFError, zlib.error) as error:
            raise UnreadableError(str(error)) from None
        return (line.rstrip(b"\r\n") or b"\n") if line else b""


def _unpacked(raw: io.BufferedReader) -> io.BufferedIOBase:
    """`raw` itself, or what it packs."""
    is_gzip = raw.peek(2)[:2] == GZIP_MAGIC
    return cast(io.BufferedIOBase, gzip.GzipFile(fileobj=raw, mode="rb") if is_gzip else raw)
