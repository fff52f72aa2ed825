"""The attacks: which exploit of a stranger each plays, at what rate, and how it is made.

A plan's rate is that of the exploit as it was found, where one was told. `burst` units are due at once, and
`rate_per_s` from then on; `held` is how many are open at the same time. What the mesh ends is started again,
within that rate. One attacker is one address, `SOURCE`: bounds are by address.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from bench._attack_kinds import Attack, ConnectionAttack, FrameFlood, StreamAttack, Unit
from bench._attack_line import Address
from bench._attack_mixes import hostile_actors, list_inboxes, unread_pages
from bench._attack_talks import GATEWAY, PUBLISH, GuestAttack, StoreAttack, TalkAttack, headers
from bench._attack_target import (
    ASIDE,
    BOARD,
    GAME,
    KIND,
    OPTIONS,
    POLL,
    PULSE,
    SOURCE,
    VOTER,
    Target,
    message,
)
from grandstand.aggregate.v1.aggregate_pb2 import ReadRequest
from grandstand.catalog.v1.catalog_pb2 import ClosePollRequest, GetGameRequest
from grandstand.event.v1.event_pb2 import Event, Position, Reaction, Score, Vote
from grandstand.gateway.v1.gateway_pb2 import SendRequest, SubscribeRequest
from grandstand.ingest.v1.ingest_pb2 import EventBatch, Hello, PublishRequest
from grandstand.wire import ids
from mesh.auth import GUEST, PRODUCER
from mesh.http2 import frames as f

_SUBSCRIBE, _SEND = f"{GATEWAY}/Subscribe", f"{GATEWAY}/Send"
_READ = "/grandstand.aggregate.v1.AggregateService/Read"
_GET_GAME = "/grandstand.catalog.v1.CatalogService/GetGame"
_CLOSE_POLL = "/grandstand.catalog.v1.CatalogService/ClosePoll"
_TRACED = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
_CHUNK = 1_000
_FUTURE = 2**62
_SHORT_LIFE_S = 5.0


@dataclass(frozen=True, slots=True)
class Plan:
    clause: int
    """Of the issue that told the exploit."""
    exploit: str
    unit: str
    rate_per_s: float
    make: Callable[[Target], Attack]
    burst: int = 0
    held: int = 0

    def wanted(self) -> dict[str, Any]:
        return {
            "unit": self.unit,
            "rate_per_s": self.rate_per_s,
            **({"burst": self.burst} if self.burst else {}),
            **({"held": self.held} if self.held else {}),
        }


def _same(unit: Unit) -> Callable[[int], Unit]:
    return lambda _: unit


def _ok(status: str) -> bool:
    return status == "0"


def _silent(path: str, held: int, per_line: int = 100) -> Callable[[Target], Attack]:
    return lambda at: StreamAttack(at.edge, SOURCE, _same(Unit(headers(path))), held=held, per_line=per_line)


def _silent_publish(at: Target) -> Attack:
    unit = Unit(headers(PUBLISH, at.bearer("guest-0", GUEST)))
    return StreamAttack(at.edge, SOURCE, _same(unit), held=21_000)


def _future_reads(at: Target) -> Attack:
    block = headers(_READ)
    (partition,) = ids.partitions_of(GAME, 1)

    def unit(n: int) -> Unit:
        position = Position(partition=partition, sequence=_FUTURE + n)
        return Unit(block, message(ReadRequest(game_id=GAME, positions=[position])))

    return StreamAttack(at.edge, SOURCE, unit, held=300)


def _get_games(at: Target) -> Attack:
    unit = Unit(headers(_GET_GAME, ("traceparent", _TRACED)), message(GetGameRequest(game_id=GAME)))
    return StreamAttack(at.edge, SOURCE, _same(unit), held=100)


def _forged_addresses(at: Target) -> Attack:
    asked = message(SubscribeRequest(game_id=ASIDE, topics=[f"poll/{POLL}"]))

    def unit(n: int) -> Unit:
        return Unit(
            headers(_SUBSCRIBE, ("x-forwarded-for", f"10.{n >> 16 & 255}.{n >> 8 & 255}.{n & 255}")), asked
        )

    return StreamAttack(at.edge, SOURCE, unit, held=3_000)


def _frames_of(flood: Callable[[int], bytes], at: Address) -> Attack:
    opening = Unit(headers(_SUBSCRIBE), message(SubscribeRequest(game_id=ASIDE, topics=[f"poll/{POLL}"])))
    return FrameFlood(at, SOURCE, opening, flood, resends=_CHUNK)


def _window_updates(stream: int) -> bytes:
    return (f.window_update(0, 1) + f.window_update(stream, 1)) * (_CHUNK // 2)


def _pings(stream: int) -> bytes:
    return f.frame(f.PING, 0, 0, b"12345678") * _CHUNK


def _settings(stream: int) -> bytes:
    return f.settings({f.INITIAL_WINDOW_SIZE: f.WINDOW_DEFAULT}) * _CHUNK


def _empty_data(stream: int) -> bytes:
    return f.frame(f.DATA, 0, stream) * _CHUNK


def _resets(at: Target) -> Attack:
    unit = Unit(headers(_SUBSCRIBE))
    return StreamAttack(at.edge, SOURCE, _same(unit), held=1_000, resets=True)


def _reactions(at: Target) -> Attack:
    def event(n: int) -> Event:
        return Event(game_id=GAME, reaction=Reaction(pulse_id=PULSE, kind=KIND, count=100))

    return TalkAttack(at.edge, SOURCE, at.token("guest-1", GUEST), event, batch=10, producer=False)


def _scores(at: Target) -> Attack:
    def event(n: int) -> Event:
        return Event(game_id=GAME, score=Score(board_id=BOARD, points=2**53))

    token = at.token("guest-2", GUEST)
    return TalkAttack(at.edge, SOURCE, token, event, batch=1, producer=False, is_forbidden=True)


def _catalog(at: Target) -> Attack:
    asked = message(ClosePollRequest(game_id=GAME, poll_id=POLL))
    who = [
        Unit(headers(_CLOSE_POLL, *shown), asked)
        for shown in (
            (),
            (at.bearer("guest-3", GUEST),),
            (at.bearer("rogue", PRODUCER),),
            (at.bearer("rogue", "owner", games=[ASIDE]),),
        )
    ]
    return StreamAttack(at.mesh, SOURCE, lambda n: who[n % len(who)], held=100, lands=_ok)


def _invented_origins(at: Target) -> Attack:
    block = headers(PUBLISH, at.bearer("guest-4", GUEST))
    vote = Event(origin_seq=1, game_id=ASIDE, vote=Vote(poll_id=POLL, option_ids=[OPTIONS[0]]))
    events = message(PublishRequest(events=EventBatch(events=[vote])))

    def unit(_: int) -> Unit:
        origin = ids.new_origin(producer=False, now_s=time.time(), entropy=os.urandom(12))
        return Unit(block, message(PublishRequest(hello=Hello(origin_id=origin))) + events)

    return StreamAttack(at.edge, SOURCE, unit, held=8, per_line=8)


def _mute(at: Target) -> Attack:
    def event(n: int) -> Event:
        vote = Vote(poll_id=POLL, option_ids=[OPTIONS[n % 8]])
        return Event(game_id=ASIDE, actor_id=VOTER.format(n % 4), vote=vote)

    token = at.token("rogue", PRODUCER, games=[ASIDE])
    return TalkAttack(at.edge, SOURCE, token, event, batch=50, producer=True)


def _outlived_tokens(at: Target) -> Attack:
    """A stream lands that is not ended within its token's life and some seconds more."""
    asked = message(SubscribeRequest(game_id=ASIDE, topics=["inbox"]))

    def unit(n: int) -> Unit:
        shown = at.bearer(f"brief-{n}", "viewer", life_s=_SHORT_LIFE_S)
        return Unit(headers(_SUBSCRIBE, shown), asked)

    return StreamAttack(at.edge, SOURCE, unit, held=200, outlives_s=2 * _SHORT_LIFE_S)


