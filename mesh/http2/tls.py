"""A server's TLS: its certificate, who may connect, and what the files say by now (RFC 9113, 9.2).

TLS 1.2 or newer, with forward secrecy and authenticated ciphers alone, and `h2` by ALPN. With a
`client_ca` a client without a certificate that one of its authorities signed is refused in the handshake.

The files are looked at for each new connection and read when one has changed; what is wrong with new ones
is logged once, and the old certificate stays in use. A session cannot be resumed across a change: its ticket
is good for the context that gave it alone.

Rejected: reading into one SSLContext again and again, which adds authorities and never forgets one.
"""

from __future__ import annotations

import logging
import ssl
from dataclasses import dataclass
from pathlib import Path

log = logging.getLogger(__name__)

ALPN = "h2"
# For TLS 1.2; none of them is on RFC 9113's list of those that may be refused. TLS 1.3 has no others.
_CIPHERS = "ECDHE+AESGCM:ECDHE+CHACHA20"


@dataclass(frozen=True, slots=True)
class TlsFiles:
    """In PEM. `certificate` begins with the server's own, and goes on to its authority."""

    certificate: Path
    key: Path
    client_ca: Path | None = None
    """Whose clients may connect; None: anybody's."""

    def read(self) -> ssl.SSLContext:
        """Raises OSError (ssl.SSLError is one) that names the file."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.set_ciphers(_CIPHERS)
        context.set_alpn_protocols([ALPN])
        context.options |= ssl.OP_NO_RENEGOTIATION | ssl.OP_NO_COMPRESSION
        try:
            context.load_cert_chain(self.certificate, self.key, password=_no_password)
        except (OSError, ValueError) as error:
            raise OSError(
                f"{self.certificate} and {self.key} are no certificate with its key: {error}"
            ) from None
        if self.client_ca is not None:
            try:
                context.load_verify_locations(self.client_ca)
            except (OSError, ValueError) as error:
                raise OSError(f"{self.client_ca} holds no certificates: {error}") from None
            context.verify_mode = ssl.CERT_REQUIRED
        return context

    def state(self) -> tuple[tuple[int, int, int] | None, ...]:
        """Differs once a file was written or replaced."""
        return tuple(_state(path) for path in (self.certificate, self.key, self.client_ca) if path)


class Tls:
    """The context for the next connection."""

    def __init__(self, files: TlsFiles) -> None:
        """Raises OSError."""
        self._files = files
        self._state = files.state()
        self._context = files.read()

    def context(self) -> ssl.SSLContext:
        state = self._files.state()
        if state != self._state:
            self._state = state
            try:
                self._context = self._files.read()
            except OSError as error:
                log.warning("the certificate in use stays, as the new one is not good: %s", error)
            else:
                log.info("the certificate was read again from %s", self._files.certificate)
        return self._context


def _state(path: Path) -> tuple[int, int, int] | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_mtime_ns, found.st_size, found.st_ino


def _no_password() -> str:
    # Without this OpenSSL would ask on the terminal.
    raise ValueError("the key is encrypted; write it without a password, readable by its user alone")
