"""Whose tokens a mesh takes: the keys `up` makes in the home or those of a platform, and who is told of them.

    development-key.json   private, symmetric; signs tokens of `./grandstand token` and of guests. Made once
    mesh-key.json          private; services sign each other's tokens with it. Made once
    run/keys/jwks.json     what the edge and the services check clients' tokens with

Without `--keys` the JWKS holds the development key, whole: a symmetric key has no public part, and that is
why production refuses it. With `--keys FILE` it holds the public parts of the file's keys and is rewritten
when the file changes (looked for every KEYS_FILE_LOOK_S, whatever way it is replaced); a file that cannot be
read as keys changes nothing. With `--keys URL` there is no such file: the edge and each service fetch for
themselves.
"""

from __future__ import annotations

import ipaddress
import json
import os
import ssl
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from mesh import limits
from mesh.auth.keys import BadKeys, check_environment, parse_ring
from mesh.envoy.config import JwksFile, JwksUrl, Keys, SecretFile
from toolbox.local import development
from toolbox.local.errors import MeshError, from_os
from toolbox.local.home import Home

_PUBLIC = ("kty", "kid", "crv", "x", "y", "n", "e")


@dataclass(frozen=True, slots=True)
class TokenKeys:
    """What the plan tells Envoy (`edge`) and the services (`services`, a file or a URL)."""

    edge: Keys
    services: str
    mesh_key: Path
    guest_key: Path | None = None
    issuer: str = ""
    actor_claim: str = ""
    """Which claim of clients' tokens names the actor; "": the usual one."""
    production: bool = False
    said: str = ""
    """For a person: which keys these are."""


class PlatformFile:
    """A platform's JWKS file, and the copy of its public parts that the mesh reads."""

    def __init__(self, file: Path, copy: Path, production: bool) -> None:
        """Copies it. Raises MeshError."""
        self._file = file
        self._copy = copy
        self._production = production
        self._text = ""
        self.problem = ""
        self._take()

    @property
    def said(self) -> str:
        count = len(json.loads(self._text)["keys"])
        stale = f" (as they were: {self.problem})" if self.problem else ""
        return f"{count} key{'' if count == 1 else 's'} of {self._file}{stale}"

    def look(self) -> bool:
        """Copies the file if it is another one now. True when there is news: other keys, or a `problem`."""
        before = self._text, self.problem
        try:
            self._take()
            self.problem = ""
        except MeshError as error:
            self.problem = str(error)
        return before != (self._text, self.problem)

    def _take(self) -> None:
        try:
            with self._file.open("rb") as file:
                document = file.read(limits.KEYS_DOCUMENT_BYTES_MAX + 1)
        except OSError as error:
            raise from_os(error, f"read the keys in {self._file}") from None
        public = public_jwks(document, str(self._file), self._production)
        if public != self._text:
            write_whole(self._copy, public)
            self._text = public


def public_jwks(document: bytes, named: str, production: bool) -> str:
    """The JWKS of those keys of a document that tokens are checked with, and of nothing else in them.

    Raises MeshError, which names the key and the way out.
    """
    try:
        ring = parse_ring(document)
        if production:
            check_environment("production", ring)
    except BadKeys as error:
        raise MeshError(f"{named}: {error}") from None
    for key in ring.keys.values():
        if key.algorithm == "HS256":
            raise MeshError(
                f"{named}: key {key.kid!r} is symmetric: whoever checks with it could also sign;"
                " give public keys for EdDSA, ES256 or RS256"
            )
    found = json.loads(document)
    keys = []
    for jwk in found.get("keys", [found]):
        kept = ring.keys.get(jwk.get("kid", ""))
        if kept and jwk.get("alg", kept.algorithm) == kept.algorithm and jwk.get("use", "sig") == "sig":
            public = {name: jwk[name] for name in _PUBLIC if name in jwk}
            keys.append(public | {"alg": kept.algorithm, "use": "sig"})
    return json.dumps({"keys": keys}, indent=1) + "\n"


def write_whole(path: Path, text: str) -> None:
    """Beside its place and renamed into it, for this user's eyes alone. Raises MeshError."""
    beside = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        beside.unlink(missing_ok=True)
        with os.fdopen(os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
            file.write(text)
        beside.replace(path)
    except OSError as error:
        raise from_os(error, f"write {path}") from None


def own_keys(home: Home) -> TokenKeys:
    """The development key, made where there is none, and guests who are signed with it. Raises MeshError."""
    key = _made(development.ensure_development_key, home)
    write_whole(home.jwks, json.dumps({"keys": [json.loads(key.read_text())]}) + "\n")
    return TokenKeys(
        edge=SecretFile(str(home.jwks)),
        services=str(home.jwks),
        mesh_key=_made(development.ensure_mesh_key, home),
        guest_key=key,
        said="the development key; guests are admitted",
    )


def file_keys(home: Home, platform: PlatformFile, issuer: str, production: bool) -> TokenKeys:
    return TokenKeys(
        edge=JwksFile(str(home.jwks)),
        services=str(home.jwks),
        mesh_key=_made(development.ensure_mesh_key, home),
        issuer=issuer,
        production=production,
        said=platform_said(platform.said, issuer, production),
    )


def url_keys(home: Home, url: str, issuer: str, production: bool) -> TokenKeys:
    """Raises MeshError for a URL that is none, or that anybody on the way could answer."""
    at = urlsplit(url)
    if not at.hostname:
        raise MeshError(f"--keys {url!r} names no host; give for example https://platform.example/jwks.json")
    if at.scheme != "https" and not is_loopback(at.hostname):
        raise MeshError(f"--keys {url!r}: keys come by https, or from a file")
    return TokenKeys(
        edge=JwksUrl(url, _trusted_ca() if at.scheme == "https" else ""),
        services=url,
        mesh_key=_made(development.ensure_mesh_key, home),
        issuer=issuer,
        production=production,
        said=platform_said(f"the keys at {url}", issuer, production),
    )


def platform_said(keys: str, issuer: str, production: bool) -> str:
    issued = f", issued by {issuer}" if issuer else ""
    return f"{keys}{issued}; no guests{'; production' if production else ''}"


def is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _trusted_ca() -> str:
    """The certificates this machine trusts, in one file: Envoy has none of its own."""
    paths = ssl.get_default_verify_paths()
    found = os.environ.get(paths.openssl_cafile_env) or paths.cafile
    if not found or not Path(found).is_file():
        raise MeshError(
            "no file of trusted certificates is found for --keys https://...;"
            f" name one in {paths.openssl_cafile_env}"
        )
    return found


def _made(ensure: Callable[[Path], Path], home: Home) -> Path:
    try:
        return ensure(home.root)
    except BadKeys as error:
        raise MeshError(f"a key in {home.root} is damaged: {error}; remove it, a new one is made") from None
    except OSError as error:
        raise from_os(error, f"make a key in {home.root}") from None


def key_arguments(kind: str, keys: TokenKeys) -> tuple[str, ...]:
    """What a service of this kind is told of them."""
    environment = "production" if keys.production else "development"
    guests = keys.guest_key if kind == "gateway" else None
    return (
        *("--keys", keys.services, "--mesh-key", str(keys.mesh_key), "--environment", environment),
        *(("--issuer", keys.issuer) if keys.issuer else ()),
        *(("--actor-claim", keys.actor_claim) if keys.actor_claim else ()),
        *(("--guest-key", str(guests)) if guests else ()),
    )
