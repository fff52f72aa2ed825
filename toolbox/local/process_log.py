"""The log of one process: its lines in the form of all logs, in a file of bounded size.

A disk that takes no lines loses them, and `problem` says why until it takes them again; then the log says how
many bytes are missing there.
"""

from __future__ import annotations

import time
from pathlib import Path

from mesh.logs.line import json_line, timestamp
from toolbox.local.foreign_lines import normal
from toolbox.local.logfile import BYTES_MAX, LineSplitter, LogFile

ALL_BYTES_MAX = 256 * 1024 * 1024
"""Of all logs of a mesh together; those that an earlier run left with more processes are beside it."""
SUPERVISOR = "supervisor"


def bytes_max(processes: int) -> int:
    """Of one file, of which each of this many processes and the supervisor have two."""
    return min(BYTES_MAX, ALL_BYTES_MAX // (2 * (processes + 1)))


class ProcessLog:
    def __init__(self, name: str, path: Path, file_bytes_max: int = BYTES_MAX) -> None:
        """Raises OSError when it cannot be opened."""
        self._name = name
        self._file = LogFile(path, file_bytes_max)
        self._lines = LineSplitter()
        self._lost_bytes = 0

    @property
    def path(self) -> Path:
        return self._file.path

    @property
    def problem(self) -> str:
        return self._file.problem

    def feed(self, data: bytes) -> list[str]:
        """What the process wrote; returns the lines that are whole by now."""
        return self._written(self._lines.feed(data))

    def end(self) -> list[str]:
        """What was left without a newline."""
        return self._written(self._lines.end())

    def say(self, message: str, level: str = "warning") -> str:
        """A line of the supervisor's own."""
        fields = {"time": timestamp(time.time()), "level": level, "instance": SUPERVISOR, "message": message}
        line = json_line(fields)
        self._write(line)
        return line

    def _written(self, lines: list[str]) -> list[str]:
        now_s = time.time()
        found = [normal(self._name, line, now_s) for line in lines if line.strip()]
        for line in found:
            self._write(line)
        return found

    def _write(self, line: str) -> None:
        self._file.write(line.encode() + b"\n")
        if not self._file.problem and self._file.bytes_lost > self._lost_bytes:
            lost, self._lost_bytes = self._file.bytes_lost - self._lost_bytes, self._file.bytes_lost
            self.say(f"{lost} bytes of this log were lost: it could not be written")

    def reopen(self) -> None:
        self._file.reopen()

    def close(self) -> None:
        self._file.close()
