"""The configuration files of the two stores, as text. Paths are quoted: a home may have spaces in it.

`logins`: the passwords of their users (`toolbox.local.store_users`); without them, whoever reaches the store
may do everything.
"""

from __future__ import annotations

from collections.abc import Iterable

from mesh import limits
from mesh.notices import bounds
from toolbox.local import store_users
from toolbox.local.home import Home
from toolbox.local.store_users import Logins

LOOPBACK = "127.0.0.1"
NATS_MAX_PAYLOAD_BYTES = 1024 * 1024
_NOTICES_BYTES = bounds.NOTICES_BYTES_MAX + bounds.READERS_BYTES_MAX + bounds.SEGMENTS_BYTES_MAX
NATS_STORE_BYTES_MAX = limits.STREAM_BYTES_MAX + _NOTICES_BYTES + 1024**3
NATS_MEMORY_BYTES_MAX = 256 * 1024**2

assert limits.BLOCK_BYTES_MAX < NATS_MAX_PAYLOAD_BYTES


def nats_conf(
    home: Home, port: int, monitor_port: int, sync_always: bool, logins: Logins | None = None
) -> str:
    """Without `sync_always` the server's default stands: an fsync every two minutes."""
    jetstream = [
        f"  store_dir: {_quoted(str(home.nats))}",
        f"  max_file_store: {NATS_STORE_BYTES_MAX}",
        f"  max_memory_store: {NATS_MEMORY_BYTES_MAX}",
    ]
    if sync_always:
        jetstream.append('  sync_interval: "always"')
    return "\n".join(
        [
            f'listen: "{LOOPBACK}:{port}"',
            f'http: "{LOOPBACK}:{monitor_port}"',
            'server_name: "grandstand"',
            f"max_payload: {NATS_MAX_PAYLOAD_BYTES}",
            "jetstream {",
            *jetstream,
            "}",
            *(_for_users(logins) if logins else ()),
            "",
        ]
    )


def _for_users(logins: Logins) -> Iterable[str]:
    yield f'http_base_path: "{store_users.monitor_path(logins[store_users.SUPERVISOR])}"'
    yield from store_users.nats_authorization(logins)


def valkey_conf(home: Home, port: int, logins: Logins | None = None) -> str:
    """The append-only file, synced each second, is all the persistence; Redis may be lost (I4), not wrong."""
    return "\n".join(
        [
            f"bind {LOOPBACK}",
            f"port {port}",
            f"dir {_quoted(str(home.valkey))}",
            "appendonly yes",
            "appendfsync everysec",
            'save ""',
            "maxmemory-policy noeviction",
            "daemonize no",
            'logfile ""',
            *(store_users.valkey_users(logins) if logins else ()),
            "",
        ]
    )


def _quoted(value: str) -> str:
    """As both of them read it: neither knows the escapes of JSON for what is not ASCII."""
    escaped = value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
    return f'"{escaped}"'
