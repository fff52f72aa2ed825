"""NotifyService by its processes: two of them, on a real nats-server and a real Valkey."""

from __future__ import annotations

import asyncio
import contextlib
import datetime
import re
import signal
import time
import uuid
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import grpc
import pytest
import redis

from grandstand.catalog.v1.catalog_pb2 import STAGE_OPEN, Game
from grandstand.notify.v1 import notify_pb2 as pb
from grandstand.notify.v1.notify_pb2_grpc import NotifyServiceStub
from mesh.auth import GUEST, OPERATOR, OWNER
from mesh.catalog.watch import CatalogWatch
from mesh.jetstream import subjects
from mesh.jetstream.bus import Bus
from tests.support.games import bearing, run
from tests.support.servers import Process, Stores, eventually, stores
from toolbox.local.development import development_token, operator_token

CODES = grpc.StatusCode
HOUR_S = 3_600


class Pair:
    """Two instances; a call goes to one of them, or to both in turn."""

    def __init__(self, servers: Stores) -> None:
        self.servers = servers
        self.processes = [servers.notify(f"notify-{number}") for number in (1, 2)]

    def token(self, actor_id: str, *roles: str, games: list[str] | None = None) -> str:
        return development_token(self.servers.folder, actor_id, roles=roles, games=games)

    @contextlib.asynccontextmanager
    async def at(self, token: str, process: Process | None = None) -> AsyncIterator[NotifyServiceStub]:
        address = (process or self.processes[0]).address
        async with grpc.aio.insecure_channel(address, [("grpc.use_local_subchannel_pool", 1)]) as channel:
            await asyncio.wait_for(channel.channel_ready(), 20)
            yield NotifyServiceStub(bearing(channel, lambda: token))

    async def defined(self, game_id: str = "", generation: int = 0) -> str:
        """A game."""
        bus = await Bus.connect(self.servers.nats_url, "test")
        catalog = CatalogWatch(bus)
        await catalog.start()
        game_id = game_id or f"g-{uuid.uuid4().hex[:12]}"
        game = Game(game_id=game_id, spread=1, stage=STAGE_OPEN, generation=generation)
        await catalog.bucket.put(subjects.game_key(game_id), game.SerializeToString())
        await catalog.stop()
        await bus.close()
        return game_id


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pair]:
    with stores(tmp_path_factory.mktemp("service")) as found:
        yield Pair(found)


def sent(game_id: str, key: str, to: Any, **changed: Any) -> pb.SendNoticeRequest:
    given = {"key": key, "game_id": game_id, "code": "goal", "title": f"title of {key}", "audience": to}
    return pb.SendNoticeRequest(notice=pb.Notice(**given | changed))


def titles(inbox: pb.ListInboxResponse) -> list[str]:
    return [each.title.removeprefix("title of ") for each in inbox.notifications]


async def listed(stub: NotifyServiceStub, *wanted: str, **asked: Any) -> pb.ListInboxResponse:
    """The inbox, once it shows these, newest first."""
    found = pb.ListInboxResponse()

    async def look() -> bool:
        nonlocal found
        found = await once_answered(lambda: stub.ListInbox(pb.ListInboxRequest(**asked), timeout=10))
        return titles(found) == list(wanted)

    await eventually(look, f"the inbox shows {wanted}")
    return found


async def once_answered(call: Callable[[], Any]) -> Any:
    """Called again while inboxes or segments are rebuilt."""
    answers: list[Any] = []

    async def is_answered() -> bool:
        try:
            answers.append(await call())
        except grpc.aio.AioRpcError as error:
            if not re.search(
                r"inboxes are being rebuilt: \d{1,4} of \d{1,4};|is being read again", str(error.details())
            ):
                raise
        return bool(answers)

    await eventually(is_answered, "it is answered")
    return answers[0]


async def refused(call: Any, code: grpc.StatusCode, said: str) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as error:
        await call
    assert error.value.code() == code, error.value.details()
    assert said in str(error.value.details())


