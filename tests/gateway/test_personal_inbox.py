"""An inbox, over a real NATS and Valkey: what a viewer is told of it, and when."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest
import redis

from grandstand.event.v1.event_pb2 import Position
from grandstand.internal.v1.internal_pb2 import Inbox
from grandstand.notify.v1.notify_pb2 import InboxResult
from mesh.jetstream import subjects
from mesh.redis import layout
from notify.inbox_store import InboxStore
from tests.support.games import run, until
from tests.support.personal_rig import Screen, note, rig
from tests.support.servers import Stores, eventually, stores


@pytest.fixture(scope="module")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stores]:
    with stores(tmp_path_factory.mktemp("personal")) as started:
        yield started


def test_an_inbox_is_told_at_once_also_an_empty_one_and_pushed_from_then_on(servers: Stores) -> None:
    async def scenario() -> None:
        async with rig(servers, "inbox") as r:
            await r.inboxes.deliver("i-bob", note("n1"))
            ann, bob, both = Screen(), Screen(), Screen()
            r.watch(ann, actor="i-ann", inbox=True)
            r.watch(bob, actor="i-bob", inbox=True)
            await until(lambda: ann.states and bob.states, "the first states come")
            assert (list(ann.inbox.newest), ann.inbox.unread) == ([], 0)
            assert (list(bob.inbox.newest), bob.inbox.unread) == ([note("n1")], 1)
            r.watch(both, actor="i-bob", inbox=True)
            assert both.inbox == bob.inbox, "what is known is told at once"
            await r.inboxes.deliver("i-bob", note("n2"))
            await until(lambda: bob.inbox.unread == both.inbox.unread == 2, "both viewers of bob's are told")
            assert list(bob.inbox.newest) == [note("n2"), note("n1")]
            assert ann.messages == [["inbox"]]
            # Delivered once more, as who is unsure does: nothing is new.
            await r.inboxes.deliver("i-bob", note("n2"))
            await r.inboxes.deliver("i-bob", note("n3"))
            await until(lambda: bob.inbox.unread == 3, "the third comes")
            assert len(bob.messages) == 3

    run(scenario())


@pytest.mark.parametrize("actor", ["auth0|5f7c", "f:uuid:ann", "ann@example.com", "a.*.>", "🦊", "é" * 64])
def test_an_inbox_is_its_actors_whatever_the_id_is_made_of(servers: Stores, actor: str) -> None:
    async def scenario() -> None:
        async with rig(servers, "opaque") as r:
            await r.inboxes.deliver(actor, note("n1"))
            own, others = Screen(), Screen()
            r.watch(own, actor=actor, inbox=True)
            r.watch(others, actor=actor[:-1], inbox=True)
            await until(lambda: own.states and others.states, "the first states come")
            await r.inboxes.deliver(actor, note("n2"))
            await until(lambda: own.inbox.unread == 2, "the push comes")
            assert others.inbox.unread == 0

    run(scenario())


def test_a_push_that_is_lost_is_healed_by_what_is_stored(servers: Stores) -> None:
    async def scenario() -> None:
        async with rig(servers, "healed") as r:
            screen = Screen()
            r.watch(screen, actor="h-ann", inbox=True)
            await until(lambda: screen.states, "the first state comes")
            stored = Inbox(version=7, value=InboxResult(newest=[note("n1")], unread=1))
            with redis.Redis.from_url(r.servers.redis_url) as client:
                client.set(layout.inbox_key("h-ann"), stored.SerializeToString())
            await until(lambda: screen.inbox.unread == 1, "it is found")
            # An older one does not come back, whichever way it comes; what cannot be read is left alone.
            older = Inbox(version=6, value=InboxResult(unread=9)).SerializeToString()
            newer = Inbox(version=8, value=InboxResult(unread=2)).SerializeToString()
            for push in (older, b"\xff\xff", newer):
                await r.bus.client.publish(subjects.inbox("h-ann"), push)
            await until(lambda: screen.inbox.unread == 2, "the newer one comes")
            assert len(screen.messages) == 3

    run(scenario())


def test_an_inbox_seen_elsewhere_is_not_shown_as_it_was_before(servers: Stores) -> None:
    async def scenario() -> None:
        async with rig(servers, "seen") as r:
            await r.inboxes.deliver("s-ann", note("n1"))
            screen, back = Screen(), Screen()
            r.watch(screen, actor="s-ann", inbox=True)
            await until(lambda: screen.states, "the first state comes")
            (seen,) = screen.states["inbox"].cursor.positions
            ahead = Position(sequence=seen.sequence + 1)
            r.watch(back, actor="s-ann", inbox=True, cursors=[("inbox", [ahead])])
            assert not back.states
            await r.inboxes.deliver("s-ann", note("n2"))
            await until(lambda: back.states, "a newer one comes")
            assert back.inbox.unread == 2

    run(scenario())


def test_what_is_delivered_is_pushed_as_it_is_stored(servers: Stores) -> None:
    async def scenario() -> None:
        async with rig(servers, "pushed") as r:
            pushes = await r.bus.client.subscribe(subjects.inbox("p-ann"))
            await r.bus.client.flush()
            for n in ("n1", "n1", "n2"):
                await r.inboxes.deliver("p-ann", note(n))
                push = await pushes.next_msg(timeout=20)
                assert push.data == await r.database.string(layout.inbox_key("p-ann"))
                assert Inbox.FromString(push.data).value.newest[0] == note(n)

    run(scenario())


def test_two_notifies_at_once_lose_no_notification(servers: Stores) -> None:
    async def scenario() -> None:
        async with rig(servers, "race") as r:
            screen = Screen()
            r.watch(screen, actor="r-ann", inbox=True)
            other = InboxStore(r.bus, r.database)
            sent = [note(f"n{n:02d}") for n in range(12)]
            await asyncio.gather(
                *(r.inboxes.deliver("r-ann", each) for each in sent[::2]),
                *(other.deliver("r-ann", each) for each in sent[1::2]),
            )
            await until(lambda: screen.states and screen.inbox.unread == 12, "all have come")
            assert list(screen.inbox.newest) == sent[::-1]

    run(scenario())


def test_who_comes_back_soon_finds_the_inbox_as_it_was_left_and_still_listened_to(servers: Stores) -> None:
    async def scenario() -> None:
        async with rig(servers, "linger") as r:
            screen, back = Screen(), Screen()
            watch = r.watch(screen, actor="l-ann", inbox=True)
            await until(lambda: screen.states, "the first state comes")
            watch.close()
            watch.close()
            await r.inboxes.deliver("l-ann", note("n1"))

            def is_known() -> bool:
                probe = Screen()
                r.watch(probe, actor="l-ann", inbox=True).close()
                return probe.inbox.unread == 1

            await until(is_known, "it was pushed while nobody watched")
            r.watch(back, actor="l-ann", inbox=True)
            assert back.inbox.unread == 1, "at once"
            assert screen.inbox.unread == 0, "who has left is told nothing"

    run(scenario())


def test_pushes_go_on_when_nats_was_away(servers: Stores) -> None:
    async def scenario() -> None:
        async with rig(servers, "nats") as r:
            screen, late = Screen(), Screen()
            r.watch(screen, actor="n-ann", inbox=True)
            await until(lambda: screen.states, "the first state comes")
            servers.nats.kill()
            try:
                r.watch(late, actor="n-bob", inbox=True)
                await until(lambda: late.states, "an inbox is loaded without NATS")
                await r.inboxes.deliver("n-ann", note("n1"))
                await until(lambda: screen.inbox.unread == 1, "what is stored meanwhile is found")
            finally:
                servers.nats.start()
            await until(lambda: r.bus.client.is_connected, "NATS is back")
            pushed = Inbox(version=10**18, value=InboxResult(unread=5)).SerializeToString()

            async def is_told(actor: str, viewer: Screen) -> bool:
                """Once the server has the subscription again."""
                await r.bus.client.publish(subjects.inbox(actor), pushed)
                return viewer.inbox.unread == 5

            await eventually(lambda: is_told("n-ann", screen), "who watched before is pushed to")
            await eventually(lambda: is_told("n-bob", late), "who came meanwhile, too")

    run(scenario())
