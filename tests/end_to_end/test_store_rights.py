"""Strangers on this machine, and services that were broken into, at the NATS and the Valkey of a mesh.

All of it attacks the shared mesh, beside a game whose votes go on counting.
"""

from __future__ import annotations

import contextlib
import json
import stat
from collections.abc import AsyncIterator
from pathlib import Path
from urllib.parse import urlsplit

import nats
import pytest
import redis
from nats.aio.client import Client
from nats.errors import Error as NatsError

from mesh.jetstream import subjects
from mesh.redis import layout
from tests.support.commands import succeeded
from tests.support.games import new_game, run, until
from tests.support.mesh_fixture import RunningMesh
from toolbox.local import store_users

PURGE = f"$JS.API.STREAM.PURGE.{subjects.EVENTS_STREAM}"
WIPE = f"$JS.API.STREAM.DELETE.{subjects.CATALOG_STREAM}"
GAME_KEY = f"$KV.{subjects.CATALOG_BUCKET}.game.final"
BEYOND_NATS = {
    "ingest": (
        *(PURGE, WIPE, GAME_KEY, "$JS.API.STREAM.UPDATE.EVENTS", "$JS.API.STREAM.CREATE.EVENTS"),
        *("results.g.poll.p.1", "inbox.ann"),
    ),
    "aggregate": (WIPE, "$JS.API.STREAM.DELETE.EVENTS", "inbox.ann", "announcements.g", "health.gateway.x"),
    "gateway": (
        *(PURGE, WIPE, GAME_KEY, "events.1", "results.g.poll.p.1", "inbox.ann", "announcements.g"),
        *("crowd.everyone", "notices.sent.0", "readers.ann", "segments.vips.ann"),
        *("$JS.API.CONSUMER.CREATE.EVENTS", "$JS.API.STREAM.UPDATE.KV_catalog", "_INBOX.ingest.x"),
    ),
    "notify": (
        *(PURGE, WIPE, GAME_KEY, "events.1", "results.g.poll.p.1"),
        *("$JS.API.STREAM.DELETE.NOTICES", "$JS.API.STREAM.MSG.DELETE.NOTICES"),
    ),
    "supervisor": (PURGE, WIPE, GAME_KEY, "events.1", "probes.ingest.1"),
    "operator": (PURGE, WIPE, GAME_KEY, "events.1", "results.g.poll.p.1"),
}
OVERHEARD = (">", "_INBOX.>", "$KV.>", "events.*", "readers.*")
STATE = layout.applied_key(1)
READING, WRITING = ("GET", STATE), ("SET", STATE, "9999999")
SCRIPT = ("EVAL", "return redis.call('SET', KEYS[1], '9999999')", "1", STATE)
INBOX = layout.inbox_key("ann")
BEYOND_VALKEY = {
    "aggregate": (("FLUSHALL",), ("CONFIG", "GET", "*"), ("SET", INBOX, ""), ("KEYS", "*")),
    "gateway": (("FLUSHALL",), WRITING, SCRIPT, ("SET", INBOX, ""), ("GET", "notices:lease")),
    "notify": (("FLUSHALL",), WRITING, SCRIPT, ("HSET", layout.topics_key(1), "x", "y")),
    "supervisor": (("FLUSHALL",), READING, ("PING",)),
    "operator": (("FLUSHALL",), ("SHUTDOWN",), ("HSET", layout.topics_key(1), "x", "y"), ("GET", INBOX)),
}


def passwords(mesh: RunningMesh) -> dict[str, str]:
    """Of all users: who owns the home can read them."""
    lines = (mesh.home / "run" / "nats.conf").read_text().splitlines()
    users = [json.loads(line) for line in lines if line.strip().startswith('{"user"')]
    return {user["user"]: user["password"] for user in users}


@contextlib.asynccontextmanager
async def connected(mesh: RunningMesh, user: str, refusals: list[str]) -> AsyncIterator[Client]:
    async def refused(error: Exception) -> None:
        refusals.append(str(error).lower())

    url = store_users.nats_url(mesh.addresses.nats, user, passwords(mesh))
    client = await nats.connect(
        url, error_cb=refused, allow_reconnect=False, inbox_prefix=subjects.replies(user)
    )
    try:
        yield client
    finally:
        await client.close()


