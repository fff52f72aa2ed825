"""grandstand.client.Notices: lists in messages, attempts from the start, and pages."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import grpc
import grpc.aio
import pytest

from grandstand.client import ClientError, Notices, open_channel
from grandstand.client.notices import ACTORS_PER_CHANGE, ACTORS_PER_MESSAGE
from grandstand.notify.v1 import notify_pb2 as notify
from grandstand.notify.v1.notify_pb2_grpc import NotifyServiceServicer, add_NotifyServiceServicer_to_server


class StandIn(NotifyServiceServicer):
    """Writes down what it is asked; its first answer to a list is that it is away."""

    def __init__(self) -> None:
        self.lists: list[list[notify.SendNoticeToActorsRequest]] = []
        self.changes: list[notify.ChangeSegmentRequest] = []

    async def SendNoticeToActors(
        self, request_iterator: AsyncIterator[notify.SendNoticeToActorsRequest], context: Any
    ) -> notify.SendNoticeToActorsResponse:
        messages = [message async for message in request_iterator]
        self.lists.append(messages)
        if len(self.lists) == 1:
            await context.abort(grpc.StatusCode.UNAVAILABLE, "not now")
        return notify.SendNoticeToActorsResponse(actors=sum(len(each.actor_ids) for each in messages))

    async def ChangeSegment(
        self, request: notify.ChangeSegmentRequest, context: Any
    ) -> notify.ChangeSegmentResponse:
        self.changes.append(request)
        return notify.ChangeSegmentResponse()

    async def ListSegmentActors(
        self, request: notify.ListSegmentActorsRequest, context: Any
    ) -> notify.ListSegmentActorsResponse:
        if request.segment != "vip":
            await context.abort(grpc.StatusCode.NOT_FOUND, f"segment: {request.segment!r} is unknown")
        last = request.page_token == "more"
        return notify.ListSegmentActorsResponse(
            actor_ids=["bob"] if last else ["ann"], next_page_token="" if last else "more"
        )


def test_lists_segments_and_refusals() -> None:
    async def scenario() -> None:
        service, server = StandIn(), grpc.aio.server()
        add_NotifyServiceServicer_to_server(service, server)  # type: ignore[no-untyped-call]
        port = server.add_insecure_port("127.0.0.1:0")
        await server.start()
        try:
            async with open_channel(f"127.0.0.1:{port}") as channel:
                notices = Notices(channel, token="t")
                actors = [f"a{n}" for n in range(ACTORS_PER_MESSAGE + 1)]
                done = await notices.send_to_actors(notify.Notice(key="k"), actors)
                assert done.actors == len(actors)
                # The second attempt begins again, with the notice in its first message alone.
                assert service.lists[0] == service.lists[1]
                first, second = service.lists[1]
                assert (first.notice.key, second.HasField("notice")) == ("k", False)
                assert [*first.actor_ids, *second.actor_ids] == actors

                await notices.change_segment("vip", add=actors[: ACTORS_PER_CHANGE + 1], remove=["a9"])
                assert [(len(each.add), len(each.remove)) for each in service.changes] == [
                    (ACTORS_PER_CHANGE, 0),
                    (1, 0),
                    (0, 1),
                ]
                assert [actor async for actor in notices.segment_actors("vip")] == ["ann", "bob"]
                with pytest.raises(ClientError, match="'none' is unknown"):
                    _ = [actor async for actor in notices.segment_actors("none")]
        finally:
            await server.stop(None)

    asyncio.run(scenario())
