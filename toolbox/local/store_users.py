"""Who may do what in the NATS and the Valkey that `up` starts: a user for each kind of service, with a
password made for this run, and no rights for anybody else. Pure, but for the passwords.

docs/store-rights.md holds the same tables, for a NATS or Redis that somebody else runs.

What NATS cannot be told: it checks who publishes and who subscribes, not what is in a message. Who may make
a consumer of a stream says itself where its messages go, and who asks says where the answer goes.

Rejected: nkeys and bcrypt for NATS. Passwords are random and as long as a key; bcrypt costs 70 ms of CPU at
each connection, and the supervisor's probe makes one a second.
"""

from __future__ import annotations

import hashlib
import json
import secrets
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from urllib.parse import urlsplit

from mesh.jetstream import subjects

CANARY = "canary"
SUPERVISOR = "supervisor"
OPERATOR = "operator"
"""What `grandstand rebuild`, `explain` and `audit` need."""
ADMIN = "admin"
"""Everything: for people, and for chaos."""

Logins = Mapping[str, str]
"""Passwords by user."""

_PASSWORD_BYTES = 24


@dataclass(frozen=True, slots=True)
class Rights:
    """`publish` and `subscribe`: subjects of NATS. `keys` and `commands`: of Valkey, where a user without
    them does not exist; no command reaches any other key, but `reads`, which reach the partitions'."""

    publish: tuple[str, ...]
    subscribe: tuple[str, ...]
    keys: tuple[str, ...] = ()
    commands: tuple[str, ...] = ()
    reads: tuple[str, ...] = ()


def _api(requests: str, stream: str, rest: str = "") -> tuple[str, ...]:
    return tuple(f"$JS.API.{request}.{stream}{rest}" for request in requests.split())


def _replies(user: str) -> str:
    return f"{subjects.replies(user)}.>"


_EVENTS = subjects.EVENTS_STREAM
_PROBES = subjects.PROBES_STREAM
_CHECKPOINTS = f"OBJ_{subjects.CHECKPOINTS_BUCKET}"
_KEYS = f"$KV.{subjects.CATALOG_BUCKET}"
_CATALOG = (
    *_api("STREAM.INFO STREAM.CREATE STREAM.MSG.GET CONSUMER.CREATE", subjects.CATALOG_STREAM),
    *_api("DIRECT.GET", subjects.CATALOG_STREAM, ".>"),
    f"{_KEYS}.probe.*",
)
"""To see what is defined, and how fresh that is."""
_CLOCK = (
    *_api("STREAM.LEADER.STEPDOWN", subjects.CATALOG_STREAM),
    *_api("STREAM.INFO STREAM.LEADER.STEPDOWN", _EVENTS),
)
"""To ask a server whose clock is off to hand over what it leads: on a cluster."""
_NOTICES = (
    subjects.NOTICES_ALL,
    subjects.READERS_ALL,
    subjects.SEGMENTS_ALL,
    *(
        right
        for stream in (subjects.NOTICES_STREAM, subjects.READERS_STREAM, subjects.SEGMENTS_STREAM)
        for right in (
            *_api("STREAM.INFO STREAM.CREATE STREAM.UPDATE STREAM.PURGE STREAM.MSG.GET", stream),
            *_api("CONSUMER.CREATE", stream),
            *_api("CONSUMER.MSG.NEXT", stream, ".*"),
        )
    ),
)
"""To keep what inboxes are made of. One has the right to purge it: the streams are notify's alone."""
_EXPLAIN = (
    subjects.REFUSALS,
    *_api("STREAM.INFO STREAM.MSG.GET CONSUMER.CREATE", _EVENTS),
    *_api("CONSUMER.MSG.NEXT", _EVENTS, ".*"),
    *_api("STREAM.INFO CONSUMER.CREATE", subjects.DEAD_LETTERS_STREAM),
    *_api("CONSUMER.MSG.NEXT", subjects.DEAD_LETTERS_STREAM, ".*"),
    *_api("CONSUMER.CREATE", subjects.CATALOG_STREAM),
    *_api("CONSUMER.MSG.NEXT", subjects.CATALOG_STREAM, ".*"),
    *_api("STREAM.INFO STREAM.MSG.GET CONSUMER.CREATE", _CHECKPOINTS),
    *_api("CONSUMER.DELETE", _CHECKPOINTS, ".*"),
    f"$JS.FC.{_CHECKPOINTS}.>",
)
"""To read what became of an event."""
_CONNECT = ("info", "ping", "client|setinfo")
_READ = ("get", "hget", "hgetall", "zcard", "zscore", "zrange", "zrank", "zcount")
_SCRIPTS = ("eval", "evalsha")
_PARTITIONS = "{p*}:*"
_INBOXES = ("inbox:*", "reader:*", "crowd:*", "notices:applied:*")

