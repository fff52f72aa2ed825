"""Notices are stored once, under their key, whatever is resent or fails between: on a real nats-server."""

from __future__ import annotations

import asyncio
import contextlib
import datetime
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from nats.aio.msg import Msg
from nats.errors import Error as NatsError

from grandstand.internal.v1.internal_pb2 import StoredNotice
from grandstand.notify.v1.notify_pb2 import SendNoticeToActorsRequest
from grandstand.wire.errors import AlreadyDone, Exhausted, GrandstandError, Invalid, TooLate, Unknown
from mesh.jetstream import subjects
from notify import sending
from notify.bounds import SCHEDULED_MAX
from notify.orders import order_of
from notify.stream_log import StreamLog
from tests.support.games import run
from tests.support.nats_versions import NEWEST, OLDEST
from tests.support.notify_rig import NotifyRig, notify_rig
from tests.support.servers import Stores, eventually, stores
from toolbox.local import provision

DAY_S = 86_400


@pytest.fixture(scope="module", params=[OLDEST, NEWEST])
def servers(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stores]:
    with pytest.MonkeyPatch.context() as patched:
        if request.param == OLDEST:
            patched.setenv("NATS_SERVER", str(provision.nats_server_oldest()))
        with stores(tmp_path_factory.mktemp("sending")) as found:
            yield found


def local(rig: NotifyRig, after_s: float) -> dict[str, Any]:
    at = datetime.datetime.fromtimestamp(rig.now_s() + after_s, datetime.UTC)
    return {"local_time": f"{at:%Y-%m-%dT%H:%M:%S}", "time_zone": "UTC"}


def refused(kind: type[GrandstandError], error: pytest.ExceptionInfo[GrandstandError], said: str) -> None:
    assert isinstance(error.value, kind), repr(error.value)
    assert said in error.value.message


def test_a_key_belongs_to_the_notice_that_first_takes_it(servers: Stores) -> None:
    async def scenario() -> None:
        async with notify_rig(servers.nats_url) as rig:
            sender, order = rig.sender(), order_of(rig.notice())
            answers = await asyncio.gather(*(sender.send(order) for _ in range(8)))
            assert sorted(answer.repeated_call for answer in answers) == [False] + 7 * [True]
            assert len({(answer.notification_id, answer.due_at.ToNanoseconds()) for answer in answers}) == 1
            same = order_of(rig.notice(priority=1, expires_after={"seconds": 7 * DAY_S}))
            assert (await sender.send(same)).repeated_call, "it says what is meant by nothing"
            with pytest.raises(AlreadyDone) as error:
                await sender.send(order_of(rig.notice(title="Another")))
            refused(AlreadyDone, error, "take another key, or this one again after")
            ((_, stored),) = await rig.stored("k", "sent")
            assert stored.due_at == stored.sent_at
            assert stored.expires_at.seconds - stored.sent_at.seconds == 7 * DAY_S

            later = order_of(rig.notice("later", schedule=local(rig, 60)))
            first = await sender.send(later)
            assert not first.notification_id
            assert len(await rig.stored("later", "scheduled")) == 1
            rig.ahead_s = 120
            assert (await sender.send(later)).due_at == first.due_at, "asked again when it is past"
            with pytest.raises(Invalid) as past:
                await sender.send(order_of(rig.notice("late", schedule=local(rig, -60))))
            refused(Invalid, past, "schedule.local_time:")

            await sender.cancel(rig.game_id, "later")
            await sender.cancel(rig.game_id, "later")
            ((_, cancelled),) = await rig.stored("later", "cancelled")
            assert cancelled.cancelled
            assert cancelled.expires_at == (await rig.stored("later", "sent"))[0][1].expires_at
            with pytest.raises(Unknown) as unknown:
                await sender.cancel(rig.game_id, "never")
            refused(Unknown, unknown, "key: nothing was sent as 'never'")

    run(scenario())