def _forged_tokens(at: Target) -> Attack:
    forged = [token.rpartition(".")[0] + ".c2lnbmF0dXJl" for token in (at.token("mallory", "operator"),)]
    # {"alg":"EdDSA","kid":"unknown"}, as a key set that rotates would have it.
    forged.append("eyJhbGciOiJFZERTQSIsImtpZCI6InVua25vd24ifQ." + forged[0].partition(".")[2])
    event = Event(origin_seq=1, game_id=GAME, vote=Vote(poll_id=POLL, option_ids=[OPTIONS[0]]))
    asked = message(SendRequest(event=event))
    who = [Unit(headers(_SEND, ("authorization", f"Bearer {token}")), asked) for token in forged]
    return StreamAttack(at.edge, SOURCE, lambda n: who[n % len(who)], held=100, lands=_ok)


PLANS: dict[str, Plan] = {
    "silent-subscribes": Plan(
        1,
        "Subscribe without a message: 7 connections, 3,600 streams each, in 0.4 s",
        "streams",
        5_040,
        _silent(_SUBSCRIBE, 25_200, 3_600),
        burst=25_200,
        held=25_200,
    ),
    "silent-subscribes-wide": Plan(
        1,
        "the same over as many connections as it takes, 100 streams each",
        "streams",
        5_040,
        _silent(_SUBSCRIBE, 25_200),
        burst=25_200,
        held=25_200,
    ),
    "silent-publishes": Plan(
        2,
        "21,000 silent Publish streams with one guest's token",
        "streams",
        4_200,
        _silent_publish,
        burst=21_000,
        held=21_000,
    ),
    "silent-connections": Plan(
        3,
        "15,590 connections that say nothing",
        "connections",
        3_118,
        lambda at: ConnectionAttack(at.edge, SOURCE, held=15_590),
        burst=15_590,
        held=15_590,
    ),
    "silent-reads": Plan(
        3,
        "Reads of which only the headers come, more than the breaker lets through",
        "streams",
        1_000,
        _silent(_READ, 3_000),
        burst=3_000,
        held=3_000,
    ),
    "future-reads": Plan(
        4,
        "300 Reads with positions from the future",
        "calls",
        300,
        _future_reads,
        burst=300,
        held=300,
    ),
    "get-games": Plan(
        4,
        "GetGame again and again, each with a traceparent that asks to be traced (clause 7)",
        "calls",
        300,
        _get_games,
    ),
    "list-inboxes": Plan(
        4,
        "ListInbox with a guest's token, as the personal reads that are the dearest",
        "calls",
        1_000,
        list_inboxes,
        burst=2_000,
        held=2_000,
    ),
    "unread-pages": Plan(
        4,
        "the page's largest file, asked for and not read: Envoy holds it whole",
        "requests",
        200,
        unread_pages,
        burst=2_000,
        held=2_000,
    ),
    "forged-addresses": Plan(
        5,
        "3,000 viewers, each naming another address of its own",
        "streams",
        600,
        _forged_addresses,
        burst=3_000,
        held=3_000,
    ),
    "guests": Plan(
        6,
        "1,360 guests' tokens in 6 s; each votes, and says that it watches",
        "guests",
        227,
        lambda at: GuestAttack(at.edge, SOURCE, GAME, POLL),
    ),
    "window-updates": Plan(
        7,
        "1,000,000 WINDOW_UPDATE on one connection to the edge",
        "frames",
        50_000,
        lambda at: _frames_of(_window_updates, at.edge),
    ),
    "window-updates-engine": Plan(
        7,
        "the same past Envoy, at the gateway's own engine",
        "frames",
        50_000,
        lambda at: _frames_of(_window_updates, at.gateway),
    ),
    "pings": Plan(
        7,
        "a flood of PING",
        "frames",
        20_000,
        lambda at: _frames_of(_pings, at.edge),
    ),
    "settings": Plan(
        7,
        "a flood of SETTINGS",
        "frames",
        20_000,
        lambda at: _frames_of(_settings, at.edge),
    ),
    "empty-data": Plan(
        7,
        "a flood of empty DATA",
        "frames",
        20_000,
        lambda at: _frames_of(_empty_data, at.edge),
    ),
    "rapid-resets": Plan(
        7,
        "streams opened and reset at once (CVE-2023-44487)",
        "streams",
        1_000,
        _resets,
    ),
    "reactions": Plan(
        7,
        "reactions of 100 each, as fast as one stream takes them",
        "events",
        1_000,
        _reactions,
    ),
    "scores": Plan(
        8,
        "a guest posts 2^53 to a board of producers",
        "events",
        100,
        _scores,
    ),
    "catalog": Plan(
        9,
        "ClosePoll on the mesh listener by nobody, a guest, a producer, another game's owner",
        "calls",
        100,
        _catalog,
    ),
    "stores": Plan(
        10,
        "a stranger purges NATS and empties Valkey",
        "calls",
        100,
        lambda at: StoreAttack(at.nats, at.redis, SOURCE),
    ),
    "invented-origins": Plan(
        11,
        "57,269 invented origins in 15 s",
        "origins",
        3_818,
        _invented_origins,
    ),
    "muted-actors": Plan(
        12,
        "a producer of another game uses up what the voters may send",
        "events",
        5_000,
        _mute,
    ),
    "outlived-tokens": Plan(
        13,
        "personal streams whose tokens end after 5 s",
        "streams",
        100,
        _outlived_tokens,
        burst=200,
        held=200,
    ),
    "hostile-actors": Plan(
        14,
        "ever new actors whose ids are wildcards, separators, RTL, NUL, 128 bytes: they vote, watch, read",
        "calls",
        300,
        hostile_actors,
        held=1_000,
    ),
    "forged-tokens": Plan(
        15,
        "tokens with a wrong signature, and with a kid that is in no key set",
        "calls",
        500,
        _forged_tokens,
    ),
}
