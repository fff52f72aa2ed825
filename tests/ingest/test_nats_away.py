"""I1, I7, I9 while NATS is away: nothing is acked, it is said at once, and all is well soon after."""

from __future__ import annotations

import asyncio
import signal
from pathlib import Path

import pytest

from grandstand.wire.errors import Exhausted, GrandstandError, Unavailable
from mesh import limits
from mesh.jetstream import subjects
from mesh.jetstream.pipeline import PublishPipeline
from tests.mesh.jetstream.test_publish_pipeline import on_nats
from tests.support.games import run, until
from tests.support.nats_versions import EACH_NATS, nats_version  # noqa: F401
from tests.support.servers import listens

pytestmark = EACH_NATS

NOTICED_S = 1.5
BACK_S = 2.0


class Answers:
    """What `on_done` said, of each message in the order of their answers, and when."""

    def __init__(self, pipeline: PublishPipeline) -> None:
        self._pipeline = pipeline
        self._loop = asyncio.get_running_loop()
        self.stored: dict[str, int] = {}
        self.failed: dict[str, GrandstandError] = {}
        self.stored_at: list[float] = []

    def submit(self, message_id: str, payload: bytes = b"x", life_s: float = 30.0) -> bool:
        def on_done(sequence: int | None, error: GrandstandError | None) -> None:
            assert message_id not in self.stored
            assert message_id not in self.failed
            if sequence is not None:
                assert error is None
                self.stored[message_id] = sequence
                self.stored_at.append(self._loop.time())
            else:
                assert error is not None
                self.failed[message_id] = error

        deadline_at = self._loop.time() + life_s
        return self._pipeline.submit(subjects.events(1), payload, message_id, None, deadline_at, on_done)


def test_i1_a_killed_nats_acks_nothing_and_is_published_to_again_as_soon_as_it_is_back(
    tmp_path: Path, record_property: pytest.RecordProperty
) -> None:
    async def scenario() -> None:
        async with on_nats(tmp_path) as (nats, bus, pipeline):
            loop = asyncio.get_running_loop()
            answers = Answers(pipeline)
            flips: list[tuple[bool, float]] = []
            pipeline.on_change(lambda away: flips.append((away, loop.time())))
            first_acks_s = []
            for round_ in range(3):
                flips.clear()
                assert not pipeline.away
                for number in range(200):
                    answers.submit(f"{round_}-before-{number}")
                for _ in range(3):  # turns of the loop: the sender has its own
                    await asyncio.sleep(0)
                assert pipeline.in_flight
                killed_at = loop.time()
                nats.kill()
                await until(lambda: pipeline.away, "the event log is away", NOTICED_S)
                before = len(answers.stored)
                for number in range(200):
                    answers.submit(f"{round_}-meanwhile-{number}")
                await until(lambda: pipeline.oldest_age_s(loop.time()) > 0.5, "time passes")
                assert len(answers.stored) == before
                assert pipeline.away

                nats.start()
                await until(lambda: listens(nats.port), "nats-server listens")
                open_at = loop.time()
                everything = 400 * (round_ + 1)
                await until(lambda: len(answers.stored) == everything, "all is stored", BACK_S)  # noqa: B023
                first_acks_s.append(answers.stored_at[before] - open_at)
                assert [away for away, _ in flips] == [True, False]
                assert flips[0][1] - killed_at < NOTICED_S
                assert flips[1][1] <= answers.stored_at[before] + 0.1
            assert not answers.failed
            first = min(answers.stored.values())
            assert sorted(answers.stored.values()) == list(range(first, first + 1200))
            assert (await bus.js.stream_info(subjects.EVENTS_STREAM)).state.messages == 1200
            assert max(first_acks_s) < BACK_S
            print("the first ack after the port was open:", *(f"{at_s:.3f} s" for at_s in first_acks_s))
            record_property("first_ack_s", max(first_acks_s))

    run(scenario())


def test_a_nats_that_stands_still_is_away_until_it_acks_again(tmp_path: Path) -> None:
    """Long enough for its connection to be given up."""

    async def scenario() -> None:
        async with on_nats(tmp_path) as (nats, bus, pipeline):
            loop = asyncio.get_running_loop()
            answers = Answers(pipeline)
            await nats.stop()
            try:
                for number in range(limits.PUBLISH_IN_FLIGHT_MAX):
                    answers.submit(f"m{number}", bytes(limits.BLOCK_BYTES_MAX))
                await until(lambda: pipeline.away, "the event log is away", NOTICED_S)
                await until(lambda: not bus.client.is_connected, "the connection is given up")
                assert not answers.stored
            finally:
                nats.process.send_signal(signal.SIGCONT)
            continued_at = loop.time()
            await until(lambda: answers.stored, "something is stored", BACK_S)
            print(f"the first ack after it was continued: {answers.stored_at[0] - continued_at:.3f} s")
            # An ack that the old connection still brought is none of the new one's.
            await until(lambda: not pipeline.away, "the event log is back", BACK_S)
            await until(lambda: len(answers.stored) == limits.PUBLISH_IN_FLIGHT_MAX, "all is stored")
            assert (await bus.js.stream_info(subjects.EVENTS_STREAM)).state.messages == len(answers.stored)

    run(scenario())


def test_with_nothing_to_publish_the_return_of_nats_is_noticed_too(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with on_nats(tmp_path) as (nats, _, pipeline):
            nats.kill()
            await until(lambda: pipeline.away, "the event log is away", NOTICED_S)
            nats.start()
            await until(lambda: listens(nats.port), "nats-server listens")
            await until(lambda: not pipeline.away, "the event log is back", BACK_S)

    run(scenario())


def test_i7_i9_what_waits_is_bounded_and_each_publish_fails_once_at_its_deadline(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with on_nats(tmp_path) as (nats, bus, pipeline):
            answers = Answers(pipeline)
            nats.kill()
            await until(lambda: pipeline.away, "the event log is away", NOTICED_S)
            for number in range(limits.PUBLISH_WAITING_MAX):
                assert answers.submit(f"m{number}", life_s=1.0)
            assert not answers.submit("too much")
            with pytest.raises(Exhausted, match=f"{limits.PUBLISH_WAITING_MAX} publishes .* wait"):
                await pipeline.publish(subjects.events(1), b"x", "too much")
            await until(lambda: len(answers.failed) == limits.PUBLISH_WAITING_MAX, "all have failed")
            assert not answers.stored
            assert all(isinstance(error, Unavailable) for error in answers.failed.values())
            assert (pipeline.waiting, pipeline.waiting_bytes, pipeline.in_flight_bytes) == (0, 0, 0)
            assert pipeline.oldest_age_s(asyncio.get_running_loop().time()) == 0
            nats.start()
            await pipeline.publish(subjects.events(1), b"x", "afterwards")
            assert (await bus.js.stream_info(subjects.EVENTS_STREAM)).state.messages == 1

    run(scenario())


def test_a_pipeline_that_closes_fails_what_is_left_once(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with on_nats(tmp_path) as (nats, _, pipeline):
            answers = Answers(pipeline)
            await nats.stop()
            for number in range(100):
                answers.submit(f"m{number}")
            await until(lambda: pipeline.in_flight, "publishes are in flight")
            await pipeline.close()
            nats.process.send_signal(signal.SIGCONT)
            assert len(answers.failed) == 100
            assert not answers.submit("afterwards")

    run(scenario())
