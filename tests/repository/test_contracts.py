"""The protos and their stubs: in order here, and every way they can go out of order is told."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from toolbox.local.provision import checkout
from tools import contracts

EVENT = "protos/grandstand/event/v1/event.proto"
STUB = "stubs/python/grandstand/event/v1/event_pb2.py"


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """The protos, their baseline and their Python stubs, to be changed at will."""
    root = tmp_path / "a check out"
    root.mkdir()
    for name in ("buf.yaml", "buf.gen.yaml"):
        shutil.copy(checkout() / name, root)
    for name in ("protos", "stubs", "tools"):
        shutil.copytree(checkout() / name, root / name, ignore=shutil.ignore_patterns("__pycache__"))
    return root


def edit(root: Path, path: str, old: str, new: str) -> None:
    text = (root / path).read_text()
    assert old in text, f"{path} no longer has {old!r}"
    (root / path).write_text(text.replace(old, new, 1))


def test_the_contracts_of_this_checkout_are_in_order() -> None:
    assert contracts.check(checkout()) == []


def test_a_field_taken_away_is_breaking_and_not_accepted(copy: Path) -> None:
    edit(copy, EVENT, "string poll_id = 1;", "")
    assert any(EVENT in line and "poll_id" in line for line in contracts.breaking(copy))
    with pytest.raises(contracts.ContractsError, match="v1 only grows"):
        contracts.accept(copy)


def test_a_field_added_has_to_be_accepted_and_then_may_not_go(copy: Path) -> None:
    added = "string poll_id = 1;\n  // New.\n  string sponsor_id = 99;"
    edit(copy, EVENT, "string poll_id = 1;", added)
    assert any("baseline.binpb: the protos have grown" in line for line in contracts.breaking(copy))
    contracts.accept(copy)
    assert list(contracts.breaking(copy)) == []
    edit(copy, EVENT, added, "string poll_id = 1;")
    assert any("sponsor_id" in line for line in contracts.breaking(copy))


def test_what_services_say_to_each_other_may_change(copy: Path) -> None:
    path = "protos/grandstand/internal/v1/internal.proto"
    (copy / path).write_text('syntax = "proto3";\n\npackage grandstand.internal.v1;\n\nmessage Other {}\n')
    assert list(contracts.breaking(copy)) == []


def test_an_rpc_without_a_comment_is_refused(copy: Path) -> None:
    path = copy / "protos/grandstand/ingest/v1/ingest.proto"
    path.write_text("\n".join(line for line in path.read_text().splitlines() if not line.startswith("  //")))
    assert any("RPC" in line for line in contracts.lint(copy))


def test_an_unformatted_proto_is_named(copy: Path) -> None:
    edit(copy, EVENT, "string poll_id = 1;", "string   poll_id=1;")
    assert any(line.startswith(EVENT) and "not formatted" in line for line in contracts.lint(copy))


def test_drift_names_the_file_and_generate_mends_it(copy: Path) -> None:
    (copy / STUB).write_text("# edited by hand\n")
    stray = "stubs/python/grandstand/event/v1/stray_pb2.py"
    (copy / stray).touch()
    complaints = "\n".join(contracts.check(copy))
    assert f"{STUB}: not what the protos generate; run {contracts.GENERATE}" in complaints
    assert f"{stray}: not generated from any proto" in complaints
    assert {str(path) for path in contracts.generate(copy)} == {STUB, stray}
    assert contracts.check(copy) == []


def test_only_protos_with_a_service_get_a_grpc_stub() -> None:
    stubs = checkout() / "stubs" / "python" / "grandstand"
    with_service = {
        path.parent.parent.name
        for path in (checkout() / "protos").rglob("*.proto")
        if "\nservice " in path.read_text()
    }
    assert {path.parent.parent.name for path in stubs.rglob("*_pb2_grpc.py")} == with_service


def test_a_proto_that_does_not_parse_is_a_failure_with_its_place(copy: Path) -> None:
    edit(copy, EVENT, "string poll_id = 1;", "string poll_id = ;")
    complaints = list(contracts.lint(copy))
    assert any(EVENT in line for line in complaints)


def test_typescript_may_be_required(copy: Path) -> None:
    assert any("run npm ci" in line for line in contracts.check(copy, web_required=True))