def test_an_actor_lists_reads_and_mutes_its_own_inbox_at_any_instance(pair: Pair) -> None:
    async def scenario() -> None:
        game_id, ann = await pair.defined(), f"auth0|{uuid.uuid4().hex}"
        owner = pair.token("boss", OWNER, games=[game_id])
        one, two = pair.processes
        async with (
            pair.at(owner) as boss,
            pair.at(pair.token(ann), one) as here,
            pair.at(pair.token(ann), two) as there,
        ):
            for key in "abc":
                await boss.SendNotice(sent(game_id, key, {"actor_id": ann}), timeout=10)
            await boss.SendNotice(sent(game_id, "crowd", {"viewers": True}), timeout=10)
            inbox = await listed(here, "c", "b", "a")
            assert inbox.unread == 3
            assert titles(await listed(there, "crowd", "c", "b", "a", game_id=game_id))[0] == "crowd"
            page = await here.ListInbox(pb.ListInboxRequest(page_size=2), timeout=10)
            assert titles(page) == ["c", "b"]
            rest = await there.ListInbox(
                pb.ListInboxRequest(page_size=2, page_token=page.next_page_token), timeout=10
            )
            assert (titles(rest), rest.next_page_token) == (["a"], "")

            # One, then all that were listed; each is read wherever it is asked next.
            ids = [inbox.notifications[1].notification_id] * 100
            read = await here.AcknowledgeNotices(
                pb.AcknowledgeNoticesRequest(notification_ids=ids), timeout=10
            )
            assert read.unread == 2
            seen = await there.ListInbox(pb.ListInboxRequest(), timeout=10)
            assert [each.read for each in seen.notifications] == [False, True, False]
            await boss.SendNotice(sent(game_id, "d", {"actor_id": ann}), timeout=10)
            newer = await listed(here, "d", after=seen.cursor)
            up_to = pb.AcknowledgeNoticesRequest(up_to=seen.cursor)
            assert (await there.AcknowledgeNotices(up_to, timeout=10)).unread == 1
            assert newer.unread == 3
            future = pb.AcknowledgeNoticesRequest(up_to="f" * 16)
            await refused(
                here.AcknowledgeNotices(future, timeout=10), CODES.INVALID_ARGUMENT, "in the future"
            )
            future = pb.AcknowledgeNoticesRequest(notification_ids=["f" * 16])
            assert (await here.AcknowledgeNotices(future, timeout=10)).unread == 1

            wanted = pb.Preferences(mutes=[pb.Mute(game_id=game_id, code="goal")])
            answer = await there.SetPreferences(pb.SetPreferencesRequest(preferences=wanted), timeout=10)
            assert answer.preferences == wanted
            muted = await here.ListInbox(pb.ListInboxRequest(), timeout=10)
            assert (titles(muted), muted.unread) == ([], 0)
            assert (await here.GetPreferences(pb.GetPreferencesRequest(), timeout=10)).preferences == wanted
            nothing = pb.SetPreferencesRequest(preferences=pb.Preferences())
            await here.SetPreferences(nothing, timeout=10)
            assert len((await there.ListInbox(pb.ListInboxRequest(), timeout=10)).notifications) == 4

            await boss.CancelNotice(pb.CancelNoticeRequest(game_id=game_id, key="d"), timeout=10)
            await listed(here, "c", "b", "a")

    run(scenario())


def test_what_an_earlier_game_of_the_same_id_told_its_viewers_is_not_told_those_of_the_later_one(
    pair: Pair,
) -> None:
    async def scenario() -> None:
        game_id = await pair.defined(generation=1)
        viewers = {"viewers": True}
        async with pair.at(pair.token("boss", OWNER)) as boss, pair.at(pair.token("ann")) as own:
            later = sent(game_id, "later", viewers)
            later.notice.schedule.at.FromNanoseconds(int((time.time() + 1.0) * 1e9))
            await boss.SendNotice(later, timeout=10)
            await boss.SendNotice(sent(game_id, "old", viewers), timeout=10)
            await listed(own, "later", "old", game_id=game_id)
            await pair.defined(game_id, generation=2)
            await listed(own, game_id=game_id)
            again = boss.SendNotice(sent(game_id, "old", viewers), timeout=10)
            await refused(again, CODES.ALREADY_EXISTS, "take another key")
            await boss.SendNotice(sent(game_id, "new", viewers), timeout=10)
            await listed(own, "new", game_id=game_id)

    run(scenario())


