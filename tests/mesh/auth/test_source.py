"""Keys rotate under a running service: from a file and from a real HTTP server; what was good stays."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import os
import threading
import time
from collections.abc import AsyncIterator, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from grandstand.wire.errors import Unauthenticated, Unavailable
from mesh import limits
from mesh.auth import NO_KEYS, BadKeys, Environment, Trust, Verifier
from mesh.auth.source import Document, KeyFile, KeyLocation, KeySource, KeyUrl, good_for_s
from tests.support.games import run, until
from tests.support.tokens import bearer, jwks, private_jwk, token

OLD, NEW = private_jwk("EdDSA", "old", 1), private_jwk("ES256", "new")


ELSEWHERE = "/elsewhere"
"""Answers, whatever else does."""


class KeyServer:
    """Serves whatever `answers` says by now, over real HTTP."""

    def __init__(self, port: int = 0) -> None:
        self.status = 200
        self.body = jwks(OLD)
        self.headers: dict[str, str] = {}
        self.fetches: list[float] = []
        self.drip_s = 0.0
        answering = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                answering.fetches.append(time.monotonic())
                self.send_response(200 if self.path == ELSEWHERE else answering.status)
                for name, value in answering.headers.items():
                    self.send_header(name, value)
                self.send_header("content-length", str(len(answering.body)))
                self.end_headers()
                with contextlib.suppress(OSError):
                    for byte in range(len(answering.body)) if answering.drip_s else ():
                        self.wfile.write(answering.body[byte : byte + 1])
                        threading.Event().wait(answering.drip_s)
                    if not answering.drip_s:
                        self.wfile.write(answering.body)

            def log_message(self, *_: object) -> None: ...

        self.server = ThreadingHTTPServer(("127.0.0.1", port), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}/keys/jwks.json"
        threading.Thread(target=self.server.serve_forever, args=(0.01,), daemon=True).start()

    def close(self) -> None:
        self.server.shutdown()
        self.server.server_close()


@pytest.fixture
def server() -> Iterator[KeyServer]:
    with contextlib.closing(KeyServer()) as started:
        yield started


@contextlib.asynccontextmanager
async def running(place: KeyLocation, environment: Environment = "development") -> AsyncIterator[KeySource]:
    source = KeySource(place, environment)
    await source.start()
    task = asyncio.create_task(source.run())
    try:
        yield source
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


class Hasty:
    """A place that is looked at more often than in earnest, and how often it was."""

    def __init__(self, place: KeyLocation, again_s: float = 0.02, refresh_s: float | None = 0.02) -> None:
        self.name, self.must_be_there, self.again_s = place.name, place.must_be_there, again_s
        self.looks = 0
        self._place = place
        self._refresh_s = refresh_s

    def read(self) -> Document:
        self.looks += 1
        found = self._place.read()
        return found if self._refresh_s is None else Document(found.content, self._refresh_s)


def replace(path: Path, content: bytes) -> None:
    beside = path.with_suffix(".new")
    beside.write_bytes(content)
    beside.replace(path)


def kids(source: KeySource) -> list[str]:
    return list(source().keys)


def test_a_file_that_changes_in_place_by_rename_or_by_link_is_taken(tmp_path: Path) -> None:
    async def scenario() -> None:
        path = tmp_path / "jwks.json"
        path.write_bytes(jwks(OLD))
        async with running(Hasty(KeyFile(path))) as source:
            first = source()
            replace(path, jwks(OLD, NEW))
            await until(lambda: kids(source) == ["old", "new"], "the renamed file is taken")
            assert source() is not first
            path.write_bytes(jwks(NEW))
            await until(lambda: kids(source) == ["new"], "the rewritten file is taken")
            # As Kubernetes mounts a secret: the file is a link, and what it leads through is put elsewhere.
            for name, key in (("a", OLD), ("b", NEW)):
                (tmp_path / name).mkdir()
                (tmp_path / name / "jwks.json").write_bytes(jwks(key))
            (tmp_path / "now").symlink_to("a")
            path.unlink()
            path.symlink_to("now/jwks.json")
            await until(lambda: kids(source) == ["old"], "the link is followed")
            (tmp_path / "next").symlink_to("b")
            (tmp_path / "next").replace(tmp_path / "now")
            await until(lambda: kids(source) == ["new"], "the link that was put elsewhere is followed")

    run(scenario())


def test_a_file_of_the_same_time_and_size_is_seen_to_have_changed(tmp_path: Path) -> None:
    async def scenario() -> None:
        path = tmp_path / "jwks.json"
        path.write_bytes(jwks(private_jwk("EdDSA", "a", 1)))
        at = path.stat()
        async with running(Hasty(KeyFile(path))) as source:
            path.write_bytes(jwks(private_jwk("EdDSA", "b", 2)))
            os.utime(path, ns=(at.st_atime_ns, at.st_mtime_ns))
            assert path.stat().st_size == at.st_size
            await until(lambda: kids(source) == ["b"], "the other content is taken")

    run(scenario())


@pytest.mark.parametrize(
    "bad",
    [b"", b"{", b'{"keys": []}', jwks(OLD)[:-5], b"x" * (limits.KEYS_DOCUMENT_BYTES_MAX + 1), None],
    ids=["empty", "cut", "no keys", "half written", "too long", "gone"],
)
def test_a_file_that_goes_bad_changes_nothing_and_is_logged_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, bad: bytes | None
) -> None:
    async def scenario() -> None:
        path = tmp_path / "jwks.json"
        path.write_bytes(jwks(OLD))
        place = Hasty(KeyFile(path))
        async with running(place) as source:
            before = source()
            path.unlink() if bad is None else replace(path, bad)
            await until(lambda: errors(caplog), "the failure is logged")
            seen = place.looks
            await until(lambda: place.looks > seen + 3, "it is looked at again and again")
            assert source() is before
            assert len(errors(caplog)) == 1
            assert "jwks.json" in errors(caplog)[0]
            assert errors(caplog)[0].endswith("the old keys stay")
            replace(path, jwks(NEW))
            await until(lambda: kids(source) == ["new"], "the mended file is taken")

    run(scenario())


def errors(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [
        r.getMessage() for r in caplog.records if r.levelno == logging.ERROR and r.name.startswith("mesh.")
    ]


def test_a_file_that_cannot_be_used_ends_the_start(tmp_path: Path) -> None:
    async def scenario() -> None:
        path = tmp_path / "jwks.json"
        with pytest.raises(OSError, match=r"the keys cannot be read: .*jwks\.json"):
            await KeySource(KeyFile(path), "development").start()
        path.write_bytes(b"{}")
        with pytest.raises(BadKeys, match=r"jwks\.json: the document has neither"):
            await KeySource(KeyFile(path), "development").start()

    run(scenario())


def test_a_rotation_to_a_key_that_production_refuses_changes_nothing(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async def scenario() -> None:
        path = tmp_path / "jwks.json"
        path.write_bytes(jwks(OLD))
        async with running(Hasty(KeyFile(path)), "production") as source:
            replace(path, jwks(OLD, private_jwk("HS256", "grandstand-development")))
            await until(lambda: errors(caplog), "the refusal is logged")
            assert "is the development key, and this is production" in errors(caplog)[0]
            assert kids(source) == ["old"]

    run(scenario())


def test_a_url_is_fetched_and_its_rotation_taken_while_a_verifier_is_at_work(server: KeyServer) -> None:
    async def scenario() -> None:
        async with running(Hasty(KeyUrl(server.url))) as source:
            verifier = Verifier(Trust(source, unknown_kid=source.look_again))
            old, new = bearer(token(OLD)), bearer(token(NEW))
            assert verifier.verify(old, time.time()).actor_id == "ann"
            server.body = jwks(OLD, NEW)
            await until(lambda: kids(source) == ["old", "new"], "the new key is taken")
            assert verifier.verify(new, time.time()).actor_id == "ann"
            server.body = jwks(NEW)
            await until(lambda: kids(source) == ["new"], "the old key is dropped")
            with pytest.raises(Unauthenticated, match="kid 'old' is not among"):
                verifier.verify(old, time.time())

    run(scenario())


def test_the_ring_stays_the_same_object_while_its_content_does(server: KeyServer) -> None:
    """So that what a verifier remembers lives through a fetch."""

    async def scenario() -> None:
        async with running(Hasty(KeyUrl(server.url))) as source:
            before = source()
            await until(lambda: len(server.fetches) > 4, "it is fetched again and again")
            assert source() is before

    run(scenario())


def test_a_server_that_fails_in_any_way_leaves_the_old_keys(
    server: KeyServer, caplog: pytest.LogCaptureFixture
) -> None:
    async def scenario() -> None:
        async with running(Hasty(KeyUrl(server.url))) as source:
            before = source()
            for status, body, headers, why in (
                (500, b"", {}, "500"),
                (404, b"", {}, "404"),
                (302, jwks(NEW), {"location": ELSEWHERE}, "302"),
                (204, b"", {}, "204"),
                (200, b"<html>", {}, "is not JSON"),
                (200, b"x" * 1_000_000, {}, "more than the 262144 bytes"),
            ):
                server.status, server.body, server.headers = status, body, headers
                await until(lambda why=why: any(why in e for e in errors(caplog)), f"{why} is logged")
                assert source() is before
            server.server.shutdown()
            server.server.server_close()
            await until(
                lambda: any("refused" in e for e in errors(caplog)), "an unreachable server is logged"
            )
            assert source() is before

    run(scenario())


def test_a_server_that_drips_is_given_up(server: KeyServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "KEYS_FETCH_PATIENCE_S", 0.2)
    server.drip_s = 0.05
    with pytest.raises(OSError, match=r"no whole answer within 0\.2 s"):
        KeyUrl(server.url).read()
    server.drip_s = 2.0
    with pytest.raises(OSError, match="timed out"):
        KeyUrl(server.url).read()


def test_an_unknown_kid_fetches_at_once_but_a_storm_of_them_only_once(server: KeyServer) -> None:
    async def scenario() -> None:
        async with running(Hasty(KeyUrl(server.url), again_s=0.5, refresh_s=None)) as source:
            verifier = Verifier(Trust(source, unknown_kid=source.look_again))
            for kid in range(500):
                with pytest.raises(Unauthenticated):
                    verifier.verify(bearer(token(OLD, {"kid": f"made-up-{kid}"})), time.time())
            server.body = jwks(OLD, NEW)
            with pytest.raises(Unauthenticated, match="if its key was published just now"):
                verifier.verify(bearer(token(NEW)), time.time())
            await until(lambda: kids(source) == ["old", "new"], "the unknown key is fetched", within_s=5)
            assert len(server.fetches) == 2
            assert server.fetches[1] - server.fetches[0] >= 0.5
            verifier.verify(bearer(token(NEW)), time.time())

    run(scenario())


def test_a_service_starts_without_its_key_server_and_has_its_keys_once_that_is_there() -> None:
    async def scenario() -> None:
        gone = KeyServer()
        gone.close()
        async with running(Hasty(KeyUrl(gone.url))) as source:
            assert source() is NO_KEYS
            with pytest.raises(Unavailable):
                Verifier(Trust(source)).verify(bearer(token(OLD)), time.time())
            with contextlib.closing(KeyServer(gone.server.server_port)):
                await until(lambda: kids(source) == ["old"], "the keys are there")

    run(scenario())


@pytest.mark.parametrize(
    ("cache_control", "seconds"),
    [
        ("", 300),
        ("public, max-age=600, must-revalidate", 600),
        ("max-age=1", 60),
        ("max-age=86400", 3600),
        ("MAX-AGE=120", 120),
        ("s-maxage=900", 300),
        ("max-age=soon", 300),
        ("max-age=99999999999999", 300),
        ("no-store", 60),
        ("no-cache, max-age=600", 60),
    ],
)
def test_cache_control_is_honoured_within_bounds(cache_control: str, seconds: float) -> None:
    assert good_for_s(cache_control) == seconds


def test_the_age_that_a_server_names_is_when_it_is_fetched_again(server: KeyServer) -> None:
    server.headers = {"cache-control": "max-age=90"}
    assert KeyUrl(server.url).read().good_for_s == 90
    assert json.loads(KeyUrl(server.url).read().content) == json.loads(server.body)
