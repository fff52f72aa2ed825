"""Which nats-servers a mesh runs on: told at the start and in `status`, and in production refused."""

from __future__ import annotations

import contextlib
import json
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.commands import command, failed, succeeded
from tests.support.mesh_fixture import wait_for
from tests.support.servers import HOST, listens
from toolbox.local import provision
from toolbox.local.errors import MeshError
from toolbox.local.nats_check import NatsFound, check_program, check_url
from toolbox.local.nats_version import MIN, NatsVersion, objection, parse
from toolbox.local.ports import Ports
from toolbox.local.provision import ProvisionError

ADVISED = "supported are 2.11.15 and newer of 2.11, and 2.12.6 and newer (GHSA-9983-vrx2-fg9c concerns"


@pytest.mark.parametrize(
    ("text", "works", "supported"),
    [
        ("nats-server: v2.9.10\n", False, False),
        ("2.10.0", True, False),
        ("nats-server: v2.10.26", True, False),
        ("2.11.14", True, False),
        ("2.11.15-RC.1", True, False),
        ("2.11.15", True, True),
        ("2.11.99", True, True),
        ("2.12.0-RC.1", True, False),
        ("2.12.0", True, False),
        ("2.12.5", True, False),
        ("2.12.6-RC.2", True, False),
        ("2.12.6", True, True),
        ("<nats server v2.15.1>", True, True),
        ("3.0.0-beta.1", True, True),
    ],
)
def test_a_version_works_and_is_supported_from_where_it_is_said(
    text: str, works: bool, supported: bool
) -> None:
    version = parse(text)
    assert version is not None
    assert (version.works, version.supported) == (works, supported)
    assert str(version) in text


def test_what_is_no_version_is_none() -> None:
    assert [parse(text) for text in ("", "hello", "2", "nats-server: vX.1.2", "2.11")] == [None] * 5


@given(st.tuples(*[st.integers(0, 99)] * 3))
def test_what_is_supported_works_and_is_not_objected_to(numbers: tuple[int, int, int]) -> None:
    version = NatsVersion(*numbers)
    assert version.works or not version.supported
    assert bool(objection(version, "it", "upgrade it")) != version.supported


def test_an_objection_names_the_version_those_supported_and_the_way_out() -> None:
    old, older = NatsVersion(2, 10, 26), NatsVersion(2, 9, 10)
    assert objection(old, "x", "upgrade it").startswith(f"x is version 2.10.26, {ADVISED}")
    assert objection(older, "x", "upgrade it").startswith(
        f"x is version 2.9.10, {MIN} is the least; supported"
    )
    assert all(objection(version, "x", "upgrade it").endswith("; upgrade it") for version in (old, older))


@pytest.fixture(scope="module")
def oldest() -> Path:
    return provision.nats_server_oldest()


class TestOurOwn:
    def test_the_wheels_is_supported_and_is_the_server_itself(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.delenv("NATS_SERVER", raising=False)
        program = provision.nats_server()
        assert program.read_bytes()[:2] != b"#!", "a wrapper's pid and signals would not be nats-server's"
        found = check_program(program, production=True)
        assert found == NatsFound(str(provision.nats_server_version(program)), "")

    def test_an_old_one_is_warned_about_and_refused_in_production(self, oldest: Path) -> None:
        found = check_program(oldest, production=False)
        assert found.version == "2.10.26"
        assert found.warning.startswith(f"{oldest} is version 2.10.26, {ADVISED}")
        assert found.warning.endswith(provision.NATS_WAY_OUT)
        with pytest.raises(MeshError) as refused:
            check_program(oldest, production=True)
        assert str(refused.value) == f"--production: {found.warning}"

    def test_one_that_cannot_work_is_refused(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        path = tmp_path / "nats-server"
        path.write_text("#!/bin/sh\necho 'nats-server: v2.9.10'\n")
        path.chmod(0o755)
        monkeypatch.setenv("NATS_SERVER", str(path))
        with pytest.raises(ProvisionError, match=r"is version 2\.9\.10, 2\.10\.0 is the least; supported"):
            provision.nats_server()


@contextlib.contextmanager
def nats(program: Path, folder: Path, *arguments: str) -> Iterator[str]:
    """A started nats-server; its URL."""
    with contextlib.closing(Ports()) as ports:
        port = ports.take()
        process = subprocess.Popen(
            [program, "-js", "-sd", folder, "-a", HOST, "-p", str(port), *arguments],
            stderr=subprocess.DEVNULL,
        )
        try:
            wait_for(lambda: listens(port), "nats-server listens")
            yield f"{HOST}:{port}"
        finally:
            process.kill()
            process.wait()


class TestSomebodyElses:
    def test_the_oldest_of_those_named_counts(self, oldest: Path, tmp_path: Path) -> None:
        newest = provision.nats_server()
        with nats(oldest, tmp_path / "old") as old, nats(newest, tmp_path / "new") as new:
            assert check_url(f"nats://{new}", production=True).warning == ""
            found = check_url(f"nats://{new}, nats://{old},", production=False)
            assert found.version == "2.10.26"
            assert found.warning.startswith(f"NATS at nats://{old} is version 2.10.26, {ADVISED}")
            with pytest.raises(MeshError, match=r"--production: NATS at .*; upgrade it, or name another"):
                check_url(f"{new},{old}", production=True)

    def test_credentials_are_used_and_not_told(self, oldest: Path, tmp_path: Path) -> None:
        with nats(oldest, tmp_path, "--user", "ann", "--pass", "secret") as at:
            found = check_url(f"nats://ann:secret@{at}", production=False)
            assert found.version == "2.10.26"
            assert "secret" not in found.warning
            assert at in found.warning


def test_a_mesh_on_an_old_nats_says_so_at_its_start_and_in_status_and_is_no_production(
    oldest: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NATS_SERVER", str(oldest))
    home = tmp_path / "home"
    warning = f"warning: {oldest} is version 2.10.26, {ADVISED}"
    with contextlib.closing(Ports()) as ports:
        up = ("up", "--no-demo", "--port", str(ports.take()), "--mesh-port", str(ports.take()), "--no-canary")
        refused = failed(home, *up, "--production", "--keys", "https://platform.example/jwks.json")
        assert refused.startswith(f"grandstand: --production: {oldest} is version 2.10.26, {ADVISED}")
        started = command(home, *up, "--detach")
        try:
            assert started.returncode == 0, started.stderr.decode()
            assert f"grandstand: {warning}" in started.stderr.decode()
            found = json.loads(succeeded(home, "status", "--json"))
            assert found["nats_version"] == "2.10.26"
            assert f"warning: {found['nats_warning']}".startswith(warning)
            assert warning in succeeded(home, "status")
        finally:
            succeeded(home, "down")
