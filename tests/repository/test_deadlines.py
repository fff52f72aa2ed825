"""A test that hangs is named, and the others run."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from toolbox.cli.testing import workers
from toolbox.local.provision import checkout

WAITS = """
import threading

def test_waits():
    threading.Event().wait()

def test_next():
    pass
"""
DEAF = """
import signal, threading

def test_deaf():
    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGALRM])
    threading.Event().wait()
"""
TORN_DOWN = """
import threading
import pytest

@pytest.fixture
def endless():
    yield
    threading.Event().wait()

def test_torn_down(endless):
    assert False
"""


def run(folder: Path, tests: str, *arguments: str) -> str:
    """What pytest prints of `tests`, of which some must fail; with the project's settings, but soon."""
    (folder / "test_it.py").write_text(tests)
    command = [sys.executable, "-m", "pytest", "-c", str(checkout() / "pyproject.toml")]
    command += ["--rootdir", str(folder), "-p", "tests.support.deadlines", "-p", "no:cacheprovider"]
    done = subprocess.run(
        [*command, "-o", "timeout=2", *arguments, str(folder)],
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        timeout=120,
        check=False,
    )
    return done.stdout.decode()


@pytest.mark.parametrize("arguments", [[], workers([])], ids=["one process", "several"])
def test_a_test_that_hangs_fails_and_the_others_run(tmp_path: Path, arguments: list[str]) -> None:
    said = run(tmp_path, WAITS, *arguments)
    assert "FAILED test_it.py::test_waits - Failed: Timeout (>2.0s) from pytest-timeout" in said
    assert "1 failed, 1 passed" in said


@pytest.mark.parametrize(
    ("tests", "name", "where"),
    [(DEAF, "test_deaf", "test_deaf"), (TORN_DOWN, "test_torn_down", "endless")],
    ids=["deaf to signals", "torn down after a failure"],
)
def test_one_that_no_signal_ends_ends_its_process_and_is_named(
    tmp_path: Path, tests: str, name: str, where: str
) -> None:
    said = run(tmp_path, tests, *workers([]))
    assert f"crashed while running 'test_it.py::{name}'" in said
    assert f"in {where}\n" in said


def test_in_one_process_its_stack_shows_it(tmp_path: Path) -> None:
    assert "in test_deaf\n" in run(tmp_path, DEAF)
