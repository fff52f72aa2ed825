"""Rules fire from results, once, whoever judges them and dies between any two steps. On real servers."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterator, Mapping
from typing import Any

import pytest
from google.protobuf.duration_pb2 import Duration

from grandstand.catalog.v1.catalog_pb2 import STAGE_SEALED, LeadChange, Threshold
from mesh.results_feed.result_feeds import ResultFeeds
from notify import bounds as notify_bounds
from notify import instances
from notify.evaluator import Evaluator
from notify.game_rules import GameRules, Said
from notify.stream_log import Kept, StreamLog
from tests.notify.evaluator_rig import evaluating, playing
from tests.notify.rules_rig import poll, rule, tally
from tests.support.games import run, until
from tests.support.servers import Stores, eventually, listens, stores

EACH = rule(rule_id="each", threshold=Threshold(at=2, each=True))
LEAD = rule("poll/*", rule_id="lead", lead_changed=LeadChange(hold=Duration()))
SEALED_RULE = rule("poll/*", rule_id="sealed", sealed=True)


@pytest.fixture(scope="module")
def around(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stores]:
    with stores(tmp_path_factory.mktemp("rules")) as started:
        yield started


@pytest.fixture(autouse=True)
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(notify_bounds, "HEARING_S", 0.0)
    monkeypatch.setattr(notify_bounds, "LOAD_AGAIN_S", 0.05)
    monkeypatch.setattr(notify_bounds, "FIRE_AGAIN_S", 0.05)


def test_rules_fire_from_what_is_heard_and_a_game_that_is_sealed_and_told_is_let_go(around: Stores) -> None:
    async def scenario() -> None:
        async with playing(around) as played, evaluating(around, "only") as only:
            await played.put(poll(opened_s=1, open_for_s=60))
            await played.show(tally({"a": 0, "b": 0}))
            await played.define(EACH, LEAD, SEALED_RULE)
            await only.until_judging(played)
            await played.show(tally({"a": 2, "b": 0}))
            await played.is_told("each 1 2 A")
            await played.show(tally({"a": 2, "b": 3}))
            await played.is_told("each 1 2 A", "each 2 4 B", "lead 1 3 B")
            stored = (await played.fired())[-1]
            assert (stored.notice.audience.viewers, stored.generation) == (True, 7)
            assert stored.notice.data == '{"topic":"poll/x","value":3,"leader":"b","before":"a"}'
            # What comes without a message is found by anti-entropy.
            await played.show(tally({"a": 2, "b": 3}, stage=STAGE_SEALED), told=False)
            await played.put(poll(opened_s=1, open_for_s=60, stage=STAGE_SEALED))
            played.game.stage = STAGE_SEALED
            await played.put(played.game)
            await until(lambda: not only.evaluator.games, "the game is let go")
            assert (await played.told())[3:] == ["sealed 1 5 B"]

    run(scenario())


def test_two_evaluators_of_one_game_that_know_nothing_of_each_other_tell_each_firing_once(
    around: Stores,
) -> None:
    async def scenario() -> None:
        async with (
            playing(around) as played,
            evaluating(around, "one") as one,
            evaluating(around, "two") as two,
        ):
            await played.put(poll())
            await played.show(tally({"a": 0, "b": 0}))
            await played.define(EACH, LEAD)
            await one.until_judging(played)
            await two.until_judging(played)
            await played.show(tally({"a": 1, "b": 0}))
            await eventually(played.fired, "who leads first is stored")
            for n in range(2, 21):
                await played.show(tally({"a": n, "b": 2 * (n // 2)}))
                await until(
                    lambda: any(each.has_heard(played) for each in (one, two)), "one of them has heard of it"
                )
            await played.show(tally({"a": 20, "b": 25}))

            async def are_all_told() -> bool:
                told = await played.told()
                return all(any(end in each for each in told) for end in ("44 B", "lead 1 25 B"))

            await eventually(are_all_told, "the last of each is told")
            told = [each.split(" ", 3) for each in await played.told()]
            for rule_id in ("each", "lead"):
                ordinals = [int(ordinal) for each, ordinal, *_ in told if each == rule_id]
                assert ordinals == list(range(1, len(ordinals) + 1))
            values = [int(value) for each, _, value, _ in told if each == "each"]
            assert values == sorted(set(values))
            assert values[-1] == 44
            assert [who for each, _, _, who in told if each == "lead"] == ["B"]

    run(scenario())


@pytest.mark.parametrize("when", ["before it is stored", "before it hears that", "after the first"])
def test_who_takes_over_from_one_that_died_between_two_steps_repeats_and_misses_nothing(
    around: Stores, when: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, publishes, died = StreamLog.put, 0, asyncio.Event()

    async def publish(self: StreamLog, subject: str, data: bytes, last: int | None = 0) -> Kept:
        nonlocal publishes
        publishes += 1
        if publishes == 1 + (when == "after the first"):
            if when == "before it hears that":
                await real(self, subject, data, last)
            died.set()
            await asyncio.Event().wait()
        return await real(self, subject, data, last)

    async def scenario() -> None:
        async with playing(around) as played:
            await played.put(poll())
            await played.show(tally({"a": 2, "b": 0}))
            monkeypatch.setattr(StreamLog, "put", publish)
            async with evaluating(around, "first"):
                await played.define(EACH)
                if when == "after the first":
                    await played.is_told("each 1 2 A")
                    await played.show(tally({"a": 2, "b": 2}))
                await died.wait()
            monkeypatch.setattr(StreamLog, "put", real)
            await played.show(tally({"a": 2, "b": 7}))
            async with evaluating(around, "second"):
                if when == "before it is stored":
                    await played.is_told("each 1 8 B")
                else:
                    await played.is_told("each 1 2 A", "each 2 8 B")

    run(scenario())


def test_a_frozen_evaluator_that_wakes_is_refused_and_goes_on_from_what_was_told(
    around: Stores, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, frozen, goes_on = StreamLog.put, asyncio.Event(), asyncio.Event()

    async def publish(self: StreamLog, subject: str, data: bytes, last: int | None = 0) -> Kept:
        if self._bus.client.options["name"] == "frozen" and not goes_on.is_set():
            frozen.set()
            await goes_on.wait()
        return await real(self, subject, data, last)

    async def scenario() -> None:
        monkeypatch.setattr(StreamLog, "put", publish)
        async with playing(around) as played, evaluating(around, "frozen"):
            await played.put(poll())
            await played.show(tally({"a": 2, "b": 0}))
            await played.define(EACH)
            await frozen.wait()
            await played.show(tally({"a": 2, "b": 2}))
            async with evaluating(around, "other"):
                await played.is_told("each 1 4 A, B")
            goes_on.set()
            await played.show(tally({"a": 6, "b": 0}))
            await played.is_told("each 1 4 A, B", "each 2 6 A")

    run(scenario())


def test_what_a_suspended_process_holds_is_loaded_anew_before_it_judges(around: Stores) -> None:
    async def scenario() -> None:
        async with playing(around) as played, evaluating(around, "only") as only:
            await played.put(poll())
            await played.show(tally({"a": 1, "b": 0}))
            await played.define(LEAD)
            await only.until_judging(played)
            await eventually(played.fired, "who leads first is stored")
            only.evaluator._awake_s -= 60
            only.evaluator._stay_awake()
            assert not only.judges(played)
            await only.until_judging(played)
            await played.show(tally({"a": 1, "b": 2}))
            await played.is_told("lead 1 2 B")

    run(scenario())


def test_an_emptied_redis_tells_nothing_again_and_nothing_is_judged_before_it_is_whole(
    around: Stores, monkeypatch: pytest.MonkeyPatch
) -> None:
    load_later, refused = Evaluator._load_later, asyncio.Event()

    def put_off(self: Evaluator, games: Mapping[str, Any], error: Exception) -> None:
        refused.set()
        load_later(self, games, error)

    async def scenario() -> None:
        async with playing(around) as played:
            await played.put(poll())
            await played.show(tally({"a": 2, "b": 0}))
            await played.define(EACH)
            async with evaluating(around, "first"):
                await played.is_told("each 1 2 A")
                played._store.flushall()
                await played.show(tally({"a": 4, "b": 0}))
                await played.is_told("each 1 2 A", "each 2 4 A")
            played._store.flushall()
            monkeypatch.setattr(Evaluator, "_load_later", put_off)
            async with evaluating(around, "second") as second:
                await refused.wait()
                assert not second.judges(played)
                played.write(played.applied() + 1, [tally({"a": 6, "b": 0})])
                await played.is_told("each 1 2 A", "each 2 4 A", "each 3 6 A")

    run(scenario())


def test_games_are_shared_by_who_lives_and_taken_over_from_who_does_not(
    around: Stores, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(instances, "SILENT_S", 60.0)

    async def scenario() -> None:
        async with contextlib.AsyncExitStack() as stack:
            games = [await stack.enter_async_context(playing(around)) for _ in range(8)]
            one = await stack.enter_async_context(evaluating(around, "one"))
            for played in games:
                await played.put(poll())
                await played.show(tally({"a": 1, "b": 0}))
                await played.define(EACH)
            async with evaluating(around, "two") as two:
                await one.bus.client.flush()  # both listen
                await two.beat()
                await one.beat()

                def shared() -> bool:
                    ours = [one.judges(played) for played in games]
                    return len(set(ours)) == 2 and ours == [not two.judges(played) for played in games]

                await until(shared, "each game is judged by one of them")
            monkeypatch.setattr(instances, "SILENT_S", 0.0)
            await until(lambda: one.evaluator.games == 8, "one takes them over")
            for played in games:
                await one.until_judging(played)
                await played.show(tally({"a": 2, "b": 0}))
                await played.is_told("each 1 2 A")

    run(scenario())


def test_nats_that_restarts_loses_no_firing(around: Stores) -> None:
    async def scenario() -> None:
        async with playing(around) as played, evaluating(around, "only") as only:
            await played.put(poll())
            await played.show(tally({"a": 2, "b": 0}))
            await played.define(EACH)
            await played.is_told("each 1 2 A")
            around.nats.kill()
            played.write(played.applied() + 1, [tally({"a": 9, "b": 0})])
            around.nats.start()
            port = int(around.nats_url.rpartition(":")[2])
            await until(lambda: listens(port) and only.bus.client.is_connected, "nats is back")
            await until(lambda: played.bus.client.is_connected, "nats is back")
            await played.is_told("each 1 2 A", "each 2 8 A")

    run(scenario())


def test_a_game_that_cannot_be_loaded_or_judged_holds_no_other_up(
    around: Stores, monkeypatch: pytest.MonkeyPatch
) -> None:
    load, judge = ResultFeeds.load, GameRules.judge
    broken = ["", ""]

    async def loaded(self: ResultFeeds, game_id: str) -> None:
        if game_id == broken[0]:
            raise TimeoutError
        await load(self, game_id)

    def judged(self: GameRules, topic: str, now_s: float) -> Said:
        if self.game.game_id == broken[1]:
            raise ValueError
        return judge(self, topic, now_s)

    async def scenario() -> None:
        monkeypatch.setattr(ResultFeeds, "load", loaded)
        monkeypatch.setattr(GameRules, "judge", judged)
        async with playing(around) as away, playing(around) as wrong, playing(around) as well:
            broken[:] = [away.game_id, wrong.game_id]
            for played in (away, wrong, well):
                await played.put(poll())
                await played.show(tally({"a": 2, "b": 0}))
                await played.define(EACH)
            async with evaluating(around, "only"):
                await well.is_told("each 1 2 A")
                broken[:] = ["", ""]
                await away.is_told("each 1 2 A")
                await wrong.show(tally({"a": 4, "b": 0}))
                await wrong.is_told("each 1 4 A")

    run(scenario())
