"""The keys of a home and what is minted with them; what services show each other; how services are told."""

from __future__ import annotations

import json
import stat
import threading
import time
from pathlib import Path

import jwt
import pytest

from grandstand.wire.errors import Unauthenticated
from mesh import config, limits
from mesh.auth import (
    MESH_AUDIENCE,
    BadKeys,
    Games,
    Identity,
    Trust,
    Verifier,
    mint,
    parse_ring,
    read_signing_keys,
    ring_of,
)
from mesh.auth.keys import parse_mesh_keys
from mesh.auth.origins import Origins
from mesh.auth.renewed import Renewed
from mesh.auth.service import MeshCredentials, open_origins, open_verifier
from tests.support.games import run, until
from tests.support.tokens import bearer
from toolbox.local.development import (
    LOCAL_PRODUCER,
    development_token,
    ensure_development_key,
    ensure_mesh_key,
    home_origins,
    operator_token,
    owner_token,
    producer_token,
)


def verifier_of(home: Path) -> Verifier:
    """As a service of this home would have it."""
    clients = parse_ring(ensure_development_key(home).read_bytes())
    mesh = ring_of(parse_mesh_keys(ensure_mesh_key(home).read_bytes()))
    return Verifier(Trust(lambda: clients), Trust(lambda: mesh, MESH_AUDIENCE))


def test_a_home_has_keys_of_its_own_which_only_its_user_reads(tmp_path: Path) -> None:
    one, other = tmp_path / "one", tmp_path / "other"
    for ensure in (ensure_development_key, ensure_mesh_key):
        made = []
        for home in (one, other):
            home.mkdir(exist_ok=True)
            path = ensure(home)
            assert stat.S_IMODE(path.stat().st_mode) == 0o600
            made.append(path.read_bytes())
            assert ensure(home).read_bytes() == made[-1], "it is made once"
        assert made[0] != made[1], "it is random"
    assert sorted(path.name for path in one.iterdir()) == ["development-key.json", "mesh-key.json"], (
        "nothing is left beside"
    )


