"""The certificate that the edge shows: two files of the user's, checked, and handed to Envoy as one.

The files are looked at every KEYS_FILE_LOOK_S, whatever way they are replaced. A pair that is not good (half
renewed, a key of another certificate, expired) changes nothing: the one in use stays, and `status` says why.
Envoy reads a copy of both in `run/edge/secret.json`, mode 0600, which is renamed into its place.
"""

from __future__ import annotations

import datetime
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import serialization

from mesh.envoy.config import EdgeTls
from mesh.envoy.edge_tls import secret_text
from toolbox.local.errors import MeshError, from_os
from toolbox.local.keys import write_whole

FILE_BYTES_MAX = 256 * 1024
_PUBLIC = serialization.PublicFormat.SubjectPublicKeyInfo


@dataclass(frozen=True, slots=True)
class _Pair:
    chain: str
    key: str
    names: tuple[str, ...]
    good_until: datetime.datetime


class EdgeCertificate:
    """The files, and the copy that Envoy reads."""

    def __init__(self, chain: Path, key: Path, copy: Path, *, production: bool) -> None:
        """Copies them. Raises MeshError."""
        self._chain = chain
        self._key = key
        self._copy = copy
        self._production = production
        self._pair: _Pair | None = None
        self.problem = ""
        self._take()

    @property
    def tls(self) -> EdgeTls:
        """With the names of the first certificate."""
        assert self._pair is not None
        return EdgeTls(str(self._copy), self._pair.names)

    @property
    def said(self) -> str:
        assert self._pair is not None
        names = ", ".join(self._pair.names) or "no DNS name"
        stale = f" (as it was: {self.problem})" if self.problem else ""
        return f"{self._chain} for {names}, good until {self._pair.good_until:%Y-%m-%d %H:%M} UTC{stale}"

    def look(self) -> bool:
        """Copies the files if they are others now. True when there is news: another pair, or a `problem`."""
        before = self._pair, self.problem
        try:
            self._take()
            self.problem = ""
        except MeshError as error:
            self.problem = str(error)
        return before != (self._pair, self.problem)

    def _take(self) -> None:
        key = _read(self._key)
        if self._production and self._key.stat().st_mode & 0o004:
            raise MeshError(f"{self._key} can be read by everybody: chmod 600 {self._key}")
        pair = _checked(_read(self._chain), key, f"{self._chain} and {self._key}")
        if pair != self._pair:
            write_whole(self._copy, secret_text(pair.chain, pair.key))
            self._pair = pair


def _read(file: Path) -> bytes:
    try:
        with file.open("rb") as opened:
            return opened.read(FILE_BYTES_MAX)
    except OSError as error:
        raise from_os(error, f"read {file}") from None


def _checked(chain: bytes, key: bytes, named: str) -> _Pair:
    """Raises MeshError."""
    try:
        certificates = x509.load_pem_x509_certificates(chain)
    except ValueError as error:
        raise MeshError(f"{named}: the first is no certificate chain in PEM: {error}") from None
    try:
        private = serialization.load_pem_private_key(key, None)
    except TypeError:
        raise MeshError(f"{named}: the key is encrypted; give it without a password, mode 0600") from None
    except ValueError as error:
        raise MeshError(f"{named}: the second is no private key in PEM: {error}") from None
    own = certificates[0]
    encoding = serialization.Encoding.DER
    if own.public_key().public_bytes(encoding, _PUBLIC) != private.public_key().public_bytes(
        encoding, _PUBLIC
    ):
        raise MeshError(f"{named}: the key is not that of the first certificate in the chain")
    if own.not_valid_after_utc <= datetime.datetime.now(datetime.UTC):
        raise MeshError(
            f"{named}: the certificate was good until {own.not_valid_after_utc:%Y-%m-%d}; renew it"
        )
    return _Pair(chain.decode(), key.decode(), _dns_names(own), own.not_valid_after_utc)


def _dns_names(certificate: x509.Certificate) -> tuple[str, ...]:
    try:
        found = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName)
    except x509.ExtensionNotFound:
        return ()
    return tuple(found.value.get_values_for_type(x509.DNSName))
