"""docs/exactly-once.md names, for each rule, where it is and what fails without it: all of that is there."""

from __future__ import annotations

import re
from pathlib import Path

from tests.simulation.test_simulation import BROKEN
from toolbox.local.provision import checkout

DOCUMENT = (checkout() / "docs" / "exactly-once.md").read_text()
CODE = re.findall(r"`([^`]+)`", DOCUMENT)


def named(pattern: str) -> set[str]:
    return {each for code in CODE for each in re.findall(pattern, code)}


def test_the_tests_that_it_names_are_there() -> None:
    tests = {path.stem for path in Path(checkout(), "tests").rglob("test_*.py")}
    names = named(r"\btest_\w+")
    assert len(names) > 20
    assert names <= tests


def test_the_files_that_it_names_are_there_and_hold_what_it_names_of_them() -> None:
    files = named(r"[\w/]+\.py")
    assert len(files) > 20
    assert {each for each in files if not (checkout() / each).is_file()} == set()
    for file, name in re.findall(r"`([\w/]+\.py): (\w+)`", DOCUMENT):
        assert re.search(rf"\b{name}\b", (checkout() / file).read_text()), f"{file} has no {name}"


def test_the_planted_faults_that_it_names_are_played() -> None:
    played = [name for name, _ in BROKEN]
    quoted = re.findall(r'simulation, ((?:"[^"]+"(?:, )?)+)', DOCUMENT)
    names = {name for each in quoted for name in re.findall(r'"([^"]+)"', each)}
    assert len(names) > 15
    assert {name for name in names if not any(name in each for each in played)} == set()
