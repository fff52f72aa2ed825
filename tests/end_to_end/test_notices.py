"""A notice through Envoy: sent inside, read and acknowledged at the edge, by gRPC and by gRPC-Web."""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator

import grpc
import pytest

from grandstand.client import open_channel
from grandstand.notify.v1 import notify_pb2 as pb
from grandstand.notify.v1.notify_pb2_grpc import NotifyServiceStub
from mesh.auth import OPERATOR
from mesh.envoy.config import Endpoint
from tests.support.games import bearing, new_game, run
from tests.support.grpc_web import web_viewer
from tests.support.mesh_fixture import RunningMesh
from tests.support.servers import eventually
from toolbox.local.development import development_token

LIST_INBOX = "/grandstand.notify.v1.NotifyService/ListInbox"
CODES = grpc.StatusCode


def test_who_was_away_finds_a_notice_at_the_edge_and_acknowledges_it(mesh: RunningMesh) -> None:
    async def scenario() -> None:
        ann = f"auth0|{uuid.uuid4().hex}"
        host, _, port = mesh.edge.rpartition(":")
        async with (
            new_game(mesh.edge, mesh.mesh) as game,
            open_channel(mesh.edge) as edge,
            open_channel(mesh.mesh) as inside,
        ):
            notice = pb.Notice(game_id=game.game_id, key="k", code="goal", title="A goal")

            async def requests() -> AsyncIterator[pb.SendNoticeToActorsRequest]:
                yield pb.SendNoticeToActorsRequest(notice=notice, actor_ids=["bob"])
                yield pb.SendNoticeToActorsRequest(actor_ids=[ann])

            boss = NotifyServiceStub(bearing(inside, mesh.owner))
            assert (await boss.SendNoticeToActors(requests(), timeout=10)).actors == 2
            own = NotifyServiceStub(bearing(edge, lambda: mesh.viewer(ann)))
            inbox = pb.ListInboxResponse()

            async def is_told() -> bool:
                nonlocal inbox
                inbox = await own.ListInbox(pb.ListInboxRequest(game_id=game.game_id), timeout=10)
                return bool(inbox.unread)

            await eventually(is_told, "ann's inbox shows it")
            (told,) = inbox.notifications
            assert (told.title, told.game_id, told.read) == ("A goal", game.game_id, False)
            request = pb.ListInboxRequest(game_id=game.game_id).SerializeToString()
            shown = {"authorization": f"Bearer {mesh.viewer(ann)}", "connection": "close"}
            async with web_viewer(Endpoint(host, int(port)), LIST_INBOX, request, shown) as page:
                answer = await page.to_the_end()
            assert b"200 OK" in answer
            assert told.notification_id.encode() in answer
            read = pb.AcknowledgeNoticesRequest(up_to=told.notification_id)
            await own.AcknowledgeNotices(read, timeout=10)
            again = await own.ListInbox(pb.ListInboxRequest(game_id=game.game_id), timeout=10)
            assert (again.unread, again.notifications[0].read) == (0, True)

            name = f"s-{uuid.uuid4().hex[:8]}"
            token = development_token(mesh.home, "root", roles=[OPERATOR])
            root = NotifyServiceStub(bearing(inside, lambda: token))
            await root.ChangeSegment(pb.ChangeSegmentRequest(segment=name, add=[ann]), timeout=10)
            to_segment = pb.Notice(
                key=name, code="offer", title="For you", audience=pb.Audience(segment=name)
            )
            await root.SendNotice(pb.SendNoticeRequest(notice=to_segment), timeout=10)

            async def is_shown() -> bool:
                found = await own.ListInbox(pb.ListInboxRequest(), timeout=10)
                return "For you" in {each.title for each in found.notifications}

            await eventually(is_shown, "a member of the segment is told")
            for stub, call, code in (
                (NotifyServiceStub(edge), "ListInbox", CODES.UNAUTHENTICATED),
                (NotifyServiceStub(inside), "ListInbox", CODES.UNAUTHENTICATED),
                (NotifyServiceStub(bearing(edge, mesh.owner)), "SendNotice", CODES.UNIMPLEMENTED),
                (
                    NotifyServiceStub(bearing(inside, lambda: mesh.viewer(ann))),
                    "SendNotice",
                    CODES.PERMISSION_DENIED,
                ),
            ):
                asked = pb.ListInboxRequest() if call == "ListInbox" else pb.SendNoticeRequest(notice=notice)
                with pytest.raises(grpc.aio.AioRpcError) as refused:
                    await getattr(stub, call)(asked, timeout=10)
                assert refused.value.code() == code, (call, refused.value.details())

    run(scenario())
