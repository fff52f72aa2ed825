"""A second Valkey beside that of a mesh, and failing over between the two.

As a managed Redis does it: the replica is promoted, new connections go there, and the old master lives on
as its replica, with its connections open: it answers READONLY to who writes. What the new master had not
yet is lost. The next failover goes the other way.

The one of the mesh is restarted by its supervisor as a master of its own that nobody asks; it becomes a
replica again before it is failed over to.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import subprocess
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

from redis.asyncio import Redis
from redis.exceptions import RedisError

from toolbox.chaos import tmpfs
from toolbox.chaos.ways import Ways
from toolbox.local import provision
from toolbox.local.keys import write_whole

_ASK_S = 2.0
_POLL_S = 0.05


class SecondValkey:
    """The process. Started again by `start` when it has ended: with a full disk a replica does."""

    def __init__(self, port: int, folder: Path, disk_bytes: int, first: Path | None = None) -> None:
        """`first`: the configuration of the other one, whose users this one has, too."""
        self.address = f"127.0.0.1:{port}"
        self.folder = folder
        users = [line for line in first.read_text().splitlines() if line.startswith("user ")] if first else []
        options = {
            "bind": "127.0.0.1",
            "port": str(port),
            "dir": str(folder),
            "appendonly": "yes",
            "save": "",
            "maxmemory-policy": "noeviction",
        }
        # Beside the folder, which is another disk to the process.
        config = folder.with_name(f"{folder.name}.conf")
        quoted = (f"{name} {json.dumps(value)}" for name, value in options.items())
        write_whole(config, "\n".join((*quoted, *users, "")))
        self._command = tmpfs.command(disk_bytes, [folder], [str(provision.valkey_server()), str(config)])
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int | None:
        running = self._process is not None and self._process.poll() is None
        return self._process.pid if running and self._process is not None else None

    def start(self) -> None:
        if self.pid is None:
            self._process = subprocess.Popen(
                self._command,
                cwd=provision.checkout(),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                start_new_session=True,
            )

    def end(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()


class Standby:
    """`first`: where the mesh's own Valkey listens. `login`: user and password of who may do everything, on
    both; none where nobody needs any."""

    def __init__(
        self, ways: Ways, first: str, second: SecondValkey, login: tuple[str, str] | None = None
    ) -> None:
        self.failovers = 0
        self._user = login[0] if login else None
        self._password = login[1] if login else None
        self._ways = ways
        self._first = first
        self._second = second

    @property
    def second_leads(self) -> bool:
        """The master is not the mesh's own."""
        return self.failovers % 2 == 1

    async def follow(self) -> bool:
        """Has the replica follow, so that it has the master's data by the time of a failover; whether it
        has."""
        old, new = self._roles()
        self._second.start()
        with contextlib.suppress(RedisError, OSError):
            async with self._redis(new) as replica:
                info = await replica.info("replication")
                if f"{info.get('master_host')}:{info.get('master_port')}" == old:
                    return bool(info["master_link_status"] == "up")
                if self._user is not None and self._password is not None:
                    await replica.config_set("masteruser", self._user, "masterauth", self._password)
                async with self._redis(old) as master:
                    # Else a master waits for 5 s for more replicas.
                    await master.config_set("repl-diskless-sync-delay", "0")
                await replica.replicaof(*old.split(":"))
        return False

    async def fail_over(self, within_s: float) -> bool:
        """False if the replica has not all of the master's data in time; then nothing is changed."""
        loop = asyncio.get_running_loop()
        give_up_at = loop.time() + within_s
        while not await self.follow():
            if loop.time() > give_up_at:
                return False
            await asyncio.sleep(_POLL_S)
        old, new = self._roles()
        with contextlib.suppress(RedisError, OSError):
            async with self._redis(new) as replica:
                await replica.replicaof("NO", "ONE")
                self._ways.target("valkey", new)
                self.failovers += 1
            async with self._redis(old) as master:
                await master.replicaof(*new.split(":"))
        return (old, new) != self._roles()

    @contextlib.asynccontextmanager
    async def _redis(self, address: str) -> AsyncIterator[Redis]:
        host, port = address.split(":")
        redis = Redis(
            host=host,
            port=int(port),
            username=self._user,
            password=self._password,
            socket_timeout=_ASK_S,
            socket_connect_timeout=_ASK_S,
        )
        try:
            yield redis
        finally:
            await redis.aclose()

    def _roles(self) -> tuple[str, str]:
        """The master and the replica."""
        both = self._first, self._second.address
        return both[::-1] if self.second_leads else both


@contextlib.contextmanager
def second_valkey(
    port: int, folder: Path, disk_bytes: int, first: Path | None = None
) -> Iterator[SecondValkey]:
    """Running, and gone when this ends."""
    folder.mkdir(parents=True, exist_ok=True)
    valkey = SecondValkey(port, folder, disk_bytes, first)
    valkey.start()
    try:
        yield valkey
    finally:
        valkey.end()
