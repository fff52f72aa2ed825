"""A game for a test of the page: defined, opened and acted in from outside the browser.

Blocking gRPC, since Playwright's synchronous API holds the test's event loop.
"""

from __future__ import annotations

import contextlib
import itertools
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import grpc

from grandstand.catalog.v1 import catalog_pb2 as catalog
from grandstand.catalog.v1.catalog_pb2_grpc import CatalogServiceStub
from grandstand.event.v1.event_pb2 import Event, Score, Vote
from grandstand.gateway.v1 import gateway_pb2 as gateway
from grandstand.gateway.v1.gateway_pb2_grpc import GatewayServiceStub
from grandstand.notify.v1.notify_pb2 import Audience, Notice, SendNoticeRequest
from grandstand.notify.v1.notify_pb2_grpc import NotifyServiceStub
from tests.support.mesh_fixture import mesh_at

DEADLINE_S = 20.0
OPTIONS = {"red": "Red", "blue": "Blue", "gold": "Gold"}


class Stage:
    """One game; `url` is its page."""

    def __init__(
        self, edge_url: str, edge: grpc.Channel, mesh: grpc.Channel, game_id: str, token: Callable[[], str]
    ) -> None:
        """`token`: an owner's."""
        self.game_id = game_id
        self._token = token
        self.url = f"{edge_url}/?game={game_id}"
        self._catalog: Any = CatalogServiceStub(mesh)
        self._gateway: Any = GatewayServiceStub(edge)
        self._notify: Any = NotifyServiceStub(mesh)
        self._numbers = itertools.count(1)
        self._origin = ""

    def define(self, title: str = "A final", rules: Sequence[catalog.Rule] = ()) -> None:
        pulse = catalog.Pulse(pulse_id="cheer", kinds=["fire", "clap", "confetti"])
        game = catalog.Game(game_id=self.game_id, title=title, pulses=[pulse], rules=rules)
        self._call(self._catalog.DefineGame, catalog.DefineGameRequest(game=game))

    def open_poll(
        self,
        poll_id: str = "mvp",
        question: str = "Who wins?",
        options: Mapping[str, str] = OPTIONS,
        *,
        changeable: bool = False,
    ) -> None:
        poll = catalog.Poll(
            game_id=self.game_id,
            poll_id=poll_id,
            question=question,
            options=[catalog.PollOption(option_id=id_, label=label) for id_, label in options.items()],
            changeable=changeable,
        )
        self._call(self._catalog.OpenPoll, catalog.OpenPollRequest(poll=poll))

    def close_poll(self, poll_id: str = "mvp") -> None:
        request = catalog.ClosePollRequest(game_id=self.game_id, poll_id=poll_id)
        self._call(self._catalog.ClosePoll, request)

    def open_board(self, board_id: str = "top", title: str = "Top players") -> None:
        board = catalog.Board(
            game_id=self.game_id,
            board_id=board_id,
            title=title,
            mode=catalog.BOARD_MODE_SUM,
            writers=catalog.WRITERS_ACTORS,
        )
        self._call(self._catalog.OpenBoard, catalog.OpenBoardRequest(board=board))

    def tell(self, title: str, text: str = "", actor_id: str = "") -> None:
        """To one actor, or to all viewers."""
        audience = Audience(actor_id=actor_id) if actor_id else Audience(viewers=True)
        notice = Notice(
            key=title, game_id=self.game_id, audience=audience, code="test", title=title, text=text
        )
        self._call(self._notify.SendNotice, SendNoticeRequest(notice=notice))

    def vote(self, actor_id: str, option_id: str, poll_id: str = "mvp") -> None:
        self._send(actor_id, vote=Vote(poll_id=poll_id, option_ids=[option_id]))

    def score(self, actor_id: str, points: int, board_id: str = "top") -> None:
        self._send(actor_id, score=Score(board_id=board_id, points=points))

    def _send(self, actor_id: str, **body: Any) -> None:
        if not self._origin:
            issued = self._call(self._gateway.IssueOrigin, gateway.IssueOriginRequest())
            self._origin = issued.origin_id
        event = Event(
            game_id=self.game_id,
            actor_id=actor_id,
            origin_id=self._origin,
            origin_seq=next(self._numbers),
            **body,
        )
        self._call(self._gateway.Send, gateway.SendRequest(event=event))

    def _call(self, method: Any, request: Any) -> Any:
        return method(request, metadata=[("authorization", f"Bearer {self._token()}")], timeout=DEADLINE_S)


@contextlib.contextmanager
def new_stage(edge_url: str, edge: str, mesh: str, *, defined: bool = True) -> Iterator[Stage]:
    """A game nobody else uses. Addresses are those of a RunningMesh."""
    token = mesh_at(edge).owner
    with grpc.insecure_channel(edge) as edge_channel, grpc.insecure_channel(mesh) as mesh_channel:
        stage = Stage(edge_url, edge_channel, mesh_channel, f"t-{uuid.uuid4().hex[:12]}", token)
        if defined:
            stage.define()
        yield stage
