"""How long the certificates of the edge and of the stores are good: by a handshake, as a client sees them,
whoever signed them."""

from __future__ import annotations

import asyncio
import contextlib
import datetime
import ssl
from urllib.parse import urlsplit

from cryptography import x509

from toolbox.doctor.facts import CertificateFact
from toolbox.local.errors import tls_or_socket_reason

WITHIN_S = 3.0
_NATS_TLS, _REDIS_TLS = ("tls",), ("rediss",)


async def certificate_facts(edge: str, nats: str, redis: str) -> tuple[CertificateFact, ...]:
    """URLs; those without TLS, and empty ones, have none."""
    asked = []
    if edge.startswith("https://"):
        asked.append(_certificate("the edge", edge, 443))
    asked += [
        _certificate(f"NATS at {urlsplit(url).hostname}", url, 4222, says_info=True)
        for url in (each.strip() for each in nats.split(","))
        if urlsplit(url).scheme in _NATS_TLS
    ]
    if urlsplit(redis).scheme in _REDIS_TLS:
        asked.append(_certificate(f"Redis at {urlsplit(redis).hostname}", redis, 6379))
    return tuple(await asyncio.gather(*asked))


async def _certificate(of: str, url: str, port: int, *, says_info: bool = False) -> CertificateFact:
    """`says_info`: the server speaks first, in clear."""
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    at = urlsplit(url)
    host = at.hostname or ""
    try:
        async with asyncio.timeout(WITHIN_S):
            tls = None if says_info else context
            reader, writer = await asyncio.open_connection(
                host, at.port or port, ssl=tls, server_hostname=host if tls else None
            )
            try:
                if says_info:
                    await reader.readline()
                    await writer.start_tls(context, server_hostname=host)
                shown = writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
            finally:
                writer.close()
                with contextlib.suppress(OSError):
                    await writer.wait_closed()
    except TimeoutError:
        return CertificateFact(of, None, f"no handshake within {WITHIN_S:g} s")
    except OSError as error:
        return CertificateFact(of, None, tls_or_socket_reason(error))
    ends = x509.load_der_x509_certificate(shown).not_valid_after_utc
    left = ends - datetime.datetime.now(datetime.UTC)
    return CertificateFact(of, left.total_seconds() / 86_400)
