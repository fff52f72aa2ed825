"""docs/threat-model.md names what is there: each bound's value, its test, its attack in `bench abuse`."""

from __future__ import annotations

import ast
import re
from pathlib import Path
from typing import NamedTuple

import pytest

from bench._attack_plans import PLANS
from toolbox.local.provision import checkout

ROOT = checkout()
COLUMNS = 4


class Row(NamedTuple):
    bound: str
    place: str
    test: str
    attacks: tuple[str, ...]


def rows() -> list[Row]:
    found = []
    for line in (ROOT / "docs" / "threat-model.md").read_text().splitlines():
        cells = [cell.strip() for cell in line.strip().strip("|").split("|")]
        if line.startswith("|") and len(cells) == COLUMNS and "::" in cells[2]:
            found.append(Row(cells[0], cells[1].strip("`"), cells[2].strip("`"), quoted(cells[3])))
    return found


def quoted(text: str) -> tuple[str, ...]:
    return tuple(re.findall(r"`([^`]+)`", text))


def names_in(path: Path) -> set[str]:
    """What a module defines at its top."""
    found = set()
    for node in ast.parse(path.read_text()).body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            found.add(node.name)
        elif isinstance(node, ast.Assign):
            found.update(target.id for target in node.targets if isinstance(target, ast.Name))
        elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            found.add(node.target.id)
    return found


@pytest.mark.parametrize("row", rows(), ids=lambda row: row.bound)
def test_a_bound_has_its_value_its_test_and_its_attacks(row: Row) -> None:
    path, _, name = row.place.partition(":")
    assert (ROOT / path).is_file(), path
    assert not name or name in names_in(ROOT / path)
    path, _, name = row.test.partition("::")
    assert name.startswith("test_")
    assert name in names_in(ROOT / path)
    assert set(row.attacks) <= set(PLANS)


def test_every_row_of_the_tables_is_held_and_every_attack_is_of_a_row() -> None:
    text = (ROOT / "docs" / "threat-model.md").read_text()
    tables = re.findall(
        r"^\|[^\n]*attack of `bench abuse` \|\n\|[-|]+\n((?:\|[^\n]*\n)+)", text, re.MULTILINE
    )
    assert len(tables) == 3
    assert sum(each.count("\n") for each in tables) == len(rows())
    assert {attack for row in rows() for attack in row.attacks} == set(PLANS)
