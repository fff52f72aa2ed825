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
from typing import cast

from mesh.crowd.recording import LINE_BYTES_MAX

GZIP_MAGIC = b"\x1f\x8b"
AHEAD_LINES = 256


class UnreadableError(Exception):
    """The rest of the input cannot be read: cut short, damaged, or gone."""


class Source:
    """The lines of one recording. Use as `async with`."""

    def __init__(self, path: str) -> None:
        """`-` is standard input. Raises OSError when it cannot be opened."""
        self._raw = io.open(os.dup(0) if path == "-" else path, "rb")  # noqa: SIM115, UP020 - closed by close
        about = os.fstat(self._raw.fileno())
        self.bytes_total = about.st_size if stat.S_ISREG(about.st_mode) else None
        self._lines: io.BufferedIOBase | None = None
        self._ahead: asyncio.Queue[bytes | UnreadableError] | None = None

    @property
    def bytes_read(self) -> int:
        """Of a file, compressed as it is; 0 for a pipe."""
        return 0 if self.bytes_total is None else self._raw.tell()

    async def next(self) -> bytes:
        """The next line without its end; b"" at the end, b"\\n" for a blank line. Raises UnreadableError."""
        if self.bytes_total is not None:
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
                is_gzip = self._raw.peek(2)[:2] == GZIP_MAGIC
                opened = gzip.GzipFile(fileobj=self._raw, mode="rb") if is_gzip else self._raw
                self._lines = cast(io.BufferedIOBase, opened)
            line = self._lines.readline(LINE_BYTES_MAX + 1)
            rest = line
            while len(rest) > LINE_BYTES_MAX and not rest.endswith(b"\n"):
                rest = self._lines.readline(LINE_BYTES_MAX + 1)
        except (OSError, EOFError, zlib.error) as error:
            raise UnreadableError(str(error)) from None
        return (line.rstrip(b"\r\n") or b"\n") if line else b""