def test_what_falls_into_quiet_hours_is_after_the_cursor_when_they_end(pair: Pair) -> None:
    async def scenario() -> None:
        game_id, ann = await pair.defined(), uuid.uuid4().hex
        async with pair.at(pair.token("boss", OWNER)) as boss, pair.at(pair.token(ann)) as own:
            now = datetime.datetime.now(datetime.UTC)
            hours = pb.QuietHours(
                **{"from": f"{now - datetime.timedelta(hours=1):%H:%M}"},
                until=f"{now + datetime.timedelta(hours=1):%H:%M}",
                time_zone="UTC",
            )
            await own.SetPreferences(
                pb.SetPreferencesRequest(preferences=pb.Preferences(quiet_hours=hours)), timeout=10
            )
            await boss.SendNotice(sent(game_id, "waits", {"actor_id": ann}), timeout=10)
            urgent = sent(game_id, "urgent", {"actor_id": ann}, priority=pb.PRIORITY_URGENT)
            await boss.SendNotice(urgent, timeout=10)
            found = await listed(own, "urgent")
            await own.AcknowledgeNotices(pb.AcknowledgeNoticesRequest(up_to=found.cursor), timeout=10)
            await own.SetPreferences(pb.SetPreferencesRequest(preferences=pb.Preferences()), timeout=10)
            later = await listed(own, "waits", after=found.cursor)
            assert later.unread == 1

    run(scenario())


def test_who_may_send_what_to_whom(pair: Pair, capfd: pytest.CaptureFixture[str]) -> None:
    async def scenario() -> None:
        game_id = await pair.defined()
        owner, viewer = pair.token("boss", OWNER, games=[game_id]), pair.token("ann")
        operator, bound = pair.token("root", OPERATOR), pair.token("root", OPERATOR, games=[game_id])
        own = {"actor_id": "ann"}
        for token, request, code, said in (
            (viewer, sent(game_id, "r1", own), CODES.PERMISSION_DENIED, "has not the role owner"),
            (owner, sent("another", "r2", own), CODES.PERMISSION_DENIED, "notice.game_id: 'another'"),
            (owner, sent("", "r3", own), CODES.PERMISSION_DENIED, "has not the role operator"),
            (owner, sent(game_id, "r4", {"everyone": True}), CODES.PERMISSION_DENIED, "role operator"),
            (bound, sent("", "r5", {"everyone": True}), CODES.PERMISSION_DENIED, "some games only"),
            (operator, sent("", "r6", {"segment": "none"}), CODES.NOT_FOUND, "no segment 'none'"),
            (operator, sent("gone", "r7", own), CODES.NOT_FOUND, "'gone'"),
            (owner, sent(game_id, "r8", own, data="{"), CODES.INVALID_ARGUMENT, "notice.data"),
            (owner, sent(game_id, "r9", own, text="x" * 10**6), CODES.RESOURCE_EXHAUSTED, ""),
            (owner, sent(game_id, "r10", None), CODES.INVALID_ARGUMENT, "notice.audience: is not set"),
        ):
            async with pair.at(token) as stub:
                await refused(stub.SendNotice(request, timeout=10), code, said)
        guest_id = f"guest-{uuid.uuid4().hex[:16]}"
        async with pair.at(pair.token(guest_id, GUEST)) as guest:
            call = guest.SetPreferences(pb.SetPreferencesRequest(), timeout=10)
            await refused(call, CODES.PERMISSION_DENIED, "guests have no preferences")
            ids = [f"{number:016x}" for number in range(100)]
            await guest.AcknowledgeNotices(pb.AcknowledgeNoticesRequest(notification_ids=ids), timeout=10)
            both = pb.ListInboxRequest(game_id=game_id, watched_game_id=game_id)
            await refused(guest.ListInbox(both, timeout=10), CODES.INVALID_ARGUMENT, "beside game_id")
        async with pair.at("") as nobody:
            call = nobody.ListInbox(pb.ListInboxRequest(), timeout=10)
            await refused(call, CODES.UNAUTHENTICATED, "token")
        async with pair.at(operator_token(pair.servers.folder, "root")()) as root:
            key = f"all {game_id}"
            await root.SendNotice(sent("", key, {"everyone": True}), timeout=10)
            answer = await root.SendNotice(sent("", key, {"everyone": True}), timeout=10)
            assert answer.repeated_call
            await root.CancelNotice(pb.CancelNoticeRequest(key=key), timeout=10)
        said = pair.processes[0].said()
        assert f"sent notice {key!r} of no game, code goal, to everyone by root (operator) from" in said

    run(scenario())


