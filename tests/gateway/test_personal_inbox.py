"""An inbox, over a real NATS and Valkey: what a viewer is told of it, and when."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import redis

from gateway import bounds as gateway_bounds
from gateway.personal import Personal
from grandstand.event.v1.event_pb2 import Position
from grandstand.internal.v1.internal_pb2 import CrowdNotice, InboxChange, Reader
from grandstand.notify.v1.notify_pb2 import Audience, Mute, Preferences
from grandstand.wire.topics import PersonalTopics
from mesh.jetstream import subjects
from mesh.notices import crowds
from tests.support.games import run, until
from tests.support.personal_rig import Screen, rig
from tests.support.servers import Stores, eventually, stores


@pytest.fixture(scope="module")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stores]:
    with stores(tmp_path_factory.mktemp("personal")) as started:
        yield started


@pytest.fixture
def long_turns(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is pushed is not found by loading again."""
    monkeypatch.setattr(gateway_bounds, "ANTI_ENTROPY_S", 3_600.0)


@pytest.mark.usefixtures("long_turns")
def test_an_inbox_is_told_at_once_also_an_empty_one_and_pushed_from_then_on(servers: Stores) -> None:
    async def scenario() -> None:
        async with rig(servers, "inbox") as r:
            await r.notices.tell("i-bob", "n1")
            ann, bob, both = Screen(), Screen(), Screen()
            r.watch(ann, actor="i-ann", inbox=True)
            r.watch(bob, actor="i-bob", inbox=True)
            await until(lambda: ann.states and bob.states, "the first states come")
            assert (ann.titles, ann.inbox.unread) == ([], 0)
            assert (bob.titles, bob.inbox.unread) == (["n1"], 1)
            r.watch(both, actor="i-bob", inbox=True)
            assert both.inbox == bob.inbox, "what is known is told at once"
            await r.notices.tell("i-bob", "n2")
            await until(lambda: bob.inbox.unread == both.inbox.unread == 2, "both viewers of bob's are told")
            assert bob.titles == ["n2", "n1"]
            assert ann.messages == [["inbox"]]
            await r.notices.read("i-bob", Reader(read_up_to=1))
            await until(lambda: bob.inbox.unread == 1, "what was read elsewhere is read")
            await r.notices.tell("i-bob", "n3")
            await until(lambda: bob.inbox.unread == 2, "the third comes")
            assert len(bob.messages) == 4

    run(scenario())


@pytest.mark.usefixtures("long_turns")
def test_crowds_are_pushed_once_and_shown_to_whom_they_concern(servers: Stores) -> None:
    async def scenario() -> None:
        async with rig(servers, "crowds") as r:
            await r.notices.join("c-ann", "vips")
            ann, bob, away = Screen(), Screen(), Screen()
            r.watch(ann, actor="c-ann", inbox=True)
            r.watch(bob, actor="c-bob", inbox=True)
            r.watch(away, actor="c-ann", inbox=True, game_id="another")
            await until(lambda: ann.states and bob.states and away.states, "the first states come")
            await r.notices.tell_everyone("all")
            await r.notices.tell_viewers("crowds", "game")
            await r.notices.tell_segment("vips", "vip")
            await until(lambda: ann.inbox.unread == 3, "ann is told")
            await until(lambda: away.inbox.unread == 2, "and where she watches another game")
            assert (ann.titles, away.titles) == (["vip", "game", "all"], ["vip", "all"])
            await until(lambda: bob.inbox.unread == 2, "bob is told")
            assert bob.titles == ["game", "all"]
            (announced,) = r.announced
            assert announced.notice.notification_id == ann.inbox.newest[1].notification_id
            # Who joins a segment sees what it was told before; who leaves it does not any more.
            await r.notices.join("c-bob", "vips")
            await until(lambda: bob.inbox.unread == 3, "bob belongs to them")
            await r.notices.join("c-ann", "vips", is_member=False)
            await until(lambda: ann.titles == ["game", "all"], "ann does not any more")
            muted = Preferences(mutes=[Mute(game_id="crowds")])
            await r.notices.read("c-bob", Reader(preferences=muted))
            await until(lambda: bob.titles == ["vip", "all"], "the game is muted")

    run(scenario())


def test_a_gateway_is_sent_the_notices_of_the_games_that_it_shows_and_of_no_other(servers: Stores) -> None:
    async def scenario() -> None:
        async with rig(servers, "shown") as r:
            heard: list[str] = []
            r.personal.inboxes.on_crowd_notice = lambda name, _: heard.append(name)

            async def told(*names: str) -> None:
                for name in names:
                    pushed = CrowdNotice(sequence=1, stored=r.notices.notice("n", Audience(everyone=True)))
                    await r.bus.client.publish(subjects.crowd(name), pushed.SerializeToString())
                await r.bus.client.flush()

            async def is_heard() -> bool:
                await told("game:other", "game:shown")
                return bool(heard)

            r.personal.show("shown")
            await eventually(is_heard, "what the viewers of the game are told is heard")
            r.personal.show("another")
            r.personal.hide("shown")
            heard.clear()

            async def is_heard_of_another() -> bool:
                await told("game:other", "game:another")
                return bool(heard)

            await eventually(is_heard_of_another, "so is what those of another are told")
            heard.clear()
            await told("game:other", "game:shown", "segment:none", "game:another")
            await until(lambda: heard, "it comes")
            assert heard == ["game:another"]

    run(scenario())