def test_what_cannot_be_sent_now_is_refused_with_a_way_out(servers: Stores) -> None:
    async def scenario() -> None:
        async with notify_rig(servers.nats_url) as rig:
            for order, sender, kind, said in (
                (rig.notice(game_id="no-such"), rig.sender(), Unknown, "'no-such'"),
                (rig.notice(audience={"segment": "vip"}), rig.sender(), Unknown, "no segment 'vip'"),
                (rig.notice(schedule=local(rig, 60)), rig.sender(SCHEDULED_MAX), Exhausted, "are scheduled"),
                (rig.notice(schedule=local(rig, 367 * DAY_S)), rig.sender(), Invalid, "366 days ahead"),
            ):
                with pytest.raises(GrandstandError) as error:
                    await sender.send(order_of(order))
                refused(kind, error, said)
            assert not await rig.stored("k", "sent")

    run(scenario())


def test_a_list_is_stored_in_parts_that_a_resend_completes(servers: Stores) -> None:
    async def scenario() -> None:
        async with notify_rig(servers.nats_url) as rig:
            notice = rig.notice(audience=None)
            messages = [[f"a{n}" for n in range(begin, begin + 400)] for begin in range(0, 1_600, 400)]
            messages.insert(1, messages[0])  # named twice in a part of 500: counts once
            with pytest.raises(ConnectionError):
                await rig.send_list(notice, messages, end_after=4)
            assert [each for each, _ in await rig.stored("k", "sent")] == ["", ".0", ".1"]
            answer = await rig.send_list(notice, messages)
            assert answer.actors == 1_600
            head, *parts = [stored for _, stored in await rig.stored("k", "sent")]
            assert [len(part.actor_ids) for part in parts] == [500, 500, 500, 100]
            assert {part.sent_at.ToNanoseconds() for part in parts} == {head.sent_at.ToNanoseconds()}
            assert not head.actor_ids
            for others in (messages[:-1], [*messages, ["one more"]], [["x"], *messages]):
                with pytest.raises(AlreadyDone) as error:
                    await rig.send_list(notice, others)
                refused(AlreadyDone, error, "send the same list in the same order, or take another key")
            with pytest.raises(Invalid) as nobody:
                await rig.send_list(rig.notice("none", audience=None), [[]])
            refused(Invalid, nobody, "actor_ids: are none")
            with pytest.raises(Invalid) as bad:
                await rig.send_list(rig.notice("bad", audience=None), [["ann", "b\n"]])
            refused(Invalid, bad, "actor_ids[1]")
            assert not await rig.stored("none", "sent") + await rig.stored("bad", "sent")

    run(scenario())


def test_a_list_that_falls_silent_ends(servers: Stores, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sending, "LIST_SILENCE_S", 0.05)

    async def silent() -> AsyncIterator[SendNoticeToActorsRequest]:
        await asyncio.Event().wait()
        yield SendNoticeToActorsRequest()

    async def scenario() -> None:
        async with notify_rig(servers.nats_url) as rig:
            order = order_of(rig.notice(audience=None), is_list=True)
            with pytest.raises(TooLate) as error:
                await rig.sender().send_list(order, silent(), ["ann"])
            refused(TooLate, error, "was silent for 0.05 s; send all of it again")

    run(scenario())