def test_a_key_that_others_could_read_is_closed_and_a_spoilt_one_is_named(tmp_path: Path) -> None:
    path = ensure_development_key(tmp_path)
    path.chmod(0o644)
    ensure_development_key(tmp_path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    path.write_text("{")
    with pytest.raises(BadKeys, match=r"development-key\.json: the document is not JSON"):
        ensure_development_key(tmp_path)
    assert path.read_text() == "{", "what the user may still want is not overwritten"


def test_two_who_make_a_homes_key_at_once_find_the_same(tmp_path: Path) -> None:
    for n in range(20):
        home = tmp_path / str(n)
        home.mkdir()
        found: list[bytes] = []
        line = threading.Barrier(4)

        def make(home: Path = home, found: list[bytes] = found, line: threading.Barrier = line) -> None:
            line.wait()
            found.append(ensure_mesh_key(home).read_bytes())

        threads = [threading.Thread(target=make) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(found) == 4
        assert len(set(found)) == 1


def test_a_homes_tokens_are_good_in_that_home_and_in_no_other(tmp_path: Path) -> None:
    for name in ("mine", "theirs"):
        (tmp_path / name).mkdir()
    mine, theirs = verifier_of(tmp_path / "mine"), verifier_of(tmp_path / "theirs")
    shown = bearer(development_token(tmp_path / "mine", "ann", roles=["viewer"], games=["g"]))
    identity = mine.verify(shown, time.time())
    assert (identity.actor_id, identity.producer, identity.games) == ("ann", False, Games.of(["g"]))
    with pytest.raises(Unauthenticated, match="its signature is not good"):
        theirs.verify(shown, time.time())


def test_a_local_command_is_a_producer_with_a_name_for_its_origins(tmp_path: Path) -> None:
    verifier = verifier_of(tmp_path)
    token = producer_token(tmp_path)
    assert token() == token(), "one is minted and kept"
    identity = verifier.verify(bearer(token()), time.time())
    assert (identity.actor_id, identity.producer, identity.games) == (LOCAL_PRODUCER, True, None)
    with pytest.raises(OSError, match="development-key"):
        producer_token(tmp_path / "nowhere")()


def test_a_local_command_that_defines_is_an_owner_and_status_an_operator_of_the_mesh(tmp_path: Path) -> None:
    verifier = verifier_of(tmp_path)
    owner = verifier.verify(bearer(owner_token(tmp_path, "cli-me")()), time.time())
    assert (owner.actor_id, owner.producer, owner.owner, owner.operator) == ("cli-me", True, True, False)
    shown = bearer(operator_token(tmp_path, "cli-me")())
    assert verifier.verify(shown, time.time()).operator
    clients = parse_ring(ensure_development_key(tmp_path).read_bytes())
    with pytest.raises(Unauthenticated, match="kid 'grandstand-mesh' is not among the 1 keys"):
        Verifier(Trust(lambda: clients)).verify(shown, time.time())


def test_what_services_show_each_other_is_good_for_five_minutes(tmp_path: Path) -> None:
    verifier = verifier_of(tmp_path)
    credentials = MeshCredentials(ensure_mesh_key(tmp_path))
    identity = verifier.verify(bearer(credentials.token()), time.time())
    assert identity.producer
    assert identity.expires_at_s == pytest.approx(time.time() + limits.MESH_TOKEN_LIFE_S, abs=10)
    clients = parse_ring(ensure_development_key(tmp_path).read_bytes())
    clients_only = Verifier(Trust(lambda: clients))
    with pytest.raises(Unauthenticated, match="kid 'grandstand-mesh' is not among the 1 keys"):
        clients_only.verify(bearer(credentials.token()), time.time())
    with pytest.raises(BadKeys, match="is no key of the mesh's"):
        MeshCredentials(ensure_development_key(tmp_path))


def test_a_service_signs_with_the_new_mesh_key_from_its_next_token_on(tmp_path: Path) -> None:
    path = ensure_mesh_key(tmp_path)
    clock = [1000.0]
    credentials = MeshCredentials(path, clock=lambda: clock[0])
    old, new = path.read_text(), json.dumps(mint.ed25519_jwk("grandstand-mesh-2", bytes(32)))
    kids = []
    for clock[0], content in ((1000.0, old), (1100.0, new), (1240.0, new), (1480.0, "{")):
        path.write_text(content)
        kids.append(jwt.get_unverified_header(credentials.token())["kid"].removeprefix("grandstand-"))
    assert kids == ["mesh", "mesh", "mesh-2", "mesh-2"], "a spoilt file changes nothing"


def test_a_renewed_token_is_good_for_a_while_at_each_call() -> None:
    clock = [1000.0]
    minted: list[float] = []

    def make(at_s: float) -> str:
        minted.append(at_s)
        return f"token {at_s:g}"

    token = Renewed(make, life_s=300, renew_s=60, clock=lambda: clock[0])
    assert token() == "token 1000"
    for clock[0], expected in ((1239.9, "token 1000"), (1240.0, "token 1240"), (5000.0, "token 5000")):
        assert token() == expected
    clock[0] = 4000.0
    assert token() == "token 4000", "after a clock that was set back, too"
    assert minted == [1000.0, 1240.0, 5000.0, 4000.0]
    with pytest.raises(ValueError, match=r"renew_s is 300; 0 to life_s \(300\)"):
        Renewed(make, life_s=300, renew_s=300, clock=time.time)


def service_config(*arguments: str | Path) -> config.ServiceConfig:
    needed = [
        "--listen",
        "127.0.0.1:1",
        "--nats",
        "nats://x",
        "--redis",
        "redis://x",
        "--mesh",
        "127.0.0.1:2",
        "--instance",
        "i-1",
    ]
    return config.parse("ingest", [*needed, *map(str, arguments)])


def test_a_services_verifier_follows_the_rotation_of_both_its_keys(tmp_path: Path) -> None:
    async def scenario() -> None:
        keys, mesh_key = ensure_development_key(tmp_path), ensure_mesh_key(tmp_path)
        found = service_config("--keys", keys, "--mesh-key", mesh_key, "--issuer", "us")
        async with open_verifier(found, mesh_tokens=True) as verifier, open_verifier(found) as edge:
            client = bearer(development_token(tmp_path, "ann", issuer="us"))
            mesh = bearer(MeshCredentials.of(found).token())
            assert verifier.verify(client, time.time()).actor_id == "ann"
            assert verifier.verify(mesh, time.time()).producer
            with pytest.raises(Unauthenticated, match="iss is missing; 'us'"):
                verifier.verify(bearer(development_token(tmp_path, "ann")), time.time())
            with pytest.raises(Unauthenticated):
                edge.verify(mesh, time.time())

            old = json.loads(mesh_key.read_bytes())
            new = mint.ed25519_jwk("grandstand-mesh-2", bytes(32))
            mesh_key.write_text(json.dumps({"keys": [new, old]}))
            after = bearer(MeshCredentials.of(found).token())
            assert read_signing_keys(mesh_key)[0].kid == "grandstand-mesh-2"

            def both_are_good() -> bool:
                try:
                    return all(verifier.verify(each, time.time()).producer for each in (mesh, after))
                except Unauthenticated:
                    return False

            await until(both_are_good, "tokens of the old and of the new mesh key are good")

    run(scenario())


def test_origins_follow_the_mesh_key_and_those_of_an_old_one_are_taken_while_it_is_in_the_file(
    tmp_path: Path,
) -> None:
    """Over a restart, too: the key is the home's, and nothing else is remembered."""

    async def scenario() -> None:
        mesh_key = ensure_mesh_key(tmp_path)
        found, now_s = service_config("--mesh-key", mesh_key), time.time()
        ann = Identity("ann", False, None, now_s + 60)

        def issued(by: Origins) -> str:
            return by.issue(ann, producer=False, now_s=now_s, at_s=0.0, entropy=bytes(5))

        def taken(origin_id: str, by: Origins) -> bool:
            return not by.refusal(origin_id, ann, producer=False, now_s=now_s)

        async with open_origins(found) as running:
            of_old = issued(running)
            assert taken(of_old, home_origins(tmp_path))
            old = json.loads(mesh_key.read_bytes())
            new = mint.ed25519_jwk("grandstand-mesh-2", bytes(32))
            for keys in ([old, new], [new, old]):
                mesh_key.write_text(json.dumps({"keys": keys}))
            of_new = issued(home_origins(tmp_path))
            assert of_new != of_old
            await until(lambda: taken(of_new, running), "the new key is known")
            assert taken(of_old, running)
            assert issued(running) == of_new, "it tags with the first"
            mesh_key.write_text(json.dumps({"keys": [new]}))
            await until(lambda: not taken(of_old, running), "the old one is gone")
            assert taken(of_new, running)

    run(scenario())


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        (["--keys", ""], "is empty"),
        (["--keys", "ftp://host/keys"], "is neither a file nor a URL like https"),
        (["--keys", "https:///keys"], "is neither a file nor a URL like https"),
        (["--keys", "https://user:secret@host/keys"], "is neither a file nor a URL"),
        (
            ["--keys", "http://keys.example/jwks", "--environment", "production"],
            "production takes https, or a file",
        ),
        (["--environment", "prod"], "invalid choice"),
        (["--issuer", ""], "is empty"),
        (["--mesh-key", ""], "is empty"),
    ],
)
def test_arguments_that_are_not_right_are_refused(
    arguments: list[str], why: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        service_config(*arguments)
    assert why in capsys.readouterr().err


def test_the_arguments_about_tokens_are_optional_and_typed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("os.geteuid", lambda: 1000)
    without = service_config()
    assert (without.keys, without.issuer, without.mesh_key, without.guest_key) == (None, None, None, None)
    assert without.environment == "development"
    given = service_config(
        *("--keys", "https://host/jwks", "--mesh-key", tmp_path / "m", "--guest-key", tmp_path / "g"),
        *("--environment", "production"),
    )
    assert (given.keys, given.mesh_key, given.guest_key) == (
        "https://host/jwks",
        tmp_path / "m",
        tmp_path / "g",
    )
    assert service_config("--keys", "http://[::1]:1/k", "--environment", "production").keys
