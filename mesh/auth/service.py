"""How a service gets its verifier, and the tokens it shows other services: from its arguments. Thin wiring.

What cannot be used ends the start with one line. A mesh key file may hold several keys (a JWKS): the first
one signs, all are good. So it is rotated by adding the new key at the end, then, once every service has seen
it, moving it to the beginning, and taking the old one out 25 h later, when the last origins that it tagged
are over (mesh.auth.origins).

Not exported by `mesh.auth`, whose names `mesh.config` uses.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from grandstand.wire import tasks
from mesh import limits, wall_clock
from mesh.auth import mint
from mesh.auth.claims import MESH_AUDIENCE, PRODUCER
from mesh.auth.files import read_signing_keys
from mesh.auth.keys import BadKeys, KeyRing, SigningKey, check_environment, parse_mesh_keys, ring_of
from mesh.auth.origins import Origins, tag_key
from mesh.auth.renewed import Renewed
from mesh.auth.source import KeyFile, KeySource, KeyUrl
from mesh.auth.verifier import Trust, Verifier
from mesh.config import ServiceConfig, is_url


@contextlib.asynccontextmanager
async def open_verifier(config: ServiceConfig, *, mesh_tokens: bool = False) -> AsyncIterator[Verifier]:
    """A verifier of clients' tokens, and with `mesh_tokens` of other services', whose keys stay up to date.

    Raises OSError with one line when --keys, or --mesh-key if it is wanted, is missing or unusable.
    """
    with _one_line():
        if config.keys is None:
            raise BadKeys("--keys FILE_OR_URL is missing: the JWKS that clients' tokens are checked with")
        place = KeyUrl(config.keys) if is_url(config.keys) else KeyFile(Path(config.keys))
        clients = KeySource(place, config.environment)
        mesh = None
        if mesh_tokens:
            mesh = KeySource(KeyFile(_mesh_key(config)), config.environment, _mesh_ring)
    async with contextlib.AsyncExitStack() as kept:
        await kept.enter_async_context(_kept(clients))
        trust = Trust(clients, issuer=config.issuer, unknown_kid=clients.look_again)
        if mesh is None:
            yield Verifier(trust)
            return
        await kept.enter_async_context(_kept(mesh))
        yield Verifier(trust, Trust(mesh, MESH_AUDIENCE, unknown_kid=mesh.look_again))


@dataclass(frozen=True, slots=True, eq=False)
class _TagRing(KeyRing):
    tag_keys: tuple[bytes, ...] = ()


@contextlib.asynccontextmanager
async def open_origins(config: ServiceConfig) -> AsyncIterator[Origins]:
    """Origins whose keys follow --mesh-key. Raises OSError with one line when it is missing or unusable."""
    with _one_line():
        source = KeySource(KeyFile(_mesh_key(config)), config.environment, _tag_ring)

    def keys() -> tuple[bytes, ...]:
        ring = source()
        assert isinstance(ring, _TagRing), "the file was read before the service began"
        return ring.tag_keys

    async with _kept(source):
        yield Origins(keys)


class MeshCredentials:
    """What a service shows other services: calling `token` gives one that is good for a minute at least."""

    def __init__(self, mesh_key: Path, clock: Callable[[], float] = wall_clock.now_s) -> None:
        """Raises BadKeys, OSError when the file cannot be used."""
        self._path = mesh_key
        self._key: SigningKey = read_signing_keys(mesh_key, parse_mesh_keys)[0]
        self.token = Renewed(
            self._mint,
            life_s=limits.MESH_TOKEN_LIFE_S,
            renew_s=limits.MESH_TOKEN_RENEW_S,
            clock=clock,
        )

    @classmethod
    def of(cls, config: ServiceConfig, clock: Callable[[], float] = wall_clock.now_s) -> MeshCredentials:
        """Raises OSError with one line when --mesh-key is missing or unusable."""
        with _one_line():
            return cls(_mesh_key(config), clock)

    def _mint(self, now_s: float) -> str:
        # The key may have been rotated. One that cannot be read now may be good yet.
        with contextlib.suppress(OSError, BadKeys):
            self._key = read_signing_keys(self._path, parse_mesh_keys)[0]
        return mint.token(
            self._key,
            actor_id="",
            now_s=now_s,
            life_s=limits.MESH_TOKEN_LIFE_S,
            roles=[PRODUCER],
            audience=MESH_AUDIENCE,
        )


def open_signing_key(config: ServiceConfig, path: Path) -> SigningKey:
    """The key of a file that signs. Raises OSError with one line, also for one that production refuses."""
    with _one_line():
        keys = read_signing_keys(path)
        try:
            check_environment(config.environment, keys)
        except BadKeys as error:
            raise BadKeys(f"{path}: {error}") from None
        return keys[0]


@contextlib.asynccontextmanager
async def _kept(source: KeySource) -> AsyncIterator[None]:
    with _one_line():
        await source.start()
    running = asyncio.create_task(source.run())
    try:
        yield
    finally:
        await tasks.end(running)


def _mesh_key(config: ServiceConfig) -> Path:
    if config.mesh_key is None:
        raise BadKeys(
            "--mesh-key FILE is missing: the private JWK that signs the tokens which services show each other"
        )
    return config.mesh_key


def _mesh_ring(document: bytes) -> KeyRing:
    return ring_of(parse_mesh_keys(document))


def _tag_ring(document: bytes) -> _TagRing:
    keys = parse_mesh_keys(document)
    return _TagRing(ring_of(keys).keys, tag_keys=tuple(map(tag_key, keys)))


@contextlib.contextmanager
def _one_line() -> Iterator[None]:
    """As mesh.runtime wants it, to end the process."""
    try:
        yield
    except BadKeys as error:
        raise OSError(str(error)) from None
