"""Lines of a log: one form, no secrets."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mesh.logs.line import fields_of, in_words, json_line, message_of, timestamp, without_secrets
from tests.support.log_secrets import leaks
from toolbox.local.foreign_lines import normal

TOKEN = "eyJhbGciOiJFZERTQSJ9.eyJzdWIiOiJhbm4ifQ.c2lnbmF0dXJl"


@given(st.dictionaries(st.sampled_from(["message", "game", "actor", "error"]), st.text()))
def test_whatever_is_said_is_one_line_and_read_back(fields: dict[str, str]) -> None:
    line = json_line({"time": timestamp(0), "message": "m"} | fields)
    assert "\n" not in line
    assert json.loads(line)["time"] == "1970-01-01T00:00:00.000Z"


@pytest.mark.parametrize(
    ("text", "secret"),
    [
        (f"bad token {TOKEN}", TOKEN),
        (f"authorization: Bearer {TOKEN}", "c2lnbmF0dXJl"),
        ("authorization: bearer s3cr3t-opaque", "s3cr3t-opaque"),
        ("cannot reach nats://ingest:hunter2@127.0.0.1:4222", "hunter2"),
        ("rediss://:hunter2@host:6379/0?x=1", "hunter2"),
        ("AUTH failed: password=hunter2, again", "hunter2"),
        ('{"password": "hunter2"}', "hunter2"),
        ("requirepass: passwd hunter2 given, secret: hunter2", "secret: hunter2"),
    ],
)
def test_a_secret_is_taken_out_and_what_is_around_it_stays(text: str, secret: str) -> None:
    clean = without_secrets(text)
    assert secret not in clean
    assert clean.split()[0] == text.split()[0] or text.startswith("rediss")
    assert secret not in json_line({"message": text, "error": text})
    assert secret not in normal("nats", f"[1] 2026/11/30 20:50:46.431554 [ERR] {text}", 0.0)


def test_words_without_secrets_stay_as_they_are() -> None:
    for text in ("votes://x", "a@b.example voted", "the secretary passed", "eyJoy", "http://host/path?q=a@b"):
        assert without_secrets(text) == text


@pytest.mark.parametrize(
    ("line", "fields"),
    [
        (
            "[13028] 2026/11/30 20:50:46.431554 [WRN] Slow consumer",
            {"time": "2026-11-30T20:50:46.431Z", "level": "warning", "message": "Slow consumer"},
        ),
        (
            "13036:M 02 Nov 2026 20:50:47.422 # WARNING Memory overcommit",
            {"time": "2026-11-02T20:50:47.422Z", "level": "warning", "message": "WARNING Memory overcommit"},
        ),
        (
            "[2026-11-30 20:50:47.422][12][critical][main] [source/server.cc:412] bad config",
            {"time": "2026-11-30T20:50:47.422Z", "level": "error", "logger": "main"},
        ),
        (
            '{"time": "2026-11-30T20:50:47.422+00:00", "level": "critical", "logger": "main", "message": ""}',
            {"time": "2026-11-30T20:50:47.422Z", "level": "error", "instance": "x", "logger": "main"},
        ),
        ("Segmentation fault", {"time": "1970-01-01T00:00:05.000Z", "message": "Segmentation fault"}),
        ('{"a": 1}', {"message": '{"a": 1}'}),
        ('{"message": 1', {"message": '{"message": 1'}),
    ],
)
def test_lines_of_other_programs_take_the_same_form(line: str, fields: dict[str, str]) -> None:
    found = json.loads(normal("x", line, 5.0))
    assert found.items() >= (fields | {"instance": "x"}).items()
    assert list(found)[:3] == ["time", "level", "instance"]


def test_our_own_lines_stay_and_are_told_in_words_on_a_terminal() -> None:
    line = json_line(
        {
            "time": "2026-11-30T20:50:47.422Z",
            "level": "warning",
            "instance": "ingest-1",
            "logger": "ingest.stream",
            "message": "late",
            "game": "final",
            "error": "Traceback\n  …",
        }
    )
    assert normal("ingest-1", line, 0.0) == line
    assert in_words(line) == (
        "2026-11-30T20:50:47.422Z WARNING ingest-1 ingest.stream: late game=final\nTraceback\n  …"
    )
    assert message_of(line) == "late"
    assert fields_of("no JSON") is None
    assert in_words("no JSON") == message_of("no JSON") == "no JSON"


def test_a_secret_in_a_log_fails_the_run(tmp_path: Path) -> None:
    """What the end of each run looks for is found: a token, and passwords and keys of a mesh's home."""
    home = tmp_path / "home"
    for folder in ("run", "logs"):
        (home / folder).mkdir(parents=True)
    (home / "run" / "stores.json").write_text('{"admin": {"nats": "nats://admin:pass-of-nats@127.0.0.1:1"}}')
    (home / "run" / "nats.conf").write_text('{"user": "ingest", "password": "pass-of-ingest"}')
    (home / "run" / "valkey.conf").write_text("user ingest on >pass-of-valkey-user ~*")
    (home / "mesh-key.json").write_text('{"keys": [{"kty": "OKP", "d": "private-part"}]}')
    log = home / "logs" / "ingest-1.log.1"
    log.write_text("nothing\n")
    assert leaks(tmp_path) == []
    for secret in ("pass-of-nats", "pass-of-ingest", "pass-of-valkey-user", "private-part", TOKEN):
        log.write_text(f"a line with {secret}\n")
        assert len(leaks(tmp_path)) == 1, secret
    log.write_text("nothing\n")