def test_a_publish_whose_answer_is_lost_counts_once_and_as_new(
    servers: Stores, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def scenario() -> None:
        async with notify_rig(servers.nats_url) as rig:
            ask, asked = rig.bus.client.request, 0

            async def first_is_lost(*args: Any, **kwargs: Any) -> Msg:
                nonlocal asked
                answer = await ask(*args, **kwargs)
                asked += 1
                if asked == 1:
                    raise TimeoutError
                return answer

            monkeypatch.setattr(rig.bus.client, "request", first_is_lost)
            answer = await rig.sender().send(order_of(rig.notice()))
            assert not answer.repeated_call
            assert len(await rig.stored("k", "sent")) == 1

    run(scenario())


def test_a_full_stream_says_so_and_takes_notices_again_once_it_has_room(servers: Stores) -> None:
    async def scenario() -> None:
        async with notify_rig(servers.nats_url) as rig:
            held = (await rig.bus.js.stream_info(subjects.NOTICES_STREAM)).config
            room = held.max_bytes
            held.max_bytes = 1
            await rig.bus.js.update_stream(held)
            try:
                with pytest.raises(Exhausted) as error:
                    await rig.sender().send(order_of(rig.notice()))
                refused(Exhausted, error, "the stream NOTICES is full")
            finally:
                held.max_bytes = room
                await rig.bus.js.update_stream(held)
            assert not (await rig.sender().send(order_of(rig.notice()))).repeated_call

    run(scenario())


def test_a_change_of_what_is_older_than_thought_loses_and_is_told_what_is_there(servers: Stores) -> None:
    async def scenario() -> None:
        async with notify_rig(servers.nats_url) as rig:
            log, subject = StreamLog(rig.bus, subjects.NOTICES_STREAM, ""), f"notices.fired.{rig.game_id}.r.t"
            assert await log.newest(subject) == (0, b"", False)
            first = await log.put(subject, b"1")
            second = await log.put(subject, b"2", first.sequence)
            assert second.is_new
            assert await log.put(subject, b"3", first.sequence) == (second.sequence, b"2", False)

    run(scenario())


def test_what_is_due_is_sent_once_by_any_number_of_schedulers(servers: Stores) -> None:
    async def scenario() -> None:
        async with notify_rig(servers.nats_url) as rig:
            sender = rig.sender()
            repeat = {**local(rig, 60), "repeat": {"days": 1, "times": 3}}
            hour = {"seconds": 3_600}
            await sender.send(order_of(rig.notice("daily", schedule=repeat)))
            await sender.send(order_of(rig.notice("taken back", schedule=local(rig, 60))))
            await sender.send(order_of(rig.notice("too late", schedule=local(rig, 90), expires_after=hour)))
            listed = rig.notice("list", audience=None, schedule=local(rig, 60))
            await rig.send_list(listed, [[f"a{n}" for n in range(700)]])

            due = _due_of(rig)
            async with rig.scheduler() as one, rig.scheduler() as two:
                await eventually(lambda: _is(one.scheduled() == two.scheduled() == 4), "all are known")
                await sender.cancel(rig.game_id, "taken back")
                await eventually(lambda: _is(one.scheduled() == two.scheduled() == 3), "it is taken back")
                rig.ahead_s = 75  # both clocks jump
                await eventually(lambda: _all_are(due, daily=[".1"], list=[".1.0", ".1.1"]), "due")
            # Nobody runs while the other two fall due, and what lasts an hour expires.
            rig.ahead_s = 3 * DAY_S
            async with rig.scheduler() as one, rig.scheduler() as two:
                await eventually(lambda: _all_are(due, daily=[".1", ".2", ".3"]), "sent late")
                await eventually(lambda: _nothing_scheduled(rig), "the list is purged")
                assert one.scheduled() == two.scheduled() == 0
            for key in ("taken back", "too late"):
                assert not await due(key), key
            ((_, first), *_) = await rig.stored("daily", "due")
            scheduled = (await rig.stored("daily", "sent"))[0][1]
            assert first.due_at == first.sent_at == scheduled.due_at
            assert first.occurrence == 1
            assert first.expires_at.seconds - first.due_at.seconds == 7 * DAY_S
            parts = [stored for _, stored in await rig.stored("list", "due")]
            assert [len(part.actor_ids) for part in parts] == [500, 200]

    run(scenario())


def test_a_call_that_died_between_two_steps_is_completed_by_the_next(servers: Stores) -> None:
    async def scenario() -> None:
        async with notify_rig(servers.nats_url) as rig:
            order = order_of(rig.notice(schedule=local(rig, 60)))
            log = StreamLog(rig.bus, subjects.NOTICES_STREAM, "")
            head = order.stored(int(rig.now_s() * 1e9))
            await log.put(order.subject, head.SerializeToString())  # and died
            async with rig.scheduler() as scheduler:
                rig.ahead_s = 3_600
                answer = await rig.sender().send(order)
                assert answer.repeated_call
                assert answer.due_at == head.due_at
                await eventually(lambda: _all_are(_due_of(rig), k=[".1"]), "it is late, and sent")
                await eventually(lambda: _nothing_scheduled(rig), "the list is purged")
                assert (await rig.sender().send(order)).repeated_call
                await eventually(lambda: _nothing_scheduled(rig), "and again, after another call")
                assert scheduler.scheduled() == 0
                assert [rest for rest, _ in await rig.stored("k", "due")] == [".1"]

    run(scenario())


def test_an_occurrence_of_a_list_is_completed_by_who_finds_it_begun(servers: Stores) -> None:
    async def scenario() -> None:
        async with notify_rig(servers.nats_url) as rig:
            repeat = {**local(rig, 60), "repeat": {"days": 1, "times": 4}}
            await rig.send_list(rig.notice(audience=None, schedule=repeat), [[f"a{n}" for n in range(900)]])
            name = subjects.notice_name(rig.game_id, "k")
            log = StreamLog(rig.bus, subjects.NOTICES_STREAM, "")
            for occurrence, part in ((1, 0), (1, 1), (2, 0), (2, 1), (3, 0)):  # and died
                stored = StoredNotice(occurrence=occurrence).SerializeToString()
                assert (await log.put(subjects.notice_due(name, occurrence, part), stored)).is_new
            rig.ahead_s = 3 * DAY_S + 120

            async def complete() -> bool:
                return [rest for rest, _ in await rig.stored("k", "due")] == [
                    f".{occurrence}.{part}" for occurrence in (1, 2, 3, 4) for part in (0, 1)
                ]

            async with rig.scheduler():
                await eventually(complete, "all parts of all occurrences")

    run(scenario())


def _due_of(rig: NotifyRig) -> Callable[[str], Awaitable[list[str]]]:
    async def due(key: str) -> list[str]:
        return [rest for rest, _ in await rig.stored(key, "due")]

    return due


async def _is(value: bool) -> bool:
    return value


async def _all_are(due: Any, **wanted: list[str]) -> bool:
    return all([await due(key) == subjects for key, subjects in wanted.items()])


async def _nothing_scheduled(rig: NotifyRig) -> bool:
    info = await rig.bus.js.stream_info(subjects.NOTICES_STREAM, subjects_filter="notices.scheduled.*")
    return not info.state.subjects


def test_a_nats_that_dies_and_comes_back_delays_what_is_due_and_loses_nothing(tmp_path: Path) -> None:
    async def scenario(found: Stores) -> None:
        async with notify_rig(found.nats_url) as rig:
            sender = rig.sender()
            await sender.send(order_of(rig.notice("before", schedule=local(rig, 60))))
            async with rig.scheduler() as scheduler:
                await eventually(lambda: _is(scheduler.scheduled() == 1), "it is known")
                found.nats.kill()
                rig.ahead_s = 3_600
                sending = asyncio.create_task(sender.send(order_of(rig.notice("meanwhile"))))
                found.nats.start()
                due = _due_of(rig)
                await eventually(lambda: _asked(lambda: _all_are(due, before=[".1"])), "sent late")
                assert not (await sending).repeated_call
                await sender.send(order_of(rig.notice("after", schedule=local(rig, 60))))
                await eventually(lambda: _is(scheduler.scheduled() == 1), "the consumer is another")
                rig.ahead_s = 7_200
                await eventually(lambda: _all_are(due, after=[".1"]), "sent")

    with stores(tmp_path) as found:
        run(scenario(found))


async def _asked(look: Callable[[], Awaitable[bool]]) -> bool:
    """NATS may be away."""
    with contextlib.suppress(NatsError, TimeoutError):
        async with asyncio.timeout(0.5):
            return await look()
    return False
