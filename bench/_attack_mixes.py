"""Attacks by readers and by actors with hostile ids.

What hostile ids may do is what any others may; none may hear what another is told, or break anything. So a
call lands that ends as INTERNAL or UNKNOWN: something behind the edge took the id for more than text.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable

from jwt.api_jws import PyJWS

from bench._attack_kinds import Attack, StreamAttack, Unit
from bench._attack_talks import GATEWAY, PUBLISH, headers
from bench._attack_target import ASIDE, OPTIONS, POLL, SOURCE, Target, message
from grandstand.event.v1.event_pb2 import Event, Vote
from grandstand.gateway.v1.gateway_pb2 import SubscribeRequest
from grandstand.ingest.v1.ingest_pb2 import EventBatch, Hello, PublishRequest
from grandstand.notify.v1.notify_pb2 import ListInboxRequest
from grandstand.wire.bounds import ACTOR_ID_BYTES_MAX
from mesh.auth import GUEST, read_signing_keys
from mesh.auth.claims import AUDIENCE
from mesh.envoy.page import page_files
from toolbox.local.development import DEVELOPMENT_KEY
from toolbox.local.provision import checkout

_GRPC = "application/grpc"
_LIST_INBOX = "/grandstand.notify.v1.NotifyService/ListInbox"
_HOSTILE = (
    *("*", ">", "notices.>", "$JS.API.>", "a.b.*.", "{p7}", "}{p0}:lease", ":", "/", "\\", "%00", "*)(*"),
    *("' --", "\r\nPUB EVENTS 0\r\n", "\x00", "\x1b[2J", "\u202e", "\u200b", "\ufeff", "\U0001f3df" * 26),
    *(" ", "\u00a0"),
)
_BROKEN = ("2", "13")
"""UNKNOWN, INTERNAL."""
_LIFE_S = 5
"""Of their tokens, so that viewers do not fill what their address may have."""


def hostile_id(n: int) -> str:
    """First each as it is, then ever new ones of ACTOR_ID_BYTES_MAX bytes; every eighth has one more."""
    hostile = _HOSTILE[n % len(_HOSTILE)]
    if n < len(_HOSTILE):
        return hostile
    head = f"{n}{hostile}" if n % 2 else f"{hostile}{n}"
    return head + "x" * (ACTOR_ID_BYTES_MAX + (n % 8 == 0) - len(head.encode()))


def _signed(at: Target) -> Callable[[str], tuple[str, str]]:
    """Metadata for an actor. As a platform signs that looks at no `sub`: `mint` would refuse some."""
    key = read_signing_keys(at.home / DEVELOPMENT_KEY)[0]
    jws = PyJWS(algorithms=[key.algorithm])

    def bearer(actor_id: str) -> tuple[str, str]:
        now_s = int(time.time())
        claims = {"aud": AUDIENCE, "iat": now_s, "exp": now_s + _LIFE_S, "roles": ["viewer"], "sub": actor_id}
        token = jws.encode(json.dumps(claims).encode(), key.jwk, key.algorithm, {"kid": key.kid})
        return "authorization", f"Bearer {token}"

    return bearer


def hostile_actors(at: Target) -> Attack:
    watch = message(SubscribeRequest(game_id=ASIDE, topics=["inbox", f"poll/{POLL}"]))
    inbox = message(ListInboxRequest())
    vote = Event(origin_seq=1, game_id=ASIDE, vote=Vote(poll_id=POLL, option_ids=[OPTIONS[0]]))
    voting = message(PublishRequest(hello=Hello())) + message(
        PublishRequest(events=EventBatch(events=[vote]))
    )
    ways = ((PUBLISH, voting), (_LIST_INBOX, inbox), (f"{GATEWAY}/Subscribe", watch), (_LIST_INBOX, inbox))

    bearer = _signed(at)

    def unit(n: int) -> Unit:
        path, asked = ways[n % len(ways)]
        return Unit(headers(path, bearer(hostile_id(n // len(ways)))), asked)

    return StreamAttack(at.edge, SOURCE, unit, held=1_000, lands=lambda status: status in _BROKEN)


def list_inboxes(at: Target) -> Attack:
    unit = Unit(headers(_LIST_INBOX, at.bearer("guest-5", GUEST)), message(ListInboxRequest()))
    return StreamAttack(at.edge, SOURCE, lambda _: unit, held=2_000)


def unread_pages(at: Target) -> Attack:
    """As a browser asks for it, and as gRPC would."""
    largest = max(page_files(checkout() / "web" / "dist"), key=lambda page: len(page.body))
    ways = [
        Unit(headers(largest.path, *more, method="GET"), b"") for more in ((), (("content-type", _GRPC),))
    ]
    return StreamAttack(at.edge, SOURCE, lambda n: ways[n % 2], held=2_000, is_wide=False)