@pytest.mark.usefixtures("long_turns")
def test_viewers_of_a_game_are_not_told_what_an_earlier_game_of_its_id_told(servers: Stores) -> None:
    async def scenario() -> None:
        async with rig(servers, "again") as r:
            r.define(generation=1)
            first, second = Screen(), Screen()
            r.watch(first, actor="g-ann", inbox=True)
            await until(lambda: first.states, "the first state comes")
            await r.notices.tell_viewers("again", "old", generation=1)
            await until(lambda: first.titles == ["old"], "it is told")
            r.define(generation=2)
            r.watch(
                second, actor="g-ann", inbox=True, cursors=[("inbox", first.states["inbox"].cursor.positions)]
            )
            await until(lambda: second.states, "the state of what was seen comes")
            assert second.titles == []
            await r.notices.tell_viewers("again", "late", generation=1)
            await r.notices.tell_viewers("again", "new", generation=2)
            await until(lambda: second.titles == ["new"], "the later game's is told")
            assert [each.notice.title for each in r.announced] == ["old", "new"]

    run(scenario())


@pytest.mark.parametrize("actor", ["auth0|5f7c", "f:uuid:ann", "ann@example.com", "a.*.>", "🦊", "é" * 64])
def test_an_inbox_is_its_actors_whatever_the_id_is_made_of(
    servers: Stores, actor: str, long_turns: None
) -> None:
    async def scenario() -> None:
        async with rig(servers, "opaque") as r:
            await r.notices.tell(actor, "n1")
            own, others = Screen(), Screen()
            r.watch(own, actor=actor, inbox=True)
            r.watch(others, actor=actor[:-1] or "ox", inbox=True)
            await until(lambda: own.states and others.states, "the first states come")
            await r.notices.tell(actor, "n2")
            await until(lambda: own.inbox.unread == 2, "the push comes")
            assert others.inbox.unread == 0

    run(scenario())


def test_a_lost_push_is_healed_by_what_is_stored_and_an_emptied_redis_takes_nothing_away(
    servers: Stores, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gateway_bounds, "ANTI_ENTROPY_S", 0.2)

    async def scenario() -> None:
        async with rig(servers, "healed") as r:
            screen = Screen()
            r.watch(screen, actor="h-ann", inbox=True)
            await until(lambda: screen.states, "the first state comes")
            await r.notices.tell("h-ann", "own", is_pushed=False)
            await r.notices.tell_everyone("all", is_pushed=False)
            await until(lambda: screen.titles == ["all", "own"], "they are found")
            await r.notices.read("h-ann", Reader(read_up_to=1), is_pushed=False)
            await until(lambda: screen.inbox.unread == 1, "that one was read, too")
            # What cannot be read, or is older, is left alone.
            old = InboxChange(reader=Reader(), reader_sequence=0).SerializeToString()
            for subject in (subjects.inbox("h-ann"), subjects.crowd(crowds.EVERYONE)):
                await r.bus.client.publish(subject, b"\xff\xff")
            await r.bus.client.publish(subjects.inbox("h-ann"), old)
            r.empty()
            await r.notices.tell("h-ann", "later", is_pushed=False)
            await until(lambda: screen.titles == ["later", "all", "own"], "nothing went")
            assert screen.inbox.unread == 2

    run(scenario())


def test_an_inbox_seen_elsewhere_is_not_shown_as_it_was_before(servers: Stores) -> None:
    async def scenario() -> None:
        async with rig(servers, "seen") as r:
            await r.notices.tell("s-ann", "n1")
            screen, back = Screen(), Screen()
            r.watch(screen, actor="s-ann", inbox=True)
            await until(lambda: screen.states, "the first state comes")
            ahead = [Position(sequence=2), Position(partition=1, sequence=1)]
            r.watch(back, actor="s-ann", inbox=True, cursors=[("inbox", ahead)])
            # A push says nothing of those before it, and what was read is as much of it as what was told.
            pushed = CrowdNotice(sequence=9, stored=r.notices.notice("pushed", Audience(everyone=True)))
            await r.bus.client.publish(subjects.crowd(crowds.EVERYONE), pushed.SerializeToString())
            await until(lambda: screen.titles == ["pushed", "n1"], "it comes")
            await r.notices.tell("s-ann", "n2", is_pushed=False)
            await until(lambda: screen.inbox.unread == 3, "so does the next one")
            assert not back.states
            await r.notices.read("s-ann", Reader(read_up_to=1))
            await until(lambda: back.states, "all that was seen is known")
            assert back.inbox == screen.inbox
            assert (back.titles, back.inbox.unread) == (["pushed", "n2", "n1"], 2)

    run(scenario())


