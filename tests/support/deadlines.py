"""No test hangs: the second of two deadlines, as a plugin of pytest.

The first is pytest-timeout's (`timeout` in pyproject.toml, or a test's own mark): a signal makes the test
fail with its stack, and the run goes on. Some tests it does not end: the signal may be blocked, or the main
thread stuck in C; hypothesis runs a failed example again; and after any failure pytest-timeout takes its
timer away, so that a fixture may hang when it is torn down. For those, faulthandler's thread writes all
stacks to stderr and ends the process. In one process, the run is over, and the stacks show the test. In
several, pytest-xdist names the test, and ends the run when the other processes have run what they hold.

Rejected: pytest's own `faulthandler_timeout`, which a failure cancels as well; pytest-timeout's `thread`
method, which ends the process for every test that hangs; a new process for one that ended, since pytest-
xdist 3.8 waits for ever if that one's file was done (its issues 1323 and 1362).
"""

from __future__ import annotations

import faulthandler
import os
from collections.abc import Iterator

import pytest

LONGER = 1.5
"""The second deadline, for each of setup, call and teardown: this many times the first."""

_STDERR = pytest.StashKey[int]()


def pytest_configure(config: pytest.Config) -> None:
    # What is stderr now is a file while a test runs, whose output is captured.
    config.stash[_STDERR] = os.dup(2)


def pytest_unconfigure(config: pytest.Config) -> None:
    os.close(config.stash[_STDERR])


def deadline_s(item: pytest.Item) -> float:
    """The first deadline of this test."""
    mark = item.get_closest_marker("timeout")
    if mark is not None:
        return float(mark.args[0])
    return float(item.config.getoption("timeout") or item.config.getini("timeout"))


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> Iterator[None]:
    yield from _bounded(item)


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_call(item: pytest.Item) -> Iterator[None]:
    yield from _bounded(item)


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_teardown(item: pytest.Item) -> Iterator[None]:
    yield from _bounded(item)


def _bounded(item: pytest.Item) -> Iterator[None]:
    faulthandler.dump_traceback_later(deadline_s(item) * LONGER, file=item.config.stash[_STDERR], exit=True)
    try:
        yield
    finally:
        faulthandler.cancel_dump_traceback_later()
