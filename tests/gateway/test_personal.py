"""Personal topics together, over a real NATS and Valkey: who takes nothing for a while, who has left."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support.games import run, until
from tests.support.personal_rig import Screen, rig
from tests.support.servers import Stores, stores


@pytest.fixture(scope="module")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stores]:
    with stores(tmp_path_factory.mktemp("personal")) as started:
        yield started


def _has_scored(screen: Screen, points: int) -> bool:
    return len(screen.states) == 3 and screen.place()[1] == points


def test_a_viewer_that_takes_nothing_for_a_while_is_told_the_newest_of_everything_in_one_message(
    servers: Stores,
) -> None:
    async def scenario() -> None:
        async with rig(servers, "slow") as r:
            top, laps = r.board(), r.board("laps")
            await r.score(top, ("ann", 1))
            await r.score(laps, ("ann", 1))
            slow, quick = Screen(is_open=False), Screen()
            watch = r.watch(slow, "top", "laps", inbox=True)
            r.watch(quick, "top", "laps", inbox=True)
            for n in range(2, 5):
                await r.score(top, ("ann", n))
                await r.notices.tell("ann", f"n{n}")
                await until(lambda: _has_scored(quick, n), f"the quick one sees {n}")  # noqa: B023
            await until(lambda: quick.inbox.unread == 3, "and all of its inbox")
            assert (slow.refused, slow.messages) == (1, []), "who has no room is not asked again and again"
            watch.writable()
            assert slow.refused == 2
            slow.is_open = True
            watch.writable()
            assert [sorted(message) for message in slow.messages] == [
                ["inbox", "standing/laps", "standing/top"]
            ]
            assert slow.states == quick.states
            watch.writable()
            assert len(slow.messages) == 1
            await r.score(laps, ("ann", 3))
            await until(lambda: slow.place("laps") == (1, 3, 1), "from then on it is told at once")

    run(scenario())


def test_who_has_left_is_told_nothing_and_nothing_is_kept_of_it(servers: Stores) -> None:
    async def scenario() -> None:
        async with rig(servers, "left") as r:
            top = r.board()
            await r.score(top, ("ann", 1))
            gone, stays = Screen(), Screen()
            first = r.watch(gone, "top", inbox=True)
            second = r.watch(stays, "top", inbox=True)
            await until(lambda: len(gone.states) == len(stays.states) == 2, "the first states come")
            first.close()
            told = len(gone.messages)
            await r.score(top, ("ann", 2))
            await until(lambda: stays.place() == (1, 2, 1), "who stays is told")
            first.writable()
            assert len(gone.messages) == told
            assert (len(r.personal.standings), len(r.personal.inboxes)) == (1, 1)
            second.close()
            assert len(r.personal.standings) == 0

    run(scenario())
