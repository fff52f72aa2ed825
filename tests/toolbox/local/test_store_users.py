"""The users of NATS and Valkey, as they are written and documented; and what is shown of their URLs."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest

from mesh.config import parse
from mesh.jetstream.client import inbox_prefix
from mesh.secrecy import NATS_VARIABLE, REDIS_VARIABLE, exposed, without_login
from toolbox.cli.starting import without_urls
from toolbox.local import store_users
from toolbox.local.errors import MeshError
from toolbox.local.home import CHECKOUT_HOME, Home
from toolbox.local.provision import checkout
from toolbox.local.stores import nats_conf, valkey_conf

LOGINS = store_users.new_logins()


def test_the_documented_rights_are_those_that_are_written() -> None:
    assert store_users.tables() in (checkout() / "docs" / "store-rights.md").read_text()


def test_passwords_are_long_and_made_anew_each_time() -> None:
    assert min(map(len, LOGINS.values())) >= 32
    assert len(set(LOGINS.values()) | set(store_users.new_logins().values())) == 2 * len(LOGINS)


def test_only_the_configuration_of_nats_holds_passwords_and_valkeys_default_user_may_nothing() -> None:
    home = Home(Path("/home"))
    nats, valkey = nats_conf(home, 1, 2, False, LOGINS), valkey_conf(home, 1, LOGINS)
    assert all(password in nats for password in LOGINS.values())
    assert not any(password in valkey for password in LOGINS.values())
    assert "user default off" in valkey


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("nats://h:4222", "nats://h:4222"),
        ("nats://a:secret@h:1,nats://a:secret@i:2", "nats://h:1,nats://i:2"),
        ("a:secret@h:1", "h:1"),
        ("rediss://:secret@h:1/2?ssl_ca_certs=/ca", "rediss://h:1/2"),
        ("redis://a:se,cret/@h", "redis://h"),
        ("redis+sentinel://a:secret@h:1,i:2/s?sentinel_password=secret", "redis+sentinel://h:1,i:2/s"),
        ("redis://h?sentinel_password=se@secret", "redis://…"),
        ("unix:///run/valkey.sock", "unix:///run/valkey.sock"),
    ],
)
def test_a_url_is_shown_without_its_secrets(url: str, shown: str) -> None:
    assert without_login(url) == shown


@pytest.mark.parametrize(
    ("url", "prefix"),
    [
        ("nats://h:4222", "_INBOX"),
        ("nats://token@h:4222", "_INBOX"),
        ("ingest:x@h", "_INBOX.ingest"),
        ("nats://ann%40home.>:x@h", "_INBOX.ann_home__"),
    ],
)
def test_replies_come_below_the_users_name_and_never_below_a_token(url: str, prefix: str) -> None:
    assert inbox_prefix(url) == prefix


def test_a_detached_mesh_gets_urls_by_the_environment() -> None:
    given = ["up", "--nats", "nats://a:secret@h", "--redis=redis://:secret@h", "--replicas", "3"]
    assert without_urls(given) == ["up", "--replicas", "3"]


ARGUMENTS = ("--listen", "127.0.0.1:1", "--mesh", "127.0.0.1:2", "--instance", "x")
PRODUCTION = (*ARGUMENTS, "--environment", "production")
SECRET = ("nats://a:secret@h", "redis://a:secret@h")


@pytest.fixture
def environment(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    monkeypatch.setattr("os.geteuid", lambda: 1000)
    monkeypatch.setenv(NATS_VARIABLE, SECRET[0])
    monkeypatch.setenv(REDIS_VARIABLE, SECRET[1])
    return monkeypatch


def test_a_service_takes_urls_from_the_environment_and_shows_none(environment: pytest.MonkeyPatch) -> None:
    found = parse("ingest", PRODUCTION)
    assert (found.nats, found.redis) == SECRET
    assert "secret" not in repr(found)
    assert parse("ingest", [*PRODUCTION, "--nats", "nats://other"]).nats == "nats://other"
    environment.delenv(NATS_VARIABLE)
    with pytest.raises(SystemExit):
        parse("ingest", ARGUMENTS)


def refused(capsys: pytest.CaptureFixture[str], *arguments: str | Path) -> str:
    with pytest.raises(SystemExit):
        parse("gateway", list(map(str, (*PRODUCTION, *arguments))))
    said = capsys.readouterr().err
    assert "secret" not in said
    return said


def test_production_refuses_a_password_in_the_arguments(
    environment: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert f"as {REDIS_VARIABLE}" in refused(capsys, "--redis", "redis://:secret@other")
    assert f"as {NATS_VARIABLE}" in refused(capsys, "--nats", "nats://secret@other")


@pytest.mark.parametrize("option", ["--mesh-key", "--guest-key"])
def test_production_refuses_a_private_key_that_everybody_can_read(
    option: str, environment: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    key = tmp_path / "key.json"
    key.write_text("{}")
    key.chmod(0o644)
    assert f"argument {option}: every user of this machine may use the key in {key} (mode 0644)" in refused(
        capsys, option, key
    )
    for mode in (0o600, 0o440):
        key.chmod(mode)
        assert parse("gateway", [*PRODUCTION, option, str(key)])
    assert exposed(tmp_path / "absent") == ""


def test_production_refuses_root(environment: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    environment.setattr("os.geteuid", lambda: 0)
    assert "production does not run as root" in refused(capsys)
    assert parse("gateway", ARGUMENTS)


def test_a_home_is_closed_to_others_if_it_is_one(tmp_path: Path) -> None:
    def mode(path: Path) -> int:
        return stat.S_IMODE(path.stat().st_mode)

    fresh, old, foreign = tmp_path / "new", tmp_path / "old", tmp_path / "foreign"
    Home(fresh).create()
    assert mode(fresh) == mode(fresh / "run") == 0o700
    (old / "run").mkdir(parents=True)
    old.chmod(0o755)
    Home(old).create()
    assert mode(old) == 0o700
    checkouts = tmp_path / CHECKOUT_HOME  # set-up was there before
    (checkouts / "tools").mkdir(parents=True)
    checkouts.chmod(0o755)
    Home(checkouts).create()
    assert mode(checkouts) == 0o700
    (foreign / "letters").mkdir(parents=True)
    foreign.chmod(0o755)
    with pytest.raises(MeshError, match="holds other files and is open to other users"):
        Home(foreign).create()
    assert mode(foreign) == 0o755
