"""Only a session changes its state: no other code assigns to its `state`, `next_seq` or `relayed`."""

from __future__ import annotations

import ast
from collections.abc import Iterator

import pytest

from toolbox.local.provision import checkout

ROOT = checkout()
FOLDERS = ("ingest", "gateway", "clients/python/grandstand/client", "tests", "bench", "toolbox")
GUARDED = {"state", "next_seq", "relayed"}


def names_of(target: ast.expr) -> list[str]:
    """`self._session.state`: ["state", "_session", "self"]."""
    names = []
    while isinstance(target, ast.Attribute):
        names.append(target.attr)
        target = target.value
    return [*names, target.id] if isinstance(target, ast.Name) else names


def targets(tree: ast.AST) -> Iterator[ast.expr]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store | ast.Del):
            yield node


def assigned_from_outside(source: str) -> list[str]:
    """The assignments to a guarded attribute of something called a session, as the source has them."""
    return [
        ast.unparse(target)
        for target in targets(ast.parse(source))
        if (names := names_of(target))[0] in GUARDED and any(name.endswith("session") for name in names[1:])
    ]


@pytest.mark.parametrize(
    ("source", "found"),
    [
        ("session.state = 1", ["session.state"]),
        ("self._session.next_seq += 1", ["self._session.next_seq"]),
        ("listener.session.relayed, x = 1, 2", ["listener.session.relayed"]),
        ("self.state = session.state", []),
        ("event.presence.state = 1", []),
    ],
)
def test_an_assignment_from_outside_is_seen(source: str, found: list[str]) -> None:
    assert assigned_from_outside(source) == found


def test_no_code_assigns_to_the_state_of_a_session() -> None:
    found = {
        str(path.relative_to(ROOT)): assigned
        for folder in FOLDERS
        for path in sorted((ROOT / folder).rglob("*.py"))
        if "node_modules" not in path.parts and (assigned := assigned_from_outside(path.read_text()))
    }
    assert not found, "give the session a method that says what happened"
