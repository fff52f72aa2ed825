"""What a process logs: bounded where it repeats itself, and never a reason to wait or to end."""

from __future__ import annotations

import contextlib
import json
import logging
import os
import select
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from opentelemetry import trace
from opentelemetry.trace import NonRecordingSpan, SpanKind

from mesh.logs.repeats import PLACE_LINES_MAX, PLACES_MAX, WINDOW_S, Repeats
from mesh.logs.setup import LogHandler
from mesh.tracing.record import SpanRecord


class Clock:
    now_s = 100.0

    def __call__(self) -> float:
        return self.now_s


@contextlib.contextmanager
def logger(descriptor: int, clock: Clock | None = None) -> Iterator[logging.Logger]:
    handler = LogHandler("ingest-1", descriptor, clock or Clock())
    made = logging.Logger("ingest.stream", logging.DEBUG)
    made.addHandler(handler)
    yield made
    handler.close()


def lines_of(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_a_line_says_who_where_and_of_which_trace(tmp_path: Path) -> None:
    path = tmp_path / "log"
    span = SpanRecord("a span", SpanKind.INTERNAL, 0)
    with path.open("wb") as file, logger(file.fileno()) as log:
        with trace.use_span(NonRecordingSpan(span.context)):
            log.warning("%d events\nare late", 3, extra={"game": "final", "actor": "ann"})
        try:
            raise ValueError("a fault")
        except ValueError:
            log.exception("failed")
    late, failed = lines_of(path)
    assert late.items() >= {"level": "warning", "instance": "ingest-1", "logger": "ingest.stream"}.items()
    assert (late["message"], late["game"], late["actor"]) == ("3 events\nare late", "final", "ann")
    assert (late["trace_id"], late["span_id"]) == (span.trace_id, span.span_id)
    assert "ValueError: a fault" in failed["error"]
    assert "trace_id" not in failed


def test_what_one_place_repeats_is_bounded_and_counted(tmp_path: Path) -> None:
    path, clock = tmp_path / "log", Clock()
    with path.open("wb") as file, logger(file.fileno(), clock) as log:
        for number in range(1_000):
            log.warning("line %d", number)
        log.warning("of another place")
        clock.now_s += WINDOW_S
        log.warning("later")
    *first, other, told, later = lines_of(path)
    assert [line["message"] for line in first] == [f"line {n}" for n in range(PLACE_LINES_MAX)]
    assert (other["message"], later["message"]) == ("of another place", "later")
    assert told["left_out"] == 1_000 - PLACE_LINES_MAX
    assert told["message"].endswith("the last: line 999")


def test_what_was_left_out_is_told_at_the_end_too_and_audit_lines_never_are(tmp_path: Path) -> None:
    path = tmp_path / "log"
    with path.open("wb") as file, logger(file.fileno()) as log:
        for _ in range(50):
            log.warning("again")
        log.name = "audit"
        for _ in range(50):
            log.info("opened a poll")
    messages = [line["message"] for line in lines_of(path)]
    assert messages.count("opened a poll") == 50
    assert messages.count("again") == PLACE_LINES_MAX
    assert messages[-1].startswith(f"{50 - PLACE_LINES_MAX} more lines like this")


def test_places_are_bounded() -> None:
    repeats: Repeats[str] = Repeats()
    for place in range(3 * PLACES_MAX):
        repeats.over(0.0)
        assert repeats.admits(place, "line", 0.0)
    assert len(repeats._windows) <= PLACES_MAX + 1


def test_who_reads_and_stands_still_holds_nobody_up_and_what_is_lost_is_counted() -> None:
    reader, writer = os.pipe()
    try:
        with logger(writer) as log:
            log.name = "audit"  # without the bound on repeats
            for number in range(2_000):
                log.warning("line %d %s", number, "x" * 900)
            found = b""
            while select.select((reader,), (), (), 0)[0]:
                found += os.read(reader, 65_536)
            log.warning("again")
            while select.select((reader,), (), (), 0)[0]:
                found += os.read(reader, 65_536)
    finally:
        os.close(reader)
        os.close(writer)
    *lines, lost, again = [json.loads(line) for line in found.splitlines()]
    assert [line["message"].split()[1] for line in lines] == [str(n) for n in range(len(lines))]
    assert lost["message"] == f"{2_000 - len(lines)} lines of this log were lost"
    assert again["message"] == "again"


def test_a_long_line_goes_through_a_pipe_in_pieces() -> None:
    reader, writer = os.pipe()
    try:
        with logger(writer) as log:
            log.warning("x" * 7_000)
            found = os.read(reader, 65_536)
            assert json.loads(found)["message"] == "x" * 7_000
    finally:
        os.close(reader)
        os.close(writer)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full here")
def test_a_full_disk_loses_lines_and_raises_nothing() -> None:
    with open("/dev/full", "wb", buffering=0) as file, logger(file.fileno()) as log:  # noqa: PTH123
        log.warning("lost")
        log.error("lost too")
        assert log.handlers[0]._lost == 2  # type: ignore[attr-defined]


def test_a_process_logs_its_own_at_the_level_asked_for_and_libraries_at_warnings() -> None:
    script = (
        "import logging; from mesh.logs.setup import set_up; set_up('x-1', 'debug')\n"
        "logging.getLogger('ingest.stream').debug('ours')\n"
        "logging.getLogger('hpack.hpack').debug('authorization: secret')\n"
        "logging.getLogger('hpack.hpack').warning('theirs')\n"
        "raise RuntimeError('a crash')\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    ours, theirs, crash = map(json.loads, done.stderr.splitlines())
    assert (ours["message"], theirs["message"]) == ("ours", "theirs")
    assert "RuntimeError: a crash" in crash["error"]