RIGHTS: Mapping[str, Rights] = {
    "ingest": Rights(
        publish=(
            subjects.EVENTS_ALL,
            "votes.*",
            "health.ingest.*",
            "probes.ingest.*",
            *map(_replies, ("ingest", "aggregate", OPERATOR)),
            *_api("STREAM.CREATE STREAM.DELETE", _PROBES),
            *_CATALOG,
            *_CLOCK,
        ),
        subscribe=(
            subjects.HEALTH_ALL,
            subjects.PARTITION_STATUS_ALL,
            subjects.REFUSALS,
            _replies("ingest"),
        ),
    ),
    "aggregate": Rights(
        publish=(
            subjects.EVENTS_ALL,
            subjects.PURGED_ALL,
            subjects.DEAD_LETTERS_ALL,
            "results.*",
            subjects.PARTITION_STATUS_ALL,
            subjects.WORKERS,
            "health.aggregate.*",
            _replies("ingest"),
            _replies("aggregate"),
            f"{_KEYS}.>",
            f"$O.{subjects.CHECKPOINTS_BUCKET}.>",
            f"$JS.FC.{_CHECKPOINTS}.>",
            "$JS.API.STREAM.NAMES",
            *_api("STREAM.CREATE STREAM.UPDATE STREAM.PURGE STREAM.MSG.GET", _EVENTS),
            *_api("CONSUMER.DURABLE.CREATE CONSUMER.DELETE CONSUMER.MSG.NEXT", _EVENTS, ".*"),
            *_api("STREAM.INFO STREAM.CREATE STREAM.PURGE STREAM.MSG.GET CONSUMER.CREATE", _CHECKPOINTS),
            *_api("CONSUMER.DELETE", _CHECKPOINTS, ".*"),
            *_api("STREAM.INFO STREAM.CREATE", subjects.DEAD_LETTERS_STREAM),
            *_CATALOG[:-1],
            *_api("STREAM.UPDATE STREAM.PURGE", subjects.CATALOG_STREAM),
            *_api("STREAM.CREATE STREAM.MSG.GET", subjects.TOMBSTONES_STREAM),
            subjects.tombstone("*"),
            *_CLOCK,
            *_EXPLAIN[:1],
            *_api("CONSUMER.CREATE", _EVENTS),
            *_api("CONSUMER.CREATE", subjects.DEAD_LETTERS_STREAM),
            *_api("CONSUMER.MSG.NEXT", subjects.DEAD_LETTERS_STREAM, ".*"),
            *_api("CONSUMER.MSG.NEXT", subjects.CATALOG_STREAM, ".*"),
        ),
        subscribe=(
            "votes.*",
            subjects.WORKERS,
            subjects.PARTITION_STATUS_ALL,
            subjects.HEALTH_ALL,
            _replies("aggregate"),
        ),
        keys=(_PARTITIONS,),
        commands=(
            *_CONNECT,
            *_READ,
            *["mget", "hmget", "hkeys", "hlen", "hscan", "strlen", "getrange", "exists"],
            *["set", "setrange", "append", "del", "unlink", "pexpire", "hset", "hdel", "zadd", "zrem"],
            *_SCRIPTS,
        ),
    ),
    "gateway": Rights(
        publish=("health.gateway.*", _replies("gateway"), *_CATALOG, *_CLOCK),
        subscribe=(
            "results.*",
            subjects.ANNOUNCEMENTS_ALL,
            "inbox.*",
            subjects.CROWDS_ALL,
            subjects.HEALTH_ALL,
            subjects.PARTITION_STATUS_ALL,
            _replies("gateway"),
        ),
        keys=(_PARTITIONS, *_INBOXES),
        commands=(*_CONNECT, *_READ, "mget", *_SCRIPTS),
    ),
    "notify": Rights(
        publish=(
            subjects.ANNOUNCEMENTS_ALL,
            "inbox.*",
            subjects.CROWDS_ALL,
            *_NOTICES,
            "health.notify.*",
            _replies("notify"),
            *_CATALOG,
            *_CLOCK,
        ),
        subscribe=(
            "results.*",
            subjects.PARTITION_STATUS_ALL,
            subjects.HEALTH_ALL,
            subjects.NOTICES_ALL,
            _replies("notify"),
        ),
        keys=(*_INBOXES, "notices:lease", "notices:used", "segment:*", "segments"),
        commands=(
            *_CONNECT,
            *_READ,
            *["mget", "type", "set", "del", "pexpire", "pttl", "hset", "hsetnx", "hdel", "hlen", "hkeys"],
            *["zadd", "zrem", "zrangebylex", "zlexcount"],
            *_SCRIPTS,
        ),
        reads=(*_READ, "mget", *_SCRIPTS),
    ),
    CANARY: Rights(
        publish=(
            subjects.INCIDENTS_ALL,
            _replies(CANARY),
            *_api("STREAM.INFO STREAM.CREATE CONSUMER.CREATE", subjects.INCIDENTS_STREAM),
            *_api("CONSUMER.MSG.NEXT", subjects.INCIDENTS_STREAM, ".*"),
        ),
        subscribe=(_replies(CANARY),),
    ),
    SUPERVISOR: Rights(
        publish=(f"probes.{SUPERVISOR}.*", *_api("STREAM.CREATE", _PROBES)),
        subscribe=(subjects.replies(SUPERVISOR),),
        keys=(f"{SUPERVISOR}:probe",),
        commands=("get", "set"),
    ),
    OPERATOR: Rights(
        publish=_EXPLAIN,
        subscribe=(_replies(OPERATOR),),
        keys=(_PARTITIONS,),
        commands=(*_CONNECT, *_READ, *["mget", "hkeys", "set", "del", "unlink"], *_SCRIPTS),
    ),
    ADMIN: Rights(publish=(">",), subscribe=(">",), keys=("*",), commands=("@all",)),
}


