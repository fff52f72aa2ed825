"""The one wall clock of our processes, and the file that shifts it."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from mesh import wall_clock
from mesh.config import parse
from mesh.wall_clock import LOOK_AGAIN_S, ClockShift


def test_a_file_shifts_the_clock_and_is_looked_at_again_after_a_while(tmp_path: Path) -> None:
    file = tmp_path / "shift"
    shift = ClockShift(file)
    assert shift.at_s(100.0) == 0.0
    file.write_text("-15\n")
    assert shift.at_s(100.0 + LOOK_AGAIN_S / 2) == 0.0
    assert shift.at_s(100.0 + LOOK_AGAIN_S) == -15.0


@pytest.mark.parametrize("text", ["", "soon", "nan", "inf"])
def test_a_file_that_holds_no_number_changes_nothing(tmp_path: Path, text: str) -> None:
    file = tmp_path / "shift"
    shift = ClockShift(file)
    file.write_text("3.5")
    assert shift.at_s(0.0) == 3.5
    file.write_text(text)
    assert shift.at_s(1.0) == 3.5
    file.unlink()
    assert shift.at_s(2.0) == 3.5


def test_a_process_takes_the_file_from_its_environment(tmp_path: Path) -> None:
    (tmp_path / "shift").write_text("3600")
    program = "import time; from mesh import wall_clock; print(wall_clock.now_s() - time.time())"
    ended = subprocess.run(
        [sys.executable, "-c", program],
        env={**os.environ, wall_clock.SHIFT_VARIABLE: str(tmp_path / "shift")},
        capture_output=True,
        text=True,
        check=True,
    )
    assert float(ended.stdout) == pytest.approx(3600, abs=1)
    assert wall_clock.now_s() == pytest.approx(time.time(), abs=1)


def test_production_refuses_a_shifted_clock(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = "--listen 127.0.0.1:1 --nats nats://x --redis redis://x --mesh 127.0.0.1:2 --instance x"
    monkeypatch.setenv(wall_clock.SHIFT_VARIABLE, "/tmp/shift")
    parse("ingest", arguments.split())
    with pytest.raises(SystemExit):
        parse("ingest", [*arguments.split(), "--environment", "production"])
    assert wall_clock.SHIFT_VARIABLE in capsys.readouterr().err
