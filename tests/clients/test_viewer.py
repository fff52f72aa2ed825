"""A viewer and a gateway that goes away, is full, or says what does not fit."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Any

import grpc
import pytest
from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp

from grandstand.aggregate.v1.aggregate_pb2 import OptionCount, TallyResult, TopicState
from grandstand.client import Backoff, ClientError, Viewer, open_channel, stream_handover
from grandstand.event.v1.event_pb2 import Cursor, Position
from grandstand.gateway.v1.delta_pb2 import OptionDelta, TallyDelta, TopicDelta
from grandstand.gateway.v1.gateway_pb2 import (
    Drain,
    GameEnded,
    Personal,
    Rendition,
    Snapshot,
    SubscribeResponse,
    TokenExpiring,
    TopicCursor,
    Update,
)
from grandstand.notify.v1.notify_pb2 import Announcement, InboxResult, Notification
from grandstand.wire.delta import diff
from tests.support.games import run, until
from tests.support.http2_service import serving
from tests.support.stand_in_gateway import StandInGateway

UNAVAILABLE, NOT_FOUND, RESOURCE_EXHAUSTED, UNAUTHENTICATED = 14, 5, 8, 16
EXPIRING = SubscribeResponse(token_expiring=TokenExpiring())
AT_ONCE = Backoff(base_s=0.01, cap_s=0.02)


def poll(votes: int) -> TopicState:
    """A poll with as many votes as its sequence."""
    return TopicState(
        topic="poll/mvp",
        cursor=Cursor(positions=[Position(partition=1, sequence=votes)]),
        tally=TallyResult(options=[OptionCount(option_id="one of them", votes=votes)], voters=votes),
    )


def changed(before: int, after: int) -> SubscribeResponse:
    delta = diff(poll(before), poll(after))
    assert delta is not None
    return SubscribeResponse(update=Update(deltas=[delta]))


def drain(after_s: float) -> SubscribeResponse:
    delay = Duration()
    delay.FromMilliseconds(int(after_s * 1000))
    return SubscribeResponse(drain=Drain(reconnect_after=delay))


class Watched:
    """A viewer that is iterated, and what it gave."""

    def __init__(self, viewer: Viewer) -> None:
        self.viewer = viewer
        self.kinds: list[str] = []
        self.votes: list[int] = []
        """Each time that something was shown."""
        self.failed: ClientError | None = None
        self.is_over = False

    async def run(self) -> None:
        try:
            async for message in self.viewer:
                self.kinds.append(message.WhichOneof("message") or "")
                if "poll/mvp" in self.viewer.states:
                    self.votes.append(self.viewer.states["poll/mvp"].tally.voters)
        except ClientError as error:
            self.failed = error
        self.is_over = True


@contextlib.asynccontextmanager
async def watched(**options: Any) -> AsyncIterator[tuple[StandInGateway, Watched]]:
    gateway = StandInGateway()
    async with (
        serving(gateway.methods) as (_, address),
        open_channel(address, own_connection=True) as channel,
    ):
        watching = Watched(Viewer(channel, "demo", **{"backoff": AT_ONCE, **options}))
        task = asyncio.create_task(watching.run())
        await until(lambda: gateway.asked == 1, "the first stream is asked for")
        try:
            yield gateway, watching
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)


def test_updates_are_asked_for_as_deltas_and_states_are_whole() -> None:
    async def scenario() -> None:
        async with watched() as (gateway, watching):
            stream = gateway.streams[0]
            assert stream.request is not None
            assert stream.request.deltas
            stream.show(poll(1))
            stream.say(changed(1, 2))
            stream.say(changed(2, 5))
            await until(lambda: watching.votes == [1, 2, 5], "each was shown")
            assert watching.viewer.states["poll/mvp"] == poll(5)

    run(scenario())


def test_a_drained_viewer_is_shown_the_old_stream_until_the_new_one_stands_and_nothing_twice() -> None:
    async def scenario() -> None:
        async with watched() as (gateway, watching):
            old = gateway.streams[0]
            old.show(poll(1))
            old.say(drain(0.1))
            await until(lambda: gateway.asked == 2, "the next stream is asked for")
            new = gateway.streams[1]
            assert new.request is not None
            assert list(new.request.cursors) == [TopicCursor(topic="poll/mvp", cursor=poll(1).cursor)]
            old.say(changed(1, 2))
            await until(lambda: watching.votes[-1] == 2, "the old one is shown")
            assert not old.is_gone
            new.show(poll(1))  # Behind the old one, and not behind what it was asked for.
            await until(lambda: old.is_gone, "the old one is ended")
            old.say(changed(2, 9))
            new.say(changed(1, 3))
            await until(lambda: watching.votes[-1] == 3, "the new one is shown")
            assert watching.votes == [1, 1, 2, 2, 3], "snapshot, drain, update, snapshot, update"
            viewer = watching.viewer
            assert (viewer.drained, viewer.resumed, viewer.mismatches, viewer.cache.went_back) == (1, 1, 0, 0)
            assert gateway.asked == 2

    run(scenario())


@pytest.mark.parametrize("by_successor", [False, True])
def test_a_viewer_of_a_game_that_ends_is_told_and_does_not_come_back(by_successor: bool) -> None:
    async def scenario() -> None:
        async with watched() as (gateway, watching):
            stream = gateway.streams[0]
            stream.show(poll(1))
            if by_successor:  # it ends between two gateways
                stream.say(drain(0))
                await until(lambda: gateway.asked == 2, "the next stream is asked for")
                stream = gateway.streams[1]
            stream.say(SubscribeResponse(game_ended=GameEnded(ended_at=Timestamp(seconds=1_800_000_000))))
            stream.end(0)
            await until(lambda: watching.is_over, "the iteration ends")
            viewer = watching.viewer
            assert watching.failed is None
            assert viewer.ended_at == datetime.fromtimestamp(1_800_000_000, UTC)
            assert viewer.states["poll/mvp"] == poll(1)
            assert gateway.asked == 1 + by_successor

    run(scenario())


class Provider:
    """Gives the token `now`, or fails; and tells how often it was asked."""

    def __init__(self, now: str) -> None:
        self.now = now
        self.asked = 0

    def __call__(self) -> str:
        self.asked += 1
        if not self.now:
            raise RuntimeError("the platform is away")
        return self.now


def test_a_token_that_expires_is_renewed_before_its_stream_ends_and_nothing_is_lost(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(stream_handover, "RENEW_AGAIN_S", 0.02)

    async def scenario() -> None:
        provider = Provider("first")
        async with watched(token=provider) as (gateway, watching):
            old = gateway.streams[0]
            assert old.token == "first"
            old.show(poll(1))
            old.say(EXPIRING)
            await until(lambda: provider.asked >= 3, "it is asked for another one, and again")
            provider.now = ""
            asked = provider.asked
            await until(lambda: provider.asked > asked, "one that fails is asked again, too")
            assert gateway.asked == 1
            provider.now = "second"
            await until(lambda: gateway.asked == 2, "the next stream is asked for")
            new = gateway.streams[1]
            assert new.token == "second"
            assert new.request is not None
            assert [one.cursor for one in new.request.cursors] == [poll(1).cursor]
            old.say(changed(1, 2))
            await until(lambda: watching.votes[-1] == 2, "the old one is shown")
            new.show(poll(2))
            await until(lambda: old.is_gone, "the old one is ended")
            new.say(changed(2, 3))
            await until(lambda: watching.votes[-1] == 3, "the new one is shown")
            assert watching.votes == [1, 1, 2, 2, 3], "snapshot, expiring, update, snapshot, update"
            assert (watching.viewer.mismatches, watching.viewer.cache.went_back) == (0, 0)
            asked = provider.asked
            new.say(EXPIRING)
            provider.now = "third"
            await until(lambda: gateway.asked == 3, "and so on")
            gateway.streams[2].end(UNAUTHENTICATED, "token: is no good")
            new.say(changed(3, 4))
            await until(
                lambda: watching.votes[-1] == 4, "one that is refused costs nothing while another is good"
            )
            provider.now = "fourth"
            await until(lambda: gateway.asked == 4, "it is not shown again")
            assert gateway.streams[3].token == "fourth"
            assert watching.failed is None

    run(scenario())


def test_a_stream_that_was_ended_for_its_token_is_followed_once_with_a_token_asked_for_afresh() -> None:
    async def scenario() -> None:
        provider = Provider("first")
        async with watched(token=provider) as (gateway, watching):
            gateway.streams[0].show(poll(1))
            await until(lambda: watching.votes == [1], "it is shown")
            provider.now = ""
            gateway.streams[0].end(UNAUTHENTICATED, "token: was revoked")
            await until(lambda: provider.asked >= 4, "a provider that fails is asked again")
            provider.now = "second"
            await until(lambda: gateway.asked == 2, "it comes back")
            assert gateway.streams[1].token == "second"
            gateway.streams[1].show(poll(2))
            await until(lambda: watching.votes[-1] == 2, "it is shown")
            for number in (1, 2):
                await until(lambda: gateway.asked == number + 1, "it is tried")  # noqa: B023
                gateway.streams[number].end(UNAUTHENTICATED, "token: was revoked")
            await until(lambda: watching.failed, "a second time it is over")
            assert "token: was revoked; so again with a new token" in str(watching.failed)
            assert gateway.asked == 3

    run(scenario())


def test_a_viewer_whose_stream_is_ended_before_its_drain_said_comes_when_it_said() -> None:
    async def scenario() -> None:
        async with watched() as (gateway, watching):
            clock = asyncio.get_running_loop().time
            gateway.streams[0].show(poll(1))
            gateway.streams[0].say(drain(0.3))
            await until(lambda: watching.viewer.drained, "it was told")
            told_s = clock()
            gateway.streams[0].end(UNAVAILABLE, "gone")
            await until(lambda: gateway.asked == 2, "it comes back")
            assert clock() - told_s > 0.25
            gateway.streams[1].show(poll(2))
            await until(lambda: watching.votes[-1] == 2, "it is shown")

    run(scenario())


@pytest.mark.parametrize(
    "delta",
    [
        TopicDelta(topic="poll/other"),
        TopicDelta(topic="poll/mvp", tally=TallyDelta(options=[OptionDelta(place=7)])),
    ],
    ids=["of a topic that was not shown", "of an option that is not there"],
)
def test_a_delta_that_does_not_fit_opens_the_stream_anew_and_shows_nothing_wrong(delta: TopicDelta) -> None:
    async def scenario() -> None:
        async with watched() as (gateway, watching):
            for number in (0, 1):
                stream = gateway.streams[number]
                stream.show(poll(number + 1))
                stream.say(SubscribeResponse(update=Update(deltas=[delta])))
                await until(lambda: gateway.asked == number + 2, "it is opened again")  # noqa: B023
                await until(lambda: stream.is_gone, "the wrong one is ended")  # noqa: B023
                request = gateway.streams[number + 1].request
                assert request is not None
                assert [one.cursor for one in request.cursors] == [poll(number + 1).cursor]
            assert watching.viewer.mismatches == 2
            assert watching.votes == [1, 2]

    run(scenario())


def test_a_full_gateway_is_asked_again_no_sooner_than_it_said() -> None:
    async def scenario() -> None:
        async with watched() as (gateway, watching):
            clock = asyncio.get_running_loop().time
            told_s = clock()
            gateway.streams[0].end(RESOURCE_EXHAUSTED, "50000 viewers watch", 0.5)
            await until(lambda: gateway.asked == 2, "it comes back")
            assert 0.5 <= clock() - told_s < 5
            gateway.streams[1].show(poll(1))
            await until(lambda: watching.votes == [1], "it is shown")

    run(scenario())


def test_personal_topics_are_shown_beside_and_a_snapshot_leaves_them() -> None:
    async def scenario() -> None:
        async with watched() as (gateway, watching):
            stream = gateway.streams[0]
            stream.show(poll(1))
            stream.say(SubscribeResponse(personal=Personal(topics=[TopicState(topic="inbox")])))
            stream.show(poll(2))
            await until(lambda: len(watching.kinds) == 3, "all was told")
            assert list(watching.viewer.states) == ["poll/mvp", "inbox"]

    run(scenario())


def inbox(sequence: int, *newest: Notification) -> SubscribeResponse:
    cursor = Cursor(positions=[Position(sequence=sequence)])
    state = TopicState(topic="inbox", cursor=cursor, inbox=InboxResult(newest=newest, unread=len(newest)))
    return SubscribeResponse(personal=Personal(topics=[state]))


def test_a_notification_is_news_once_announced_or_in_the_inbox_and_what_was_there_is_none() -> None:
    def note(name: str, *, read: bool = False) -> Notification:
        return Notification(notification_id=name, read=read)

    def announced(name: str) -> SubscribeResponse:
        return SubscribeResponse(announcement=Announcement(game_id="demo", notice=note(name)))

    async def scenario() -> None:
        async with watched() as (gateway, watching):
            stream, viewer = gateway.streams[0], watching.viewer
            stream.show(poll(1))
            stream.say(announced("5"))
            await until(lambda: watching.kinds[-1:] == ["announcement"], "it is announced")
            assert [each.notification_id for each in viewer.take_notifications()] == ["5"]
            assert viewer.inbox is None
            stream.say(inbox(5, note("5"), note("4")))
            stream.say(announced("6"))
            stream.say(inbox(7, note("7"), note("6"), note("5"), note("4")))
            stream.say(inbox(9, note("9"), note("8", read=True), note("7")))
            stream.say(inbox(3, note("3")))
            await until(lambda: len(watching.kinds) == 7, "all was told")
            assert viewer.inbox is not None
            assert viewer.inbox.unread == 3
            assert [each.notification_id for each in viewer.take_notifications()] == ["6", "7", "9"]
            assert viewer.take_notifications() == []

    run(scenario())


def test_the_rate_is_what_the_gateway_said_last() -> None:
    async def scenario() -> None:
        async with watched() as (gateway, watching):
            stream, viewer = gateway.streams[0], watching.viewer
            assert viewer.rendition.updates_per_s == 0
            stream.say(SubscribeResponse(snapshot=Snapshot(updates_per_s=20)))
            await until(lambda: viewer.rendition.updates_per_s == 20, "the snapshot says it")
            stream.say(SubscribeResponse(rendition=Rendition(updates_per_s=5, reason="it is hot")))
            await until(lambda: viewer.rendition.updates_per_s == 5, "it changed")
            assert viewer.rendition.reason == "it is hot"
            stream.say(SubscribeResponse(snapshot=Snapshot(updates_per_s=5)))
            stream.say(SubscribeResponse(personal=Personal()))
            await until(lambda: watching.kinds[-1] == "personal", "all was told")
            assert viewer.rendition.reason == "it is hot"

    run(scenario())


def test_what_no_new_stream_would_cure_ends_the_viewer_with_its_code() -> None:
    async def scenario() -> None:
        async with watched() as (gateway, watching):
            gateway.streams[0].end(NOT_FOUND, "game_id: 'demo' is not known")
            await until(lambda: watching.failed, "it is told")
            assert watching.failed is not None
            assert (watching.failed.code, gateway.asked) == (grpc.StatusCode.NOT_FOUND, 1)

    run(scenario())


def test_a_viewer_that_is_left_ends_its_streams() -> None:
    async def scenario() -> None:
        gateway = StandInGateway()
        async with serving(gateway.methods) as (_, address), open_channel(address) as channel:
            viewer = Viewer(channel, "demo")
            messages = aiter(viewer)
            first = asyncio.ensure_future(anext(messages))
            await until(lambda: gateway.asked == 1, "it is asked for")
            gateway.streams[0].show(poll(1))
            await first
            await messages.aclose()  # type: ignore[attr-defined]
            await until(lambda: gateway.streams[0].is_gone, "it is ended")

    run(scenario())