@dataclass(frozen=True, slots=True)
class StoreUrls:
    """How one user reaches the stores, with its credentials."""

    nats: str
    redis: str


def new_logins() -> Logins:
    return {user: secrets.token_urlsafe(_PASSWORD_BYTES) for user in RIGHTS}


def nats_url(url: str, user: str, logins: Logins) -> str:
    return _with_login(url, user, logins)


def redis_url(url: str, user: str, logins: Logins) -> str:
    """Without a login for a user who has no rights there."""
    return _with_login(url, user, logins) if user in RIGHTS and RIGHTS[user].keys else url


def _with_login(url: str, user: str, logins: Logins) -> str:
    at = urlsplit(url)
    return at._replace(netloc=f"{user}:{logins[user]}@{at.netloc}").geturl() if user in logins else url


def monitor_path(password: str) -> str:
    """Below which nats-server's monitoring port answers, which asks nobody for a password: known to whoever
    knows the supervisor's. "" without one."""
    return f"/{hashlib.sha256(b'monitor ' + password.encode()).hexdigest()[:32]}" if password else ""


def nats_authorization(logins: Logins) -> Iterable[str]:
    """Lines of nats-server's configuration. It holds the passwords."""
    yield "authorization {"
    yield "  users = ["
    for user, rights in RIGHTS.items():
        allowed = {"publish": {"allow": rights.publish}, "subscribe": {"allow": rights.subscribe}}
        yield "    " + json.dumps({"user": user, "password": logins[user], "permissions": allowed})
    yield "  ]"
    yield "}"


def valkey_users(logins: Logins) -> Iterable[str]:
    """Lines of Valkey's configuration. It holds hashes of the passwords."""
    yield "user default off resetchannels -@all"
    for user, rights in RIGHTS.items():
        if rights.keys:
            password = hashlib.sha256(logins[user].encode()).hexdigest()
            keys = " ".join(f"~{key}" for key in rights.keys)
            commands = " ".join(f"+{command}" for command in rights.commands)
            channels = "&* " if user == ADMIN else ""
            reads = " ".join(f"+{command}" for command in rights.reads)
            more = f" (~{_PARTITIONS} -@all {reads})" if reads else ""
            yield f"user {user} on #{password} {channels}{keys} -@all {commands}{more}"


def tables() -> str:
    """All rights, in Markdown, as docs/store-rights.md has them."""
    return "\n".join(
        [
            "| NATS user | may publish on | may subscribe to |",
            "|---|---|---|",
            *(f"| {user} | {_listed(r.publish)} | {_listed(r.subscribe)} |" for user, r in RIGHTS.items()),
            "",
            "| Valkey user | keys | commands |",
            "|---|---|---|",
            *(
                f"| {user} | {_listed(keys)} | {_listed(commands)} |"
                for user, r in RIGHTS.items()
                for keys, commands in ((r.keys, r.commands), ((_PARTITIONS,), r.reads))
                if keys and commands
            ),
        ]
    )


def _listed(words: Iterable[str]) -> str:
    return ", ".join(f"`{word}`".replace("|", "\\|") for word in words)
