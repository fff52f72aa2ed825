"""One look for all who ask at once, and none that began before somebody asked."""

from __future__ import annotations

import asyncio
import contextlib

import pytest

from mesh.shared_looks import SharedLooks
from tests.support.games import run, until


class Source:
    """What is looked at: it counts the looks, and each lasts until `go`."""

    def __init__(self) -> None:
        self.value = 0
        self.begun: list[str] = []
        self.at_once = 0
        self.at_once_max = 0
        self.go = asyncio.Event()

    async def look(self, key: str) -> int:
        found = self.value
        self.begun.append(key)
        self.at_once += 1
        self.at_once_max = max(self.at_once, self.at_once_max)
        try:
            await self.go.wait()
            if found < 0:
                raise ValueError(str(found))
            return found
        finally:
            self.at_once -= 1


def test_all_who_ask_at_once_share_a_look_and_those_who_come_meanwhile_share_the_next() -> None:
    async def scenario() -> None:
        source = Source()
        looks = SharedLooks(source.look, at_once=4)
        first = [asyncio.create_task(looks.of("a")) for _ in range(100)]
        await until(lambda: source.begun == ["a"], "one look has begun")
        source.value = 1
        second = [asyncio.create_task(looks.of("a")) for _ in range(100)]
        await asyncio.sleep(0)
        source.go.set()
        assert set(await asyncio.gather(*first)) == {0}
        assert set(await asyncio.gather(*second)) == {1}, "they asked after it became 1"
        assert (source.begun, source.at_once_max) == (["a", "a"], 1)

    run(scenario())


def test_looks_at_many_things_are_bounded_and_dropped_with_their_last_caller() -> None:
    async def scenario() -> None:
        source = Source()
        looks = SharedLooks(source.look, at_once=4)
        asking = [asyncio.create_task(looks.of(str(n))) for n in range(50)]
        await until(lambda: len(source.begun) == 4, "as many as may have begun")
        for task in asking[10:]:
            task.cancel()
        await asyncio.wait(asking[10:])
        asking[0].cancel()
        source.go.set()
        assert await asyncio.gather(*asking[1:10]) == [0] * 9
        assert (source.begun, source.at_once_max) == ([str(n) for n in range(10)], 4)
        assert await looks.of("49") == 0, "and it can be asked again"

    run(scenario())


def test_an_error_is_raised_to_all_who_wait() -> None:
    async def scenario() -> None:
        source = Source()
        source.value = -7
        source.go.set()
        looks = SharedLooks(source.look, at_once=1)
        found = await asyncio.gather(*(looks.of("a") for _ in range(3)), return_exceptions=True)
        assert [str(each) for each in found] == ["-7"] * 3
        left = asyncio.create_task(looks.of("a"))
        await asyncio.sleep(0)
        left.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await left
        with pytest.raises(ValueError, match="-7"):
            await looks.of("a")

    run(scenario())
