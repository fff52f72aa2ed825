"""docs/rejections.md tells every refusal a client can meet, and none that it cannot.

The messages are read from the code: every error of ours that is made in what answers clients, its class
for the code, its text with the values left open. The fuzz run (test_ingest_fuzz) holds the table
against what a real ingest says.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from grandstand.wire.errors import BY_CODE, GrandstandError, OriginRefused
from ingest.admission import OverRate
from tests.support.rejections import Row, rows
from toolbox.local.provision import checkout

ROOT = checkout()
SPEAKERS = (
    "ingest/admission.py",
    "ingest/check.py",
    "ingest/intake.py",
    "ingest/publisher.py",
    "ingest/compiled_definitions.py",
    "ingest/service.py",
    "ingest/session.py",
    "ingest/stream.py",
    "ingest/votes.py",
    "mesh/auth/claims.py",
    "mesh/auth/identity.py",
    "mesh/auth/origins.py",
    "mesh/auth/token_streams.py",
    "mesh/auth/verifier.py",
    "mesh/catalog/view.py",
    "mesh/catalog/watch.py",
    "mesh/health/clock_watch.py",
    "clients/python/grandstand/wire/actors.py",
    "clients/python/grandstand/wire/ids.py",
    "clients/python/grandstand/wire/names.py",
    "mesh/jetstream/pipeline.py",
    "mesh/jetstream/acks.py",
    "gateway/guest_limits.py",
    "gateway/guests.py",
    "gateway/origins.py",
    "gateway/relay.py",
    "gateway/sending.py",
    "gateway/service.py",
    "mesh/notices/checks.py",
    "mesh/notices/inbox.py",
    "mesh/notices/quiet_hours.py",
    "mesh/notices/read_marks.py",
    "mesh/notices/time_zones.py",
    "notify/completeness.py",
    "notify/cursors.py",
    "notify/orders.py",
    "notify/quotas.py",
    "notify/readers.py",
    "notify/schedule.py",
    "notify/segments.py",
    "notify/sending.py",
    "notify/service.py",
    "notify/stream_log.py",
    "notify/tails.py",
)
# Said to who defines or watches, not to who sends.
ELSEWHERE = {
    ("clients/python/grandstand/wire/actors.py", "decode"),
    ("clients/python/grandstand/wire/ids.py", "check_text"),
    ("clients/python/grandstand/wire/ids.py", "parse_topic"),
}
KINDS = {kind.__name__: kind.code for kind in (*BY_CODE.values(), GrandstandError, OriginRefused, OverRate)}
# Rows whose words are Envoy's, gRPC's, our HTTP/2 server's, or made of two messages of ours.
OTHERS_WORDS = (
    "<Jwt is missing",
    "the keys of tokens cannot be fetched just now",
    # mesh.http2's: they are held by its own tests and by tests/mesh/http2/test_terminations.py.
    "a message of <n> bytes; at most",
    "a message that inflates to more than",
    "request headers of <n> bytes",
    "no whole request came within",
    # mesh.stream_limits', with what each service calls its streams: tests/ingest/test_strangers.py.
    "this ingest has <n> Publish streams",
    "actor <id> has <n> Publish streams",
    "address <address> has <n> Publish streams",
    "no healthy upstream",
    "upstream ",
    "Internal error from Core",
    "Received RST_STREAM",
    "token: <claim>: <what is wrong with the id>",
    # mesh.auth.access', of which most is said to who defines.
    "token: has not the role",
    "token: is good for some games only",
    "token: names no actor, and the inbox",
    # One of two texts, in one place.
    "<field>: <value> has the character <c>; no controls",
    "schedule.repeat: the last of",
    "schedule.repeat: the second occurrence",
)


@dataclass(frozen=True)
class Said:
    """A message in the code."""

    place: str
    code: int
    pattern: re.Pattern[str]
    sample: str


def text_of(node: ast.expr, constants: dict[str, str]) -> list[str | None] | None:
    """The parts of a text, None for a value; None if it is no text that can be read here."""
    match node:
        case ast.Constant(value=str(text)):
            return [text]
        case ast.JoinedStr(values=values):
            found: list[str | None] = []
            for value in values:
                if isinstance(value, ast.FormattedValue):
                    name = value.value.id if isinstance(value.value, ast.Name) else ""
                    found.append(constants.get(name))
                else:
                    found += text_of(value, constants) or []
            return found
        case ast.Name(id=name) if name in constants:
            return [constants[name]]
    return None


def constants_of(tree: ast.Module) -> dict[str, str]:
    """The module's own texts, by name."""
    return {
        target.id: node.value.value
        for node in tree.body
        if isinstance(node, ast.Assign)
        and isinstance(node.value, ast.Constant)
        and isinstance(node.value.value, str)
        for target in node.targets
        if isinstance(target, ast.Name)
    }


def calls(tree: ast.Module, path: str) -> Iterator[ast.Call]:
    for top in tree.body:
        if isinstance(top, ast.FunctionDef) and (path, top.name) in ELSEWHERE:
            continue
        for node in ast.walk(top):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in KINDS:
                yield node


def said_in(path: str) -> Iterator[Said]:
    tree = ast.parse((ROOT / path).read_text())
    constants = constants_of(tree)
    for call in calls(tree, path):
        parts = text_of(call.args[0], constants) if call.args else None
        if parts is None:
            continue  # a message that was made elsewhere, and is handed on
        assert isinstance(call.func, ast.Name)
        yield Said(
            f"{path}:{call.lineno}",
            KINDS[call.func.id],
            re.compile("".join(".*" if part is None else re.escape(part) for part in parts), re.DOTALL),
            "".join("7" if part is None else part for part in parts),
        )


SAID = [said for path in SPEAKERS for said in said_in(path)]


def test_the_code_is_read_at_all() -> None:
    assert len(SAID) > 80
    assert {said.code for said in SAID} == {3, 4, 5, 6, 7, 8, 9, 13, 14, 16}


@pytest.mark.parametrize("said", SAID, ids=lambda said: said.place)
def test_each_message_of_the_code_has_its_row(said: Said) -> None:
    assert any(
        row.code == said.code and (row.pattern.fullmatch(said.sample) or said.pattern.fullmatch(row.sample))
        for row in rows()
    ), f"{said.place} may say {said.sample!r} with code {said.code}; docs/rejections.md has no row for it"


@pytest.mark.parametrize("row", rows(), ids=lambda row: row.form[:40])
def test_each_row_has_its_message_in_the_code(row: Row) -> None:
    if row.form.startswith(OTHERS_WORDS):
        return
    assert any(row.code == said.code and said.pattern.fullmatch(row.sample) for said in SAID), (
        f"nothing says {row.form!r} with this code any more"
    )


FINAL = {3, 5, 6, 7, 9}


@pytest.mark.parametrize("row", rows(), ids=lambda row: row.form[:40])
def test_each_row_says_what_to_do_as_the_code_has_it(row: Row) -> None:
    do = row.do.split()[0].rstrip(":,;")
    assert do in {"mend", "again", "token", "no"}
    if row.code in FINAL:
        assert not row.client.startswith(("resumes", "renews", "retries"))
    if row.code == 14:
        assert do == "again"
    if row.code == 16:
        assert do in {"token", "mend"}
