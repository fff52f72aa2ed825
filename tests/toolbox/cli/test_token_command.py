"""./grandstand token, and what the commands send with it."""

from __future__ import annotations

import json
import time
import uuid
from pathlib import Path

import pytest

from mesh.auth import Games, Identity, Trust, Verifier, mint, parse_ring
from tests.support.commands import command, failed, succeeded
from tests.support.mesh_fixture import RunningMesh
from toolbox.cli.rpc import default_actor
from toolbox.local import status
from toolbox.local.home import Home
from toolbox.local.keys import own_keys
from toolbox.local.status import Addresses, MeshStatus


@pytest.fixture
def home(tmp_path: Path) -> Home:
    """One in which a mesh ran once."""
    home = Home(tmp_path / "home")
    home.create()
    own_keys(home)
    return home


def bearer(home: Home, token: str) -> Identity:
    ring = parse_ring(home.jwks.read_bytes())
    return Verifier(Trust(lambda: ring)).verify(f"Bearer {token}", time.time())


def test_it_prints_a_good_token_and_nothing_else(home: Home) -> None:
    done = command(home.root, "token", "--actor", "ann")
    assert done.stderr == b""
    token, rest = done.stdout.decode().split("\n")
    assert rest == ""
    who = bearer(home, token)
    assert (who.actor_id, who.producer, who.games) == ("ann", False, None)
    assert 12 * 3600 - 60 < who.expires_at_s - time.time() <= 12 * 3600


def test_role_games_and_life_are_what_was_asked_for(home: Home) -> None:
    asked = ("token", "--role", "producer", "--game", "a", "--game", "b", "--for", "90s")
    who = bearer(home, succeeded(home.root, *asked).strip())
    assert (who.actor_id, who.producer, who.games) == (default_actor(), True, Games.of(["a", "b"]))
    assert 30 < who.expires_at_s - time.time() <= 90
    assert bearer(home, succeeded(home.root, "token").strip()).actor_id.startswith("cli-")
    owner = bearer(home, succeeded(home.root, "token", "--role", "owner", "--game", "arena-*").strip())
    assert owner.actor_id.startswith("cli-")
    assert (owner.owner, owner.operator, owner.games) == (True, False, Games.of(["arena-*"]))


def test_it_signs_with_a_platforms_key_and_names_the_issuer(tmp_path: Path) -> None:
    jwk = mint.ed25519_jwk("platform-1", b"p" * 32)
    (tmp_path / "key.json").write_text(json.dumps(jwk))
    # No home is needed for that.
    token = succeeded(
        tmp_path / "nowhere",
        *("token", "--actor", "ann", "--key", str(tmp_path / "key.json"), "--issuer", "us"),
    )
    ring = parse_ring(json.dumps(mint.public_jwk(jwk)).encode())
    who = Verifier(Trust(lambda: ring, issuer="us")).verify(f"Bearer {token.strip()}", time.time())
    assert who.actor_id == "ann"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--actor", "not valid"), "token: sub"),
        (("--for", "0s"), "--for '0s' is outside 1s to 366d"),
        (("--for", "soon"), "'soon' is no duration"),
        (("--key", "/nowhere.json"), "cannot read the key in /nowhere.json"),
        (("--game", "a b"), "token: games"),
    ],
)
def test_what_no_service_would_take_is_refused_in_one_line(
    home: Home, arguments: tuple[str, ...], said: str
) -> None:
    assert said in failed(home.root, "token", *arguments)


def test_a_public_key_signs_nothing(home: Home, tmp_path: Path) -> None:
    (tmp_path / "public.json").write_text(json.dumps(mint.public_jwk(mint.ed25519_jwk("a", b"a" * 32))))
    assert "is a public key" in failed(home.root, "token", "--key", str(tmp_path / "public.json"))


def test_where_there_is_no_key_it_says_how_to_get_one(tmp_path: Path) -> None:
    said = failed(tmp_path, "token")
    assert f"there is no development key in {tmp_path}; ./grandstand up makes one" in said
    assert "--key FILE" in said


def test_a_mesh_with_a_platforms_keys_is_not_given_development_tokens(home: Home) -> None:
    now = MeshStatus(
        pid=1,
        home=str(home.root),
        state="ready",
        addresses=Addresses("http://127.0.0.1:1", "127.0.0.1:2", "", "", None, None),
        services=(),
        keys="2 keys of /platform.json; no guests",
    )
    status.write(home.status, now)
    said = failed(home.root, "token", "--actor", "ann")
    assert "takes tokens of 2 keys of /platform.json; sign with a key of your own" in said


def test_who_sends_with_a_token_is_its_actor_and_nobody_else(mesh: RunningMesh) -> None:
    game = f"t-{uuid.uuid4().hex[:12]}"
    succeeded(mesh.home, "game", "define", game, "--pulse", "cheer=clap")
    succeeded(mesh.home, "board", "open", "top", "Top", "--game", game, "--writers", "actors")
    send = ("send", "score", "top", "5", "--game", game)
    ann = ("--token", mesh.viewer("ann"))
    succeeded(mesh.home, *send, *ann)
    assert "5" in succeeded(mesh.home, "board", "rank", "top", "ann", "--game", game)
    assert "'bob' is not the token's actor 'ann'" in failed(mesh.home, *send, *ann, "--actor", "bob")
    bound = ("--token", mesh.viewer("ann", games=["other"]))
    assert failed(mesh.home, *send, *bound).startswith("grandstand: PERMISSION_DENIED:")
    expired = ("--token", mesh.viewer("ann", life_s=-60.0))
    assert failed(mesh.home, *send, *expired).startswith("grandstand: UNAUTHENTICATED: Jwt is expired")
    # Without one, this home's key makes a producer's, who acts for whom it is told.
    succeeded(mesh.home, *send, "--actor", "bob")


def test_status_says_whose_tokens_are_taken(mesh: RunningMesh) -> None:
    assert "tokens: the development key; guests are admitted" in succeeded(mesh.home, "status")
