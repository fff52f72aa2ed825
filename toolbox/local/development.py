"""The keys that a home has of its own: `up` makes them, local commands mint their tokens with them.

    development-key.json    symmetric, signs clients' tokens where no platform does; never taken in production
    mesh-key.json           Ed25519, signs what services show each other, and origins' tags are made with what
                            is derived from it; the edge does not know it

Each is random for its home, readable by its user only, and made whole or not at all: written beside, then
linked into place, so that of two who make it at once both find the same key.
"""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import time
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path

from mesh import limits
from mesh.auth import mint
from mesh.auth.claims import MESH_AUDIENCE, OPERATOR, OWNER, PRODUCER
from mesh.auth.files import read_signing_keys
from mesh.auth.keys import MESH_KID, parse_mesh_keys
from mesh.auth.origins import Origins, tag_key
from mesh.auth.renewed import Renewed
from mesh.canary import hidden_game

CANARY = "canary"
"""Whose votes the canary's are."""
LOCAL_PRODUCER = "local-producer"
"""The `sub` of a home's own producers."""
DEVELOPMENT_KEY = "development-key.json"
MESH_KEY = "mesh-key.json"


def ensure_development_key(home: Path) -> Path:
    """The file of the home's development key, made if it is missing. Raises BadKeys, OSError."""
    return _ensure(home / DEVELOPMENT_KEY, mint.development_jwk)


def ensure_mesh_key(home: Path) -> Path:
    """The file of the home's mesh key, made if it is missing. Raises BadKeys, OSError."""
    return _ensure(home / MESH_KEY, partial(mint.ed25519_jwk, MESH_KID))


def development_token(
    home: Path,
    actor_id: str,
    *,
    roles: Iterable[str] = (),
    games: Iterable[str] | None = None,
    life_s: float = limits.PRODUCER_TOKEN_LIFE_S,
    issuer: str | None = None,
) -> str:
    """A token signed with the home's development key. Raises BadKeys, OSError; Unauthenticated for claims
    that no service takes."""
    return mint.token(
        read_signing_keys(home / DEVELOPMENT_KEY)[0],
        actor_id=actor_id,
        now_s=time.time(),
        life_s=life_s,
        roles=roles,
        games=games,
        issuer=issuer,
    )


def home_origins(home: Path) -> Origins:
    """Issues origins as the mesh of this home does, for tests and benchmarks. Raises BadKeys, OSError."""
    keys = tuple(map(tag_key, read_signing_keys(home / MESH_KEY, parse_mesh_keys)))
    return Origins(lambda: keys)


def producer_token(home: Path, issuer: str | None = None) -> Callable[[], str]:
    """A producer's token, at each call good for at least PRODUCER_TOKEN_RENEW_S more.

    Calling it raises BadKeys or OSError when the home has no development key.
    """
    return _renewed(lambda now_s: development_token(home, LOCAL_PRODUCER, roles=[PRODUCER], issuer=issuer))


def owner_token(home: Path, actor_id: str) -> Callable[[], str]:
    """As `producer_token`, for who also defines, opens and closes; the audit log names `actor_id`."""
    return _renewed(lambda now_s: development_token(home, actor_id, roles=[OWNER]))


def actor_token(home: Path, actor_id: str) -> Callable[[], str]:
    """As `producer_token`, for a viewer."""
    return _renewed(lambda now_s: development_token(home, actor_id))


def canary_token(home: Path) -> Callable[[], str]:
    """As `owner_token`, for the canary's games alone."""
    return _renewed(lambda now_s: development_token(home, CANARY, roles=[OWNER], games=[hidden_game.GAMES]))


def operator_token(home: Path, actor_id: str) -> Callable[[], str]:
    """An operator's, signed with the home's mesh key: good in production too, but not at the edge.

    Calling it raises BadKeys or OSError when the home has no mesh key.
    """

    def mint_one(now_s: float) -> str:
        return mint.token(
            read_signing_keys(home / MESH_KEY, parse_mesh_keys)[0],
            actor_id=actor_id,
            now_s=now_s,
            life_s=limits.PRODUCER_TOKEN_LIFE_S,
            roles=[OPERATOR],
            audience=MESH_AUDIENCE,
        )

    return _renewed(mint_one)


def _renewed(mint_one: Callable[[float], str]) -> Callable[[], str]:
    return Renewed(
        mint_one,
        life_s=limits.PRODUCER_TOKEN_LIFE_S,
        renew_s=limits.PRODUCER_TOKEN_RENEW_S,
        clock=time.time,
    )


def _ensure(path: Path, new_jwk: Callable[[bytes], dict[str, str]]) -> Path:
    if not path.exists():
        _create(path, json.dumps(new_jwk(secrets.token_bytes(mint.ENTROPY_BYTES)), indent=2).encode() + b"\n")
    read_signing_keys(path)
    path.chmod(0o600)
    return path


def _create(path: Path, content: bytes) -> None:
    """Unless somebody else was first."""
    beside = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    descriptor = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        with contextlib.suppress(FileExistsError):
            os.link(beside, path)
    finally:
        beside.unlink()
