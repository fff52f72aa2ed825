"""Who may call the catalog, and the line that each change of it leaves in the log. Pure."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest

from aggregate import audit
from grandstand.catalog.v1.catalog_pb2 import STAGE_CLOSED, STAGE_SEALED, Board, Game, Poll
from grandstand.wire.errors import Forbidden, Unauthenticated
from mesh.auth import Trust, Verifier
from mesh.auth.access import Access, Caller, GrpcCall
from tests.support.tokens import bearer, private_jwk, ring, token

KEY = private_jwk("HS256")
RING = ring(KEY)


@dataclass
class FakeCall:
    metadata: tuple[tuple[str, str | bytes], ...]

    def invocation_metadata(self) -> tuple[tuple[str, str | bytes], ...]:
        return self.metadata

    def peer(self) -> str:
        return "ipv4:127.0.0.1:5000"


def call(*forwarded: str, **claims: Any) -> FakeCall:
    shown = [("authorization", bearer(token(KEY, **claims)))] if claims else []
    return FakeCall((*shown, *(("x-forwarded-for", value) for value in forwarded)))


ACCESS = Access(Verifier(Trust(lambda: RING)), time.time)
NOBODY = call()


def defines(found: GrpcCall) -> Caller:
    return ACCESS.owner(found, "game.game_id", "arena-1")


@pytest.mark.parametrize(
    ("ask", "claims", "error", "said"),
    [
        (defines, {}, Unauthenticated, "token: there is none"),
        (ACCESS.operator, {}, Unauthenticated, "token: there is none"),
        (defines, {"roles": ["viewer"]}, Forbidden, "has not the role owner"),
        (defines, {"roles": ["producer"]}, Forbidden, "has not the role owner"),
        (ACCESS.operator, {"roles": ["owner"]}, Forbidden, "has not the role operator"),
        (defines, {"roles": ["owner"], "games": ["area-*"]}, Forbidden, "'arena-1' is not among"),
        (defines, {"roles": ["operator"], "games": ["x"]}, Forbidden, "'arena-1' is not among"),
        (defines, {"roles": ["owner"], "exp": 1}, Unauthenticated, "expired"),
        (lambda c: ACCESS.reader(c, "g"), {"roles": ["viewer"], "exp": 1}, Unauthenticated, "expired"),
        (lambda c: ACCESS.reader(c, "g"), {"games": ["h"]}, Forbidden, "game_id: 'g' is not among"),
        (ACCESS.operator_of_all, {"roles": ["owner"]}, Forbidden, "has not the role operator"),
        (ACCESS.operator_of_all, {"roles": ["operator"], "games": ["x"]}, Forbidden, "some games only"),
        (ACCESS.actor, {}, Unauthenticated, "token: there is none"),
        (ACCESS.actor, {"roles": ["producer"], "sub": None}, Forbidden, "token: names no actor"),
    ],
)
def test_i10_who_may_not_is_told_why(
    ask: Callable[[GrpcCall], object], claims: dict[str, Any], error: type[Exception], said: str
) -> None:
    found = call(**claims)
    with pytest.raises(error, match=said):
        ask(found)


def test_an_owner_defines_in_its_games_an_operator_everywhere_and_anybody_reads() -> None:
    assert defines(call(roles=["owner"])).identity.actor_id == "ann"
    assert defines(call(roles=["owner"], games=["arena-*"])).identity.owner
    assert defines(call(roles=["operator"])).identity.operator
    ACCESS.operator(call(roles=["operator"]))
    for reader in (NOBODY, call(roles=["viewer"]), call(games=["arena-1"])):
        ACCESS.reader(reader, "arena-1")


def test_a_change_of_the_catalog_is_one_line_that_says_who_what_and_from_where(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO, "audit")
    poll = Poll(game_id="final", poll_id="mvp", stage=STAGE_CLOSED)
    poll.opened_at.seconds, poll.closes_at.seconds = 0, 60
    by = defines(call("6.6.6.6, 10.0.0.7", roles=["owner"]))
    audit.called("defined", Game(game_id="final", title="two\nlines"), by)
    audit.called("closed", poll, defines(call(roles=["operator"])))
    audit.called("opened", Board(game_id="f", board_id="top"), defines(call("a\nb", roles=["owner"])))
    audit.ended(poll)
    poll.stage = STAGE_SEALED
    audit.ended(poll)
    times = "(opened_at 1970-01-01T00:00:00Z, closes_at 1970-01-01T00:01:00Z)"
    assert caplog.messages == [
        "defined game final by ann (owner) from '10.0.0.7' via ipv4:127.0.0.1:5000",
        f"closed poll mvp of game final {times} by ann (operator) from ipv4:127.0.0.1:5000",
        "opened board top of game f (opened_at never) by ann (owner) from 'a\\nb' via ipv4:127.0.0.1:5000",
        f"ended poll mvp of game final {times} by the mesh",
        f"sealed poll mvp of game final {times} by the mesh",
    ]
    assert {record.name for record in caplog.records} == {"audit"}
