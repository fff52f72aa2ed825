"""OperatorService: the mesh now and over the last hour, for `top --mesh` and the admin page.

It answers from what mesh.health.watch hears, and computes an answer FRESH_S apart at most, however many ask:
forty dashboards cost what one does.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Protocol

from google.protobuf.message import Message

from grandstand.catalog.v1.catalog_pb2 import Game
from grandstand.operator.v1 import operator_pb2 as pb
from grandstand.wire.errors import Forbidden
from mesh import telemetry
from mesh.auth import OPERATOR, Identity, Verifies, authorization_of
from mesh.catalog.view import CatalogView
from mesh.http2.call import Accept, Metadata
from mesh.http2.unary import unary
from mesh.jetstream import subjects

FRESH_S = 0.5
_SERVICE = pb.DESCRIPTOR.services_by_name["OperatorService"]


class Watched(Protocol):
    """The part of mesh.health.watch.HealthWatch that is used here."""

    def overview(self, title: Callable[[str], str]) -> pb.Overview: ...
    def points(self) -> list[pb.OverviewPoint]: ...


class OperatorService:
    """`now`: Unix seconds; `clock`: monotonic seconds."""

    def __init__(
        self,
        watched: Watched,
        view: CatalogView,
        verifier: Verifies,
        now: Callable[[], float],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._watched = watched
        self._view = view
        self._verifier = verifier
        self._now = now
        self._clock = clock
        self._answers: dict[str, tuple[float, Message]] = {}

    def methods(self) -> dict[str, Accept]:
        """By path, as the engine wants them."""
        computes: dict[str, Callable[[], Message]] = {
            "GetOverview": lambda: pb.GetOverviewResponse(overview=self._watched.overview(self._title)),
            "ListPoints": lambda: pb.ListPointsResponse(points=self._watched.points()),
        }
        assert set(computes) == {method.name for method in _SERVICE.methods}, "every method of the proto"
        return {
            f"/{_SERVICE.full_name}/{name}": self._method(name, compute) for name, compute in computes.items()
        }

    def _method(self, name: str, compute: Callable[[], Message]) -> Accept:
        """The requests hold nothing, and are not looked at."""

        def answer(_: bytes, metadata: Metadata) -> bytes:
            by = self._operator(metadata)
            at_s, computed = self._answers.get(name, (float("-inf"), None))
            if computed is None or self._clock() - at_s > FRESH_S:
                computed = compute()
                self._answers[name] = self._clock(), computed
            return _opened_by(by, computed).SerializeToString()

        return unary(telemetry.traced(f"/{_SERVICE.full_name}/{name}", answer))

    def _operator(self, metadata: Metadata) -> Identity:
        """Raises Unauthenticated, Unavailable, Forbidden."""
        identity = self._verifier.verify(authorization_of(metadata), self._now())
        if not identity.operator:
            raise Forbidden(f"token: has not the role {OPERATOR}; get one that has it")
        return identity

    def _title(self, game_id: str) -> str:
        game = self._view.get(subjects.game_key(game_id))
        return game.title if isinstance(game, Game) else ""


def _opened_by(by: Identity, response: Message) -> Message:
    """Without the games that the token does not open."""
    games = by.games
    if games is None or not isinstance(response, pb.GetOverviewResponse):
        return response
    own = pb.GetOverviewResponse()
    own.CopyFrom(response)
    del own.overview.hottest[:]
    own.overview.hottest.extend(each for each in response.overview.hottest if each.game_id in games)
    return own
