"""`./grandstand test`: all tests in several processes, what the user names as the user says."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from toolbox.cli.testing import NO_RESTART, WORKERS, quick_tests, workers
from toolbox.local.provision import checkout

PARALLEL = ["-n", str(WORKERS), "--dist", "loadfile", *NO_RESTART]


@pytest.mark.parametrize("arguments", [[], ["-x"], ["-k", "votes and not browser"], ["--durations=10"]])
def test_a_run_of_all_tests_uses_two_processes(arguments: Sequence[str]) -> None:
    assert workers(arguments) == PARALLEL


@pytest.mark.parametrize(
    "arguments", [[__file__], [f"{__file__}::test_x", "-x"], ["-n", "4"], ["--pdb"], ["--dist=no"]]
)
def test_what_is_named_or_debugged_runs_as_it_says(arguments: Sequence[str]) -> None:
    assert workers(arguments) == []


def test_the_quick_tests_are_there() -> None:
    named = quick_tests(checkout())
    assert len(named) == len(set(named)) > 30
    assert [name for name in named if not (checkout() / name).is_file()] == []