def votes_count(mesh: RunningMesh) -> None:
    """The witness: a vote is stored, folded and read."""

    async def scenario() -> None:
        async with new_game(mesh.edge, mesh.mesh) as game:
            await game.open_poll()
            positions = await game.send(game.vote("ann"))
            assert (await game.topic("poll/mvp", positions)).tally.voters == 1

    run(scenario())


async def purge_as(mesh: RunningMesh, login: str) -> None:
    async def on_error(_: Exception) -> None:
        """nats-py logs them by default."""

    url = f"nats://{login}{urlsplit(mesh.addresses.nats).netloc}"
    client = await nats.connect(url, error_cb=on_error, allow_reconnect=False, connect_timeout=2)
    try:
        await client.request(PURGE, b"", timeout=2)
    finally:
        await client.close()


def flush_as(mesh: RunningMesh, login: str) -> None:
    with redis.Redis.from_url(f"redis://{login}{urlsplit(mesh.addresses.redis).netloc}") as client:
        client.flushall()


def test_a_stranger_is_refused_by_nats_and_by_valkey(mesh: RunningMesh) -> None:
    for login in ("", "gateway:wrong@", "admin:@", "token@"):
        with pytest.raises(NatsError):
            run(purge_as(mesh, login))
    for login in ("", "default:@", "default:wrong@", "admin:wrong@", "gateway:wrong@"):
        with pytest.raises(redis.AuthenticationError):
            flush_as(mesh, login)
    votes_count(mesh)


@pytest.mark.parametrize("user", BEYOND_NATS)
def test_no_user_of_nats_goes_beyond_its_rights(mesh: RunningMesh, user: str) -> None:
    async def scenario() -> None:
        refusals: list[str] = []
        beyond = {*BEYOND_NATS[user], *OVERHEARD}
        async with connected(mesh, user, refusals) as client:
            for subject in BEYOND_NATS[user]:
                await client.publish(subject, b"{}")
            for subject in OVERHEARD:
                await client.subscribe(subject)
            await until(
                lambda: all(any(f'"{each}"'.lower() in said for said in refusals) for each in beyond),
                f"{user} is refused all of {beyond}",
                5.0,
            )

    run(scenario())


@pytest.mark.parametrize("user", BEYOND_VALKEY)
def test_no_user_of_valkey_goes_beyond_its_rights(mesh: RunningMesh, user: str) -> None:
    url = store_users.redis_url(mesh.addresses.redis, user, passwords(mesh))
    with redis.Redis.from_url(url) as client:
        for command in BEYOND_VALKEY[user]:
            with pytest.raises(redis.ResponseError, match=r"(?i)permission"):
                client.execute_command(*command)


def test_a_probe_cannot_erase_the_catalog(mesh: RunningMesh) -> None:
    """Every service may publish below `probe`, and a rollup of everything would take the games along."""

    async def scenario() -> None:
        async with connected(mesh, "gateway", []) as client:
            subject = f"$KV.{subjects.CATALOG_BUCKET}.{subjects.probe_key('x')}"
            for kind in ("all", "sub"):
                said = await client.request(subject, b"[]", headers={"Nats-Rollup": kind}, timeout=5)
                assert "rollup not permitted" in json.loads(said.data)["error"]["description"]

    run(scenario())
    votes_count(mesh)


def test_the_mesh_itself_needs_no_more_than_its_rights(mesh: RunningMesh) -> None:
    votes_count(mesh)
    for service in mesh.status().services:
        said = mesh.log(service.name)
        if service.name != "nats":  # where the attacks above are logged
            assert "violation" not in said.lower(), said
            assert "NOPERM" not in said, said


def test_no_password_is_in_arguments_or_in_the_status_and_the_home_is_closed(mesh: RunningMesh) -> None:
    secrets = set(passwords(mesh).values())
    pids = [mesh.process.pid, *(service.pid for service in mesh.status().services if service.pid)]
    shown = [Path(f"/proc/{pid}/cmdline").read_text() for pid in pids]
    shown += [succeeded(mesh.home, "status", "--json"), succeeded(mesh.home, "status")]
    shown += [path.read_text(errors="replace") for path in (mesh.home / "logs").glob("*.log")]
    assert not [secret for secret in secrets if any(secret in text for text in shown)]
    assert stat.S_IMODE(mesh.home.stat().st_mode) == 0o700
    for name in ("nats.conf", "valkey.conf", "stores.json"):
        assert stat.S_IMODE((mesh.home / "run" / name).stat().st_mode) == 0o600
