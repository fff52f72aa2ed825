"""Where the log lines of a process go: to its standard error, as JSON, on a terminal in words.

A process never waits for who reads its log, and never ends because of it: a line for which the pipe has no
room (whoever reads it stands still), or the disk (it is full), is dropped and counted, and the number is told
by the first line that is written again.

Only Grandstand's own loggers follow the level that was asked for; libraries stay at warnings, since at
`debug` some write what they send, tokens included. Lines of the logger `audit` are never left out.
"""

from __future__ import annotations

import logging
import os
import select
import stat
import sys
import threading
import time
from collections.abc import Callable
from types import TracebackType

from opentelemetry import trace

from mesh import wall_clock
from mesh.logs.line import in_words, json_line, timestamp
from mesh.logs.repeats import WINDOW_S, Repeats

AUDIT = "audit"
OWN = (AUDIT, "mesh", "ingest", "aggregate", "gateway", "notify", "toolbox", "grandstand")
CHATTY = ("nats", "asyncio")
PIPE_BYTES = 4_096
"""A pipe that can be written to takes as many without a wait (PIPE_BUF)."""


def set_up(instance: str, level: str = "info", descriptor: int = 2) -> LogHandler:
    """Of this process, once. `level`: one of mesh.logs.line.LEVELS."""
    handler = LogHandler(instance, descriptor)
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(logging.WARNING)
    for name in OWN:
        logging.getLogger(name).setLevel(level.upper())
    logging.getLogger(AUDIT).setLevel(logging.INFO)
    for name in CHATTY:
        logging.getLogger(name).setLevel(logging.ERROR)
    logging.captureWarnings(capture=True)
    sys.excepthook = _crashed
    return handler


def _crashed(
    kind: type[BaseException], error: BaseException, traceback: TracebackType | None
) -> None:  # pragma: no cover  of a process that ends
    if issubclass(kind, KeyboardInterrupt):
        sys.__excepthook__(kind, error, traceback)
        return
    logging.getLogger("mesh").critical("the process ends: %r", error, exc_info=(kind, error, traceback))


class LogHandler(logging.Handler):
    """Writes each record as one line to a file descriptor."""

    def __init__(self, instance: str, descriptor: int, clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__()
        self._instance = instance
        self._descriptor = descriptor
        self._clock = clock
        self._in_words = os.isatty(descriptor)
        self._is_pipe = stat.S_ISFIFO(os.fstat(descriptor).st_mode)
        self._repeats: Repeats[logging.LogRecord] = Repeats()
        self._timer: threading.Timer | None = None
        self._unsent = b""
        self._lost = 0

    def emit(self, record: logging.LogRecord) -> None:
        try:
            self._tell_repeats()
            place = (record.pathname, record.lineno)
            if record.name == AUDIT or self._repeats.admits(place, record, self._clock()):
                self._write(self._line(record))
            elif self._timer is None:
                self._wait()
        except Exception:  # A log is no reason to fail.
            self._lost += 1

    def _line(self, record: logging.LogRecord, left_out: int = 0) -> str:
        message = record.getMessage()
        if left_out:
            message = f"{left_out} more lines like this were left out in {WINDOW_S:g} s, the last: {message}"
        context = trace.get_current_span().get_span_context()
        given = record.__dict__
        return json_line(
            {
                "time": timestamp(wall_clock.now_s()),
                "level": record.levelname.lower(),
                "instance": self._instance,
                "logger": record.name,
                "message": message,
                "trace_id": f"{context.trace_id:032x}" if context.is_valid and not left_out else "",
                "span_id": f"{context.span_id:016x}" if context.is_valid and not left_out else "",
                "game": given.get("game"),
                "actor": given.get("actor"),
                "left_out": left_out or None,
                "error": logging.Formatter().formatException(record.exc_info)
                if record.exc_info and record.exc_info[0]
                else "",
            }
        )

    # Repeats.

    def _wait(self) -> None:
        self._timer = threading.Timer(WINDOW_S, self._on_timer)
        self._timer.daemon = True
        self._timer.start()

    def _on_timer(self) -> None:
        with self.lock or threading.Lock():
            self._timer = None
            self._tell_repeats()
            if self._repeats.due_s is not None:
                self._wait()

    def _tell_repeats(self) -> None:
        for count, record in self._repeats.over(self._clock()):
            self._write(self._line(record, left_out=count))

    def close(self) -> None:
        """Tells what was left out so far."""
        if self._timer is not None:
            self._timer.cancel()
        for count, record in self._repeats.end():
            self._write(self._line(record, left_out=count))
        super().close()

    # Writing.

    def _write(self, line: str) -> None:
        if self._lost:
            lost = {"time": timestamp(wall_clock.now_s()), "level": "warning", "instance": self._instance}
            said = json_line(lost | {"message": f"{self._lost} lines of this log were lost"})
            if not self._written(said):
                self._lost += 1
                return
            self._lost = 0
        if not self._written(line):
            self._lost += 1

    def _written(self, line: str) -> bool:
        """Whether it is, or will be: what a pipe takes of a long line is completed before the next."""
        text = in_words(line) if self._in_words else line
        return self._flush() and self._take(text.encode("utf-8", "backslashreplace") + b"\n")

    def _flush(self) -> bool:
        unsent, self._unsent = self._unsent, b""
        return not unsent or (self._take(unsent) and not self._unsent)

    def _take(self, data: bytes) -> bool:
        """False if nothing of it was written."""
        at = 0
        try:
            while at < len(data):
                if self._is_pipe and not select.select((), (self._descriptor,), (), 0)[1]:
                    break
                at += os.write(self._descriptor, data[at : at + PIPE_BYTES] if self._is_pipe else data[at:])
        except OSError:
            pass
        self._unsent = data[at:] if at else b""
        return at > 0
