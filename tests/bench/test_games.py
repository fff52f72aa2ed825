"""The benchmark of many games: its schedule, what its viewers read, its figures, and a small run."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Mapping
from random import Random
from typing import Any
from xml.etree import ElementTree as ET

import pytest

from bench import games
from bench._audience import CrowdViewer
from bench._games_bed import unsound
from bench._games_churn import Churn
from bench._games_crowd import GamesCrowd, VotersIn
from bench._games_figures import NCHAN, FlushCost, GamesFigures, GamesTurn
from bench._games_flush import games_of_partitions
from bench._games_plot import plot
from bench._games_schedule import Schedule, keep
from bench._games_viewers import wire_of
from bench._games_votes import games_in
from bench._marks import Mark
from bench._wire import NOTHING, ParsedBytes
from grandstand.aggregate.v1.aggregate_pb2 import TallyResult, TopicState
from grandstand.gateway.v1.delta_pb2 import TallyDelta, TopicDelta
from grandstand.gateway.v1.gateway_pb2 import Heartbeat, Snapshot, SubscribeResponse, Update
from grandstand.wire import bounds as wire_bounds
from grandstand.wire import ids


def test_vote_after_vote_is_due_in_game_after_game() -> None:
    schedule = Schedule(games=4, base=10, begin_us=1_000_000, rate=8.0)
    due_us = [schedule.due_us(game, vote) for vote in (11, 12) for game in range(4)]
    assert due_us == [1_000_000 + 125_000 * number for number in range(8)]
    assert [schedule.due(now_s) for now_s in (0.9, 1.0, 1.1, 1.126, 2.0)] == [0, 1, 1, 2, 9]


def test_what_is_late_is_sent_at_once_and_said_to_be_late() -> None:
    sent: list[int] = []

    def send(first: int, count: int) -> int:
        taken = min(count, 3)
        sent.extend(range(first, first + taken))
        return taken

    begin_us = time.monotonic_ns() // 1000 - 500_000
    late_s = keep(Schedule(1, begin_us=begin_us, rate=1_000.0), 10, send, lambda _: None)
    assert sent == list(range(10))
    assert 0.5 <= late_s < 20


def test_a_process_is_told_its_games_in_a_word() -> None:
    assert games_in("bench*3") == ["bench-0", "bench-1", "bench-2"]
    assert games_in("flush-1,flush-7") == ["flush-1", "flush-7"]
    partitions = [ids.partition_of(each, "", 1) for each in games_of_partitions()]
    assert partitions == list(range(wire_bounds.PARTITIONS))


def test_viewers_read_the_voters_of_whole_states_and_of_deltas() -> None:
    read = VotersIn()
    state = TopicState(topic="poll/final", tally=TallyResult(voters=7))
    delta = TopicDelta(topic="poll/final", tally=TallyDelta(voters=8))
    for response, expected in (
        (SubscribeResponse(snapshot=Snapshot(topics=[state])), Mark(7, 0)),
        (SubscribeResponse(update=Update(topics=[state])), Mark(7, 0)),
        (SubscribeResponse(update=Update(deltas=[delta])), Mark(8, 0)),
        (SubscribeResponse(update=Update(deltas=[TopicDelta(topic="poll/final")])), None),
        (SubscribeResponse(heartbeat=Heartbeat()), None),
    ):
        assert read(response.SerializeToString()) == expected
    assert 0 < read.bytes < 20, "of the last update"


def test_each_vote_is_timed_once_it_is_shown_and_only_in_games_that_count() -> None:
    wire, requests = wire_of("grpc-web", 1, games_in("bench*2"), VotersIn())
    crowd = GamesCrowd(wire, 1, Random(1), 2, 1, requests)
    crowd.schedule = Schedule(2, base=5, begin_us=1_000_000, rate=2.0)
    crowd.timed = {1}
    for number in range(2):
        viewer = CrowdViewer(number)
        for voters in (5, 6, 8, 7):
            crowd._see(viewer, ParsedBytes((Mark(voters, 0),), NOTHING), 4_000_000)
    assert list(crowd.latencies_us) == [2_500_000, 1_500_000, 500_000]
    assert (crowd.watching, crowd.frames, crowd.skipped, crowd.backwards) == (2, 4, 2, 2)
    assert b"bench-1" in requests(1)
    crowd.close()


def turn(cpu_s: Mapping[str, float], frames: int = 1_000, p99_ms: float = 9.0, **others: Any) -> GamesTurn:
    made = GamesTurn(100, 5, 4.0, 400, frames, 60, 2.0, cpu_s, 0.005, 5.0, p99_ms, 1.0, "")
    return made._replace(**others)


def test_an_update_is_of_a_game_on_all_its_screens_and_a_ratio_is_the_median_of_the_rounds() -> None:
    ours = turn({"gateway-1": 0.01, "gateway-2": 0.01, "envoy": 0.02, "aggregate-1": 0.004})
    figures = GamesFigures(100, 5, 4.0, loaded=[ours] * 3, calm=[turn({}, p99_ms=11.0)])
    figures.peers[NCHAN] = [turn({"nchan": cpu_s}) for cpu_s in (0.02, 9.0, 0.03)]
    figures.flush = FlushCost(1.0, 200, 1.75, 1_200)
    found = figures.as_json()
    assert found["gateway_us_per_game_update"] == found["edge_us_per_game_update"] == 100.0
    assert found["aggregate_us_per_topic_update"] == 10.0
    assert found["vs_nchan_games"] == 0.75
    assert found["vs_socketio_games"] is None
    assert found["aggregate_us_per_flush"] == 750.0
    assert (found["p99_ms"], found["loaded_p99_ms"], found["ok"]) == (11.0, 9.0, True)


SENT: Mapping[str, Any] = {"refused": 0, "why": ""}
SEEN: Mapping[str, Any] = {"backwards": 0, "ended": {}, "behind": 0}


@pytest.mark.parametrize(
    ("sent", "seen", "complaint"),
    [
        ({"refused": 2, "why": "closed"}, {}, "2 votes were refused: closed"),
        ({}, {"backwards": 1}, "1 times a viewer was shown an older state"),
        ({}, {"ended": {"gone": 3}}, "3 viewers lost their streams: gone"),
        ({}, {"behind": 4}, "4 viewers were not shown the last count"),
        ({}, {}, ""),
    ],
)
def test_refused_votes_and_viewers_left_behind_make_a_run_unsound(
    sent: dict[str, Any], seen: dict[str, Any], complaint: str
) -> None:
    found = unsound({**SENT, **sent}, {**SEEN, **seen})
    assert found == complaint
    figures = GamesFigures(1, 1, 1.0, loaded=[turn({}, unsound=found)])
    assert (figures.unsound, figures.as_json()["ok"]) == (complaint, not complaint)


def test_what_cannot_be_measured_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    for arguments, reason in ((["--games", "0"], "--games 0: at least 1"), (["--rate", "0"], "--rate 0.0")):
        with pytest.raises(SystemExit) as ended:
            games.parse(arguments)
        assert ended.value.code == 2
        assert reason in capsys.readouterr().err


def test_a_small_run_prints_the_named_keys_and_shows_every_vote() -> None:
    command = [sys.executable, "-m", "bench.games", "--games", "20", "--viewers", "2", "--quick", "--json"]
    command += ["--seconds", "1", "--idle-seconds", "0.5"]
    run = subprocess.run(command, capture_output=True, text=True, timeout=240, check=False)
    assert run.returncode == 0, run.stderr
    found = json.loads(run.stdout.splitlines()[-1])
    for key in (
        *("gateway_us_per_game_update", "aggregate_us_per_topic_update", "edge_us_per_game_update"),
        *("p50_ms", "p99_ms", "join_s", "idle_gateway_cpu", "frame_bytes"),
    ):
        assert found[key] > 0, key
    assert (found["games"], found["viewers"], found["ok"]) == (20, 2, True)
    assert found["p50_ms"] <= found["p99_ms"]
    for key in ("vs_nchan_games", "vs_socketio_games", "neighbour_p99_ms", "define_per_s"):
        assert found[key] is None, key


def test_the_plot_is_well_formed_and_names_every_line_with_its_last_value() -> None:
    loaded = [
        turn({"gateway-1": 0.02, "envoy": 0.01, "aggregate-1": 0.4 / games}, games=games)
        for games in (10, 100, 1_000)
    ]
    root = ET.fromstring(plot([(each, turn({}, games=each.games)) for each in loaded]))
    texts = [text.text or "" for text in root.iter("{http://www.w3.org/2000/svg}text")]
    for label in ("gateway, 100", "Envoy, 50", "workers, 1", "p50, 5", "p99, 9", "1,000"):
        assert label in texts, texts


def test_what_churn_leaves_in_memory_is_the_slope_of_the_second_half() -> None:
    found = Churn(2_000, took_s=4.0)
    for ended in range(500, 2_001, 500):
        grown = 10 * min(ended, 1_000) + (ended - 1_000) // 50
        found.samples.append((ended, {"gateway-1": grown, "aggregate-1": 100, "nats": ended}))
    assert found.slopes() == {"gateway-1": 20.0, "aggregate-1": 0.0, "nats": 1_000.0}
    assert found.as_json()["churn_rss_kib_per_1000_games"] == 20.0, "of our own processes"
    found.left.append("{p1}:results:churn-7")
    assert "left 1 things behind: {p1}:results:churn-7" in GamesFigures(1, 1, 1.0, churn=found).unsound
    assert Churn(0).as_json()["churn_rss_kib_per_1000_games"] is None
