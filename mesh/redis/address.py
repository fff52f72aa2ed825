"""Where Redis is, as `--redis` says it. Pure.

    redis://[user:password@]host[:6379][/db]             one server, or any node of a cluster
    rediss://...                                         the same over TLS
    unix:///path
    redis+sentinel://[user:password@]host[:26379][,host[:26379]...]/service[/db]
    rediss+sentinel://...                                TLS to the Sentinels and to the servers

User and password are the servers'; the Sentinels' own stand in the query: `?sentinel_username=...` and
`sentinel_password=...`. All of them are percent-decoded. What else is in the query is an option of the
connections, by the names that redis-py gives them, such as `ssl_ca_certs=/path`; under TLS the `ssl_*` ones
are for the Sentinels too.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qsl, unquote, urlencode

SENTINEL_PORT = 26_379
_SCHEMES = {"redis+sentinel": "redis", "rediss+sentinel": "rediss"}


class BadAddress(ValueError):
    """The URL of a Redis cannot be understood."""


@dataclass(frozen=True, slots=True)
class Address:
    """`url`: redis-py's form; under Sentinels its host is theirs and means nothing."""

    url: str
    service: str = ""
    sentinels: tuple[tuple[str, int], ...] = ()
    sentinel_login: dict[str, Any] = field(default_factory=dict)
    """`username` and `password`, as far as they are given."""

    @property
    def is_tls(self) -> bool:
        return self.url.startswith("rediss:")


def parse(url: str) -> Address:
    """Raises BadAddress."""
    scheme, separator, rest = url.partition("://")
    if not separator or scheme.lower() not in _SCHEMES:
        return Address(url)
    rest, _, query = rest.partition("?")
    authority, _, path = rest.partition("/")
    login, at, hosts = authority.rpartition("@")
    service, _, db = path.partition("/")
    if not service or (db and not db.isdigit()):
        raise BadAddress(
            f"{scheme}://{hosts}/{path}: after the Sentinels comes the name of the service that they watch,"
            f" and then the number of a database if it is not 0; such as {scheme}://{hosts}/mymaster"
        )
    options = dict(parse_qsl(query, keep_blank_values=True))
    login_of = {
        name: options.pop(f"sentinel_{name}")
        for name in ("username", "password")
        if f"sentinel_{name}" in options
    }
    remaining = f"?{urlencode(options)}" if options else ""
    return Address(
        f"{_SCHEMES[scheme.lower()]}://{login}{at}sentinel/{db or 0}{remaining}",
        unquote(service),
        tuple(_host(scheme, host) for host in hosts.split(",")),
        login_of,
    )


def _host(scheme: str, text: str) -> tuple[str, int]:
    """`host`, `host:port`, `[v6]` or `[v6]:port`."""
    host, colon, port = text.rpartition(":")
    if not colon or text.endswith("]"):
        host, port = text, str(SENTINEL_PORT)
    if not host or not port.isdigit() or not 0 < int(port) < 65_536:
        raise BadAddress(f"{scheme}://…: {text!r} is no Sentinel's host or host:port")
    return unquote(host.strip("[]")), int(port)
