"""The Send benchmark: its crowd says what became of every call, its counts are those of the event log."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from bench._bed import GAME, Bed, bed
from bench._send_bed import GRPC_AIO as GRPC_AIO_MODULE
from bench._send_bed import OURS as OURS_MODULE
from bench._send_bed import SendBed, Way
from bench._send_crowd import Crowd
from bench._send_figures import GRPC, GRPC_AIO, OURS, WEB, SendFigures, SendTurn
from bench._stored import StoredRows, read_stored
from bench.send import SendBench, parse, report


@pytest.fixture(scope="module")
def ground() -> Iterator[Bed]:
    with bed(spread=1) as made:
        yield made


@pytest.fixture(scope="module")
def ways(ground: Bed) -> dict[str, Way]:
    made = SendBed(ground)
    return {module: made.way(module.rpartition(".")[2], module) for module in (OURS_MODULE, GRPC_AIO_MODULE)}


@pytest.mark.parametrize("is_web", [False, True], ids=["grpc", "web"])
@pytest.mark.parametrize("module", [OURS_MODULE, GRPC_AIO_MODULE])
def test_what_is_acked_is_stored_under_its_own_identity(
    ground: Bed, ways: dict[str, Way], module: str, is_web: bool
) -> None:
    shown = [ground.viewer(number) for number in range(5)]
    crowd = Crowd(ways[module].envoy.port, GAME, shown, ground.origin, wires=2, is_web=is_web)
    crowd.press(0.3, 3)
    took_s, late_s = crowd.pace(50.0, 0.4)
    crowd.close()
    tally = crowd.tally
    assert (tally.acked, tally.failed) == (tally.sent, {})
    assert tally.sent > 30
    assert len(took_s) == 20
    assert min(took_s) > 0
    assert late_s < 5
    stored = asyncio.run(read_stored(ground.nats_url))
    for sender in crowd.senders:
        assert sender.acked == set(stored.numbers[sender.origin_id].tolist()) == set(range(1, sender.seq + 1))


def test_as_many_calls_are_under_way_as_were_asked_for(ground: Bed, ways: dict[str, Way]) -> None:
    shown = [ground.viewer(number) for number in range(9)]
    crowd = Crowd(ways[OURS_MODULE].envoy.port, GAME, shown, ground.origin, wires=2, is_web=False)
    most = []
    turn = crowd._turn
    crowd._turn = lambda wait_s: (most.append(crowd.under_way), turn(wait_s))  # type: ignore[method-assign, assignment, func-returns-value]
    crowd.press(0.3, 4)
    crowd.close()
    assert max(most) == 4


@pytest.mark.parametrize("is_web", [False, True], ids=["grpc", "web"])
def test_a_refusal_is_no_answer_and_what_was_said_is_kept(
    ground: Bed, ways: dict[str, Way], is_web: bool
) -> None:
    crowd = Crowd(
        ways[OURS_MODULE].envoy.port,
        "no-such-game",
        [ground.viewer(0)],
        ground.origin,
        wires=1,
        is_web=is_web,
    )
    crowd.press(0.1, 1)
    crowd.close()
    assert (crowd.tally.acked, crowd.senders[0].acked) == (0, set())
    assert all("5 " in why and "no-such-game" in why for why in crowd.tally.failed)
    assert crowd.tally.sent == crowd.tally.answered > 0


def run_of(acked: int, failed: int, stored: int) -> SendFigures:
    """A run of one viewer, judged by what the event log holds."""

    class Sender:
        origin_id = "v"
        acked: set[int]

    class Ended:
        def __init__(self) -> None:
            self.tally = type("T", (), {"sent": acked + failed, "acked": acked, "failed": {"5 no": failed}})
            sender = Sender()
            sender.acked = set(range(1, acked + 1))
            self.senders = [sender]

    asked: Any = parse(["--quick"])
    bench = SendBench(None, asked)  # type: ignore[arg-type]
    bench._crowds.append(Ended())  # type: ignore[arg-type]
    bench.check(StoredRows(1, stored, {"v": np.arange(1, stored + 1, dtype=np.uint64)}))
    return bench.figures


def test_a_run_whose_counts_disagree_ends_non_zero(capsys: pytest.CaptureFixture[str]) -> None:
    assert report(run_of(10, 0, 10), as_json=True) == 0
    for found, why in (
        (run_of(10, 0, 9), "1 of 10 acked events are not in the event log"),
        (run_of(10, 2, 10), "12 events were sent, and 10 are acked; 2 times: 5 no"),
        (run_of(10, 0, 11), "10 events were acked, and 11 are stored"),
    ):
        capsys.readouterr()
        assert report(found, as_json=True) == 1
        said = capsys.readouterr()
        assert why in said.err
        assert json.loads(said.out)["ok"] is False


def test_a_ratio_is_the_median_of_the_rounds() -> None:
    made = SendFigures(1, 1, 1.0)
    made.turns[OURS, GRPC] = [SendTurn(each, 1.0, 1.0, 0.5, 0.1, 0.1) for each in (100, 400, 900)]
    made.turns[GRPC_AIO, GRPC] = [SendTurn(100, 1.0, 1.0, 0.5, 0.1, 0.1) for _ in range(3)]
    found = made.as_json()
    assert (found["unary_per_cpu_s"], found["vs_grpc_aio_unary"]) == (400, 4.0)
    assert (found["web_unary_per_cpu_s"], found["web_vs_grpc_aio_unary"]) == (0, 0.0)
    assert found["gateway_us_per_send"] == 2_500.0
    assert (WEB, OURS) not in made.turns


def test_a_quick_run_prints_the_named_keys() -> None:
    command = [sys.executable, "-m", "bench.send", "--quick", "--json"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout.splitlines()[-1])
    for key in (
        *("unary_per_cpu_s", "vs_grpc_aio_unary", "p50_ms", "p99_ms"),
        *("web_unary_per_cpu_s", "web_vs_grpc_aio_unary", "grpc_aio_unary_per_cpu_s"),
        *("gateway_us_per_send", "edge_us_per_send", "samples", "cores"),
    ):
        assert found[key] > 0, key
    assert found["p50_ms"] <= found["p99_ms"]
    assert found["sent"] == found["acked"] == found["stored"] > 300
    assert found["ok"] is True
    assert [len(turns) for turns in found["rounds"].values()] == [1, 1, 1, 1]


def test_what_cannot_be_measured_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as told:
        parse(["--depth", "0"])
    assert told.value.code == 2
    assert "--depth 0: at least 1 is needed" in capsys.readouterr().err