@pytest.mark.usefixtures("long_turns")
def test_a_notice_to_everyone_is_one_message_however_many_inboxes_are_shown(servers: Stores) -> None:
    async def scenario() -> None:
        async with rig(servers, "everyone") as r:
            screens = {f"e-{n}": Screen() for n in range(300)}
            for actor, screen in screens.items():
                r.watch(screen, actor=actor, inbox=True)
            await until(lambda: all(screen.states for screen in screens.values()), "the first states come")
            heard = r.bus.client.stats["in_msgs"]
            await r.notices.tell_everyone("all")
            await until(lambda: all(screen.titles for screen in screens.values()), "all are told")
            assert r.bus.client.stats["in_msgs"] == heard + 1
            # What is shown of it is stored once: nothing is any actor's own.
            with redis.Redis.from_url(servers.redis_url) as client:
                assert list(client.scan_iter("inbox:*")) == []

    run(scenario())


@pytest.mark.usefixtures("long_turns")
def test_who_comes_from_another_gateway_is_shown_no_less_though_this_one_lost_the_push(
    servers: Stores,
) -> None:
    async def scenario() -> None:
        async with rig(servers, "moves") as r:
            stays, screen = Screen(), Screen()
            r.watch(stays, actor="m-ann", inbox=True)
            await until(lambda: stays.states, "this gateway knows the inbox")
            await r.notices.tell("m-ann", "own", is_pushed=False)
            await r.notices.tell_everyone("all", is_pushed=False)
            await r.notices.read("m-ann", Reader(read=[1]), is_pushed=False)
            other = Personal(r.bus, r.database, r.catalog)
            other.start()
            topics = PersonalTopics(inbox=True, boards=frozenset())
            watch = other.watch("moves", "m-ann", topics, screen.tell)
            await until(lambda: screen.titles == ["all", "own"], "the other one has loaded all of it")
            watch.close()
            await other.stop()
            seen = screen.states["inbox"]
            assert (stays.titles, screen.inbox.unread) == ([], 1)
            # Who comes with what it has seen is waited for by nobody else, and not until the inbox's turn.
            r.watch(screen, actor="m-ann", inbox=True, cursors=[("inbox", seen.cursor.positions)])
            await until(lambda: len(screen.messages) == 2, "it is loaded before its turn")
            assert screen.states["inbox"] == seen
            assert stays.inbox == seen.inbox

    run(scenario())


@pytest.mark.usefixtures("long_turns")
def test_what_expires_goes_by_itself(servers: Stores) -> None:
    async def scenario() -> None:
        async with rig(servers, "expires") as r:
            screen = Screen()
            r.watch(screen, actor="x-ann", inbox=True)
            await until(lambda: screen.states, "the first state comes")
            await r.notices.tell("x-ann", "long")
            await r.notices.tell("x-ann", "short", expires_in_s=0.3)
            await until(lambda: screen.titles == ["short", "long"], "both are shown")
            await until(lambda: screen.titles == ["long"], "one expires")

    run(scenario())


def test_who_comes_back_soon_finds_the_inbox_as_it_was_left_and_still_listened_to(servers: Stores) -> None:
    async def scenario() -> None:
        async with rig(servers, "linger") as r:
            screen, back = Screen(), Screen()
            watch = r.watch(screen, actor="l-ann", inbox=True)
            await until(lambda: screen.states, "the first state comes")
            watch.close()
            watch.close()
            await r.notices.tell("l-ann", "n1")

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
                await r.notices.tell("n-ann", "n1", is_pushed=False)
                await until(lambda: screen.inbox.unread == 1, "what is stored meanwhile is found")
            finally:
                servers.nats.start()
            await until(lambda: r.bus.client.is_connected, "NATS is back")

            async def is_told(subject: str, message: bytes, viewer: Screen, title: str) -> bool:
                """Once the server has the subscription again."""
                await r.bus.client.publish(subject, message)
                return title in viewer.titles

            own = InboxChange(sequences=[99], notices=[r.notices.notice("own", Audience(actor_id="n-bob"))])
            every = CrowdNotice(sequence=98, stored=r.notices.notice("all", Audience(everyone=True)))
            for_bob = (subjects.inbox("n-bob"), own.SerializeToString())
            for_all = (subjects.crowd(crowds.EVERYONE), every.SerializeToString())
            await eventually(lambda: is_told(*for_bob, late, "own"), "who came meanwhile is pushed to")
            await eventually(lambda: is_told(*for_all, screen, "all"), "who watched before, too")

    run(scenario())
