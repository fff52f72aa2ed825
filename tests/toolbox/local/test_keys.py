"""Whose tokens a mesh takes: keys that are made, keys of a platform, and what is refused."""

from __future__ import annotations

import json
import stat
from pathlib import Path
from typing import Any

import pytest

from mesh.auth import mint
from mesh.auth.keys import parse_ring
from mesh.envoy.config import JwksFile, JwksUrl, SecretFile
from toolbox.local import session
from toolbox.local.development import development_token
from toolbox.local.errors import MeshError
from toolbox.local.home import Home
from toolbox.local.keys import PlatformFile, own_keys, public_jwks, url_keys
from toolbox.local.plan import Options
from toolbox.local.session import UpObserver, UpRequest

PRIVATE = mint.ed25519_jwk("a", b"a" * 32)
PUBLIC = mint.public_jwk(PRIVATE)


@pytest.fixture
def home(tmp_path: Path) -> Home:
    home = Home(tmp_path / "home")
    home.create()
    return home


def document(*keys: dict[str, Any]) -> bytes:
    return json.dumps({"keys": keys}).encode()


def test_a_home_makes_its_keys_once_for_its_user_alone(home: Home) -> None:
    keys = own_keys(home)
    first = keys.mesh_key.read_text(), (home.root / "development-key.json").read_text()
    again = own_keys(home)
    assert (again.mesh_key.read_text(), (home.root / "development-key.json").read_text()) == first
    assert keys.edge == SecretFile(str(home.jwks))
    assert keys.services == str(home.jwks)
    assert keys.guest_key is not None
    assert not keys.production
    for file in (keys.mesh_key, keys.guest_key, home.jwks):
        assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert list(parse_ring(home.jwks.read_bytes()).keys) == ["grandstand-development"]


def test_a_damaged_key_of_the_home_is_named_with_the_way_out(home: Home) -> None:
    own_keys(home)
    (home.root / "mesh-key.json").write_text("{")
    with pytest.raises(MeshError, match=r"a key in .* is damaged: .*; remove it, a new one is made"):
        own_keys(home)


def test_of_a_platforms_document_only_what_tokens_are_checked_with_is_handed_on() -> None:
    for_encryption = PUBLIC | {"kid": "b", "use": "enc"}
    with_more = PUBLIC | {"x5c": ["…"], "note": "ours"}
    handed = json.loads(public_jwks(document(with_more, for_encryption), "keys.json", production=True))
    assert handed == {"keys": [PUBLIC | {"alg": "EdDSA", "use": "sig"}]}
    lone = json.loads(public_jwks(json.dumps(PUBLIC).encode(), "keys.json", production=True))
    assert lone == handed


@pytest.mark.parametrize(
    ("keys", "production", "said"),
    [
        (document(mint.development_jwk(b"d" * 32)), True, "is the development key, and this is production"),
        (document(mint.development_jwk(b"d" * 32)), False, "is symmetric: whoever checks with it could also"),
        (document({"kty": "oct", "kid": "k", "k": "A" * 43}), True, r"symmetric \(HS256\), and this is prod"),
        (document(PRIVATE), False, "holds a private key"),
        (document(), False, "there is no key"),
        (b"not JSON", False, "is not JSON"),
        (b"x" * 300_000, False, "bytes that keys may take"),
    ],
    ids=["development", "symmetric in development", "symmetric", "private", "empty", "text", "too long"],
)
def test_what_is_no_set_of_public_keys_is_refused_by_name(keys: bytes, production: bool, said: str) -> None:
    with pytest.raises(MeshError, match=rf"^keys\.json: .*{said}"):
        public_jwks(keys, "keys.json", production)


def test_a_platforms_file_is_followed_and_one_that_is_no_keys_changes_nothing(
    home: Home, tmp_path: Path
) -> None:
    file = tmp_path / "platform.json"
    file.write_bytes(document(PUBLIC))
    platform = PlatformFile(file, home.jwks, production=True)
    assert platform.said == f"1 key of {file}"
    assert not platform.look()

    other = mint.public_jwk(mint.ed25519_jwk("b", b"b" * 32))
    file.write_bytes(document(PUBLIC, other))
    assert platform.look()
    assert set(parse_ring(home.jwks.read_bytes()).keys) == {"a", "b"}
    assert platform.said == f"2 keys of {file}"

    file.write_bytes(document(PUBLIC)[:-9])
    assert platform.look()
    assert not platform.look()
    assert "is not JSON" in platform.problem
    assert "as they were" in platform.said
    file.unlink()
    assert platform.look()
    assert set(parse_ring(home.jwks.read_bytes()).keys) == {"a", "b"}

    file.write_bytes(document(other))
    assert platform.look()
    assert platform.problem == ""
    assert set(parse_ring(home.jwks.read_bytes()).keys) == {"b"}


def test_a_url_is_fetched_by_edge_and_services_themselves(home: Home) -> None:
    keys = url_keys(home, "http://127.0.0.1:9/jwks", "us", production=True)
    assert keys.edge == JwksUrl("http://127.0.0.1:9/jwks")
    assert keys.services == "http://127.0.0.1:9/jwks"
    assert keys.guest_key is None
    assert keys.said == "the keys at http://127.0.0.1:9/jwks, issued by us; no guests; production"


def test_certificates_to_trust_are_named_for_https(
    home: Home, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trusted = tmp_path / "trusted.pem"
    trusted.write_text("")
    monkeypatch.setenv("SSL_CERT_FILE", str(trusted))
    url = "https://platform.example/jwks"
    assert url_keys(home, url, "", production=True).edge == JwksUrl(url, str(trusted))
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "missing.pem"))
    with pytest.raises(MeshError, match="name one in SSL_CERT_FILE"):
        url_keys(home, url, "", production=True)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (Options(production=True), "--production needs --keys FILE_OR_URL"),
        (Options(issuer="us"), "--issuer goes with --keys"),
        (Options(actor_claim="email"), "--actor-claim goes with --keys"),
        (Options(keys="/nowhere/keys.json"), "--demo acts with the development key"),
        (Options(keys="/nowhere/keys.json", demo=False), "cannot read the keys in /nowhere/keys.json"),
        (Options(keys="https://", demo=False), "names no host"),
        (
            Options(keys="http://platform.example/jwks", demo=False),
            "keys come by https",
        ),
    ],
)
def test_up_refuses_keys_it_cannot_stand_by_in_one_line(home: Home, options: Options, said: str) -> None:
    with pytest.raises(MeshError) as refused:
        session.keys_for(UpRequest(home, options), UpObserver())
    assert said in str(refused.value)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    ("host", "warned"), [("127.0.0.1", False), ("::1", False), ("0.0.0.0", True), ("192.0.2.7", True)]
)
def test_who_opens_a_mesh_with_guests_to_the_network_is_warned(home: Home, host: str, warned: bool) -> None:
    notes: list[str] = []
    session.keys_for(UpRequest(home, Options(host=host)), UpObserver(on_note=notes.append))
    assert [("as often as they like" in note and host in note) for note in notes] == [True] * warned


def test_with_a_platforms_keys_the_development_keys_tokens_are_nothing(home: Home, tmp_path: Path) -> None:
    own_keys(home)
    assert development_token(home.root, "ann")
    file = tmp_path / "platform.json"
    file.write_bytes(document(PUBLIC))
    keys, platform = session.keys_for(UpRequest(home, Options(keys=str(file), demo=False)), UpObserver())
    assert keys.edge == JwksFile(str(home.jwks))
    assert platform is not None
    assert keys.guest_key is None
    assert set(parse_ring(home.jwks.read_bytes()).keys) == {"a"}