def test_a_segment_is_listed_in_pages_and_told_as_a_whole(pair: Pair) -> None:
    async def scenario() -> None:
        name, other = f"s-{uuid.uuid4().hex[:8]}", f"t-{uuid.uuid4().hex[:8]}"
        members = sorted(f"m{number:03}|{name}" for number in range(25))
        _, two = pair.processes
        async with (
            pair.at(pair.token("root", OPERATOR)) as root,
            pair.at(pair.token("root", OPERATOR), two) as there,
        ):
            await root.ChangeSegment(pb.ChangeSegmentRequest(segment=name, add=members), timeout=10)
            await root.ChangeSegment(pb.ChangeSegmentRequest(segment=other, add=["x"]), timeout=10)
            found, token = [], ""
            while True:
                asked = pb.ListSegmentActorsRequest(segment=name, page_size=10, page_token=token)
                page = await there.ListSegmentActors(asked, timeout=10)
                found += page.actor_ids
                token = page.next_page_token
                if not token:
                    break
            assert sorted(found) == members
            segments = (await there.ListSegments(pb.ListSegmentsRequest(), timeout=10)).segments
            assert {each.segment: each.actors for each in segments}.items() >= {name: 25, other: 1}.items()
            first = await there.ListSegments(pb.ListSegmentsRequest(page_size=1), timeout=10)
            assert first.next_page_token == first.segments[0].segment

            key = f"k {name}"
            await root.SendNotice(sent("", key, {"segment": name}), timeout=10)
            async with pair.at(pair.token(members[7]), two) as member:
                await eventually(lambda: _shows(member, key), "a member is told")
                change = pb.ChangeSegmentRequest(segment=name, remove=[members[7]])
                await root.ChangeSegment(change, timeout=10)
                assert not await _shows(member, key)
            await there.DeleteSegment(pb.DeleteSegmentRequest(segment=name), timeout=10)
            again = pb.DeleteSegmentRequest(segment=name)
            await eventually(lambda: _is_unknown(root.DeleteSegment(again, timeout=10)), "it is gone")
            nobody = root.ListSegmentActors(pb.ListSegmentActorsRequest(segment=name), timeout=10)
            await refused(nobody, CODES.NOT_FOUND, "no segment")
            both = pb.ChangeSegmentRequest(segment=name, add=["a"], remove=["a"])
            await refused(root.ChangeSegment(both, timeout=10), CODES.INVALID_ARGUMENT, "'a' is in add, too")

    run(scenario())


def test_a_segment_of_which_redis_has_a_part_is_neither_unknown_nor_deleted_by_halves(pair: Pair) -> None:
    async def scenario() -> None:
        name, ann, bob = f"s-{uuid.uuid4().hex[:8]}", f"a-{uuid.uuid4().hex}", f"b-{uuid.uuid4().hex}"
        async with pair.at(pair.token("root", OPERATOR)) as root, pair.at(pair.token(bob)) as own:
            await root.ChangeSegment(pb.ChangeSegmentRequest(segment=name, add=[bob, ann]), timeout=10)
            await asyncio.to_thread(_emptied, pair.servers)
            await root.ChangeSegment(pb.ChangeSegmentRequest(segment=name, remove=[ann]), timeout=10)
            notice = sent("", f"k {name}", {"segment": name})
            await once_answered(lambda: root.SendNotice(notice, timeout=10))
            await listed(own, f"k {name}")

            await asyncio.to_thread(_emptied, pair.servers)
            await root.ChangeSegment(pb.ChangeSegmentRequest(segment=name, add=[ann]), timeout=10)
            deleted = pb.DeleteSegmentRequest(segment=name)
            await once_answered(lambda: root.DeleteSegment(deleted, timeout=10))
            await listed(own)
            asked = pb.ListSegmentActorsRequest(segment=name)
            await eventually(lambda: _is_unknown(root.ListSegmentActors(asked, timeout=10)), "it is gone")

    run(scenario())


