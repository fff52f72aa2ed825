"""What `--redis` may say, and what connections are made of it."""

from __future__ import annotations

import pytest
from redis.asyncio.connection import SSLConnection

from mesh.redis import connections
from mesh.redis.address import BadAddress, parse


@pytest.mark.parametrize("url", ["redis://h:1/2", "rediss://u:p@h", "unix:///run/redis.sock"])
def test_a_url_of_a_server_is_redis_pys_own(url: str) -> None:
    found = parse(url)
    assert (found.url, found.sentinels) == (url, ())


def test_sentinels_are_listed_with_the_service_that_they_watch() -> None:
    found = parse("redis+sentinel://one,two:26380,[::1]:7,[::2]/my%20master")
    assert found.sentinels == (("one", 26_379), ("two", 26_380), ("::1", 7), ("::2", 26_379))
    assert found.service == "my master"
    assert not found.is_tls


def test_servers_and_sentinels_have_logins_of_their_own() -> None:
    found = parse(
        "rediss+sentinel://me:p%40ss@one/main/3?sentinel_username=s&sentinel_password=a%2Fb%26&ssl_ca_certs=/ca"
    )
    assert found.url == "rediss://me:p%40ss@sentinel/3?ssl_ca_certs=%2Fca"
    assert found.sentinel_login == {"username": "s", "password": "a/b&"}
    assert found.is_tls


@pytest.mark.parametrize(
    "url",
    [
        "redis+sentinel://one",
        "redis+sentinel://one/",
        "redis+sentinel://one/main/first",
        "redis+sentinel:///main",
        "redis+sentinel://one:x/main",
        "redis+sentinel://one,/main",
    ],
)
def test_what_names_no_service_or_no_sentinel_is_refused(url: str) -> None:
    with pytest.raises(BadAddress):
        parse(url)


@pytest.mark.parametrize("scheme", ["redis", "rediss"])
def test_logins_and_options_reach_the_servers_and_the_sentinels_connections(scheme: str) -> None:
    url = f"{scheme}+sentinel://me:p%40@one/main/3?sentinel_password=q&client_name=x"
    client = connections.single(parse(url + ("&ssl_ca_certs=/ca" if scheme == "rediss" else "")))
    server = client.connection_pool.make_connection()
    manager = client.connection_pool.sentinel_manager
    sentinel = manager.sentinels[0].connection_pool.make_connection()
    assert (server.username, server.password, server.db, server.client_name) == ("me", "p@", 3, "x")
    assert (sentinel.host, sentinel.port, sentinel.password) == ("one", 26_379, "q")
    assert isinstance(server, SSLConnection) == isinstance(sentinel, SSLConnection) == (scheme == "rediss")
