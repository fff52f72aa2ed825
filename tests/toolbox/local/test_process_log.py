"""The log of a process of `up`: bounded together with all others, and a full disk is no reason to stop."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from toolbox.local.process_log import ALL_BYTES_MAX, BYTES_MAX, ProcessLog, bytes_max


def test_all_logs_together_are_bounded() -> None:
    assert bytes_max(1) == BYTES_MAX
    for processes in (1, 8, 16, 69):
        assert 2 * (processes + 1) * bytes_max(processes) <= ALL_BYTES_MAX


def test_lines_are_written_in_one_form_whoever_says_them(tmp_path: Path) -> None:
    log = ProcessLog("nats", tmp_path / "nats.log")
    assert log.feed(b"[1] 2026/11/30 20:50:46.431554 [INF] Starting\n\nrub") == [
        '{"time": "2026-11-30T20:50:46.431Z", "level": "info", "instance": "nats", "message": "Starting"}'
    ]
    log.say("nats: works again")
    log.end()
    log.close()
    lines = [json.loads(line) for line in log.path.read_text().splitlines()]
    assert [(line["instance"], line["message"]) for line in lines] == [
        ("nats", "Starting"),
        ("supervisor", "nats: works again"),
        ("nats", "rub"),
    ]


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full here")
def test_a_full_disk_loses_lines_says_why_and_then_how_many(tmp_path: Path) -> None:
    path = tmp_path / "ingest.log"
    path.symlink_to("/dev/full")
    log = ProcessLog("ingest-1", path)
    assert len(log.feed(b"one\ntwo\n")) == 2, "a terminal still shows them"
    assert log.problem == "No space left on device"
    path.unlink()
    log.reopen()
    log.feed(b"three\n")
    log.close()
    assert log.problem == ""
    said = [json.loads(line)["message"] for line in path.read_text().splitlines() if line]
    assert said[0] == "three"
    assert "bytes of this log were lost" in said[1]