async def _is_unknown(call: Any) -> bool:
    """UNAVAILABLE is answered while it is not sure that nobody belongs to it."""
    with pytest.raises(grpc.aio.AioRpcError) as error:
        await call
    assert error.value.code() in (CODES.NOT_FOUND, CODES.UNAVAILABLE)
    return bool(error.value.code() == CODES.NOT_FOUND)


async def _shows(stub: NotifyServiceStub, key: str) -> bool:
    inbox = await stub.ListInbox(pb.ListInboxRequest(page_size=100), timeout=10)
    return key in titles(inbox)


def test_a_list_is_told_and_the_tail_says_what_is_stored(pair: Pair) -> None:
    async def scenario() -> None:
        game_id = await pair.defined()
        owner = pair.token("boss", OWNER, games=[game_id])
        names = [f"{number}-{game_id}" for number in range(1_200)]

        taken = asyncio.Event()

        async def requests(never: asyncio.Event | None = None) -> AsyncIterator[pb.SendNoticeToActorsRequest]:
            notice = sent(game_id, "list", None).notice
            yield pb.SendNoticeToActorsRequest(notice=notice, actor_ids=names[:700])
            if never is not None:  # broken off after the first message
                taken.set()
                await never.wait()
            yield pb.SendNoticeToActorsRequest(actor_ids=names[700:], actors=len(names))

        async with pair.at(owner) as boss, pair.at(owner, pair.processes[1]) as there:
            tail = there.TailNotices(pb.TailNoticesRequest())
            reading = asyncio.create_task(tail.read())
            told = {"once": False}

            async def first_is_told() -> bool:
                # The tail begins when the server has opened it.
                key = f"probe {time.monotonic_ns()}"
                await boss.SendNotice(sent(game_id, key, {"viewers": True}), timeout=10)
                await asyncio.wait({reading}, timeout=0.2)
                told["once"] = reading.done()
                return told["once"]

            await eventually(first_is_told, "the tail is open")
            assert reading.result().audience.viewers
            broken = boss.SendNoticeToActors(requests(asyncio.Event()))
            await asyncio.wait_for(taken.wait(), 10)
            broken.cancel()
            answer = await boss.SendNoticeToActors(requests(), timeout=20)
            assert answer.actors == 1_200
            async with pair.at(pair.token(names[-1])) as last:
                await listed(last, "list")
            counted: list[int] = []
            async with asyncio.timeout(10):
                while len(counted) < 3:
                    message = await tail.read()
                    if message.notification.title == "title of list":
                        assert not message.HasField("audience")
                        counted.append(message.actors)
            assert counted == [500, 500, 200]
            tail.cancel()

    run(scenario())


def test_a_schedule_outlives_the_death_of_an_instance_and_an_emptied_redis(pair: Pair) -> None:
    async def scenario() -> None:
        game_id, ann = await pair.defined(), uuid.uuid4().hex
        one, two = pair.processes
        async with pair.at(pair.token("boss", OWNER)) as boss, pair.at(pair.token(ann), two) as own:
            at = time.time() + 1.5
            request = sent(game_id, "later", {"actor_id": ann})
            request.notice.schedule.at.FromNanoseconds(int(at * 1e9))
            await boss.SendNotice(sent(game_id, "now", {"actor_id": ann}), timeout=10)
            await boss.SendNotice(request, timeout=10)
            one.send_signal(signal.SIGSTOP)
            try:
                await asyncio.to_thread(_emptied, pair.servers)
                up_to = pb.AcknowledgeNoticesRequest(up_to="0" * 16)
                read = await once_answered(lambda: own.AcknowledgeNotices(up_to, timeout=10))
                assert read.unread, "a part of an inbox is not taken for all of it"
                inbox = await once_answered(lambda: own.ListInbox(pb.ListInboxRequest(), timeout=10))
                assert "now" in titles(inbox)
                assert (await listed(own, "later", "now")).unread == 2
            finally:
                one.send_signal(signal.SIGCONT)
            await eventually(lambda: _shown_once(own), "nothing comes twice")

    run(scenario())


async def _shown_once(stub: NotifyServiceStub) -> bool:
    inbox = await stub.ListInbox(pb.ListInboxRequest(), timeout=10)
    return titles(inbox) == ["later", "now"]


def _emptied(servers: Stores) -> None:
    with redis.Redis.from_url(servers.redis_url) as client:
        client.flushall()
