"""`bench fanout`: what viewers are sent is read wherever it was cut and counted once; what they miss is, too.

The compiled peers are not among the test's tools; the bench itself runs here without them.
"""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import threading
import time
import xml.etree.ElementTree as ET
from collections.abc import Callable, Iterator, Mapping, Sequence
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench import _fanout_bed, _peers, fanout
from bench._audience import VIEWERS_PER_ADDRESS, ViewerCrowd, address_of
from bench._contestants import FanoutTurn
from bench._fanout_figures import BASELINE, NCHAN, OURS, FanoutFigures
from bench._fanout_plot import plot
from bench._marks import Mark, frame_of, mark_in_response, partial_of, text_of
from bench._percentiles import milliseconds
from bench._wire import NOTHING, EventSource, GrpcWeb, Rest, ViewerProtocol, WebSocket, WireError
from gateway import bounds as gateway_bounds
from grandstand.gateway.v1.gateway_pb2 import Heartbeat, SubscribeRequest, SubscribeResponse
from toolbox.local import provision

HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: application/grpc-web+proto\r\ntransfer-encoding: chunked\r\n\r\n"
MARKS = st.lists(st.builds(Mark, st.integers(1, 10**9), st.integers(1, 10**15)), max_size=5)


def encoded(mark: Mark) -> bytes:
    return frame_of(partial_of(mark, "bench", 0), 1_790_000_000.0)


def message(payload: bytes, kind: int = 0) -> bytes:
    return bytes([kind]) + len(payload).to_bytes(4, "big") + payload


def chunk(data: bytes) -> bytes:
    return b"%x\r\n%s\r\n" % (len(data), data)


def grpc_web() -> GrpcWeb:
    return GrpcWeb(1, SubscribeRequest(game_id="bench"), 0)


def websocket_frame(payload: bytes, opcode: int = 1) -> bytes:
    length = len(payload)
    size = bytes([length]) if length < 126 else b"\x7e" + length.to_bytes(2, "big")
    return bytes([0x80 | opcode]) + size + payload


def heard(wire: ViewerProtocol, parts: Sequence[bytes]) -> list[Mark]:
    rest: Rest = NOTHING
    marks: list[Mark] = []
    for part in parts:
        found = wire.hear(rest, part)
        marks += found.marks
        rest = found.rest
    assert rest == NOTHING
    return marks


@pytest.mark.parametrize("name", ["grpc-web", "eventsource", "websocket", "socket-io"])
@given(MARKS, st.data())
def test_frames_are_heard_wherever_the_bytes_were_cut(
    name: str, marks: list[Mark], data: st.DataObject
) -> None:
    texts = [text_of(mark, data.draw(st.integers(30, 300))) for mark in marks]
    wire: ViewerProtocol = WebSocket(1, "/")
    if name == "grpc-web":
        wire = grpc_web()
        stream = b"".join(message(encoded(mark)) for mark in marks)
        ends = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=6)))
        pieces = [stream[a:b] for a, b in zip([0, *ends], [*ends, len(stream)], strict=True)]
        written = b"".join(chunk(piece) for piece in pieces if piece)
    elif name == "eventsource":
        wire = EventSource(1, "/")
        written = b"".join(b"id: 7:0\ndata: %s\n\n" % text for text in texts)
    elif name == "websocket":
        written = b"".join(websocket_frame(text) for text in texts)
    else:
        written = b"".join(websocket_frame(b'42["frame","%s"]' % text) for text in texts)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(written)), max_size=6)))
    parts = [written[a:b] for a, b in zip([0, *cuts], [*cuts, len(written)], strict=True)]
    assert heard(wire, parts) == marks


def test_a_mark_is_found_in_snapshots_and_updates_and_in_nothing_else() -> None:
    mark = Mark(7, 123_456)
    update = SubscribeResponse.FromString(encoded(mark))
    snapshot = SubscribeResponse()
    snapshot.snapshot.topics.extend(update.update.topics)
    assert mark_in_response(encoded(mark)) == mark_in_response(snapshot.SerializeToString()) == mark
    assert mark_in_response(SubscribeResponse(heartbeat=Heartbeat()).SerializeToString()) is None
    assert grpc_web().hear(NOTHING, chunk(message(b"grpc-status: 0\r\n", 0x80))).ended == "grpc-status: 0"


def test_what_is_no_chunk_or_too_long_is_told() -> None:
    with pytest.raises(WireError, match="no chunk begins"):
        grpc_web().hear(NOTHING, b"what\r\n")
    with pytest.raises(WireError, match="a chunk of 268435455 bytes"):
        grpc_web().hear(NOTHING, b"fffffff\r\n")
    with pytest.raises(WireError, match="a frame of 16777216 bytes"):
        grpc_web().hear(NOTHING, chunk(b"\0\1\0\0\0"))


def test_who_comes_back_hands_in_the_number_it_was_shown_last() -> None:
    body = grpc_web().request(41).partition(b"\r\n\r\n")[2]
    request = SubscribeRequest.FromString(body[5:])
    (position,) = request.cursors[0].cursor.positions
    assert (request.cursors[0].topic, position.sequence) == ("poll/final", 41)
    assert SubscribeRequest.FromString(grpc_web().request(0).partition(b"\r\n\r\n")[2][5:]).cursors == []


def test_no_address_has_more_viewers_than_a_gateway_takes_from_one() -> None:
    addresses = [address_of(number) for number in range(15_000)]
    assert (
        max(map(addresses.count, set(addresses)))
        == VIEWERS_PER_ADDRESS
        < gateway_bounds.VIEWERS_PER_ADDRESS_MAX
    )


class Stage:
    """A server whose viewers are in our hand: it answers each with the head and a first frame."""

    def __init__(self) -> None:
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listening.getsockname()[1]
        self.viewers: list[socket.socket] = []
        self.requests: list[bytes] = []
        self.first = 1
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def _serve(self) -> None:
        while True:
            try:
                viewer, _ = self._listening.accept()
            except OSError:
                return
            self.requests.append(viewer.recv(65_536))
            viewer.sendall(HEAD)
            self.viewers.append(viewer)
            self.show(self.first, viewer)

    def show(self, number: int, *viewers: socket.socket) -> None:
        for viewer in viewers or self.viewers:
            viewer.sendall(chunk(message(encoded(Mark(number, time.monotonic_ns() // 1000)))))

    def close(self) -> None:
        self._listening.shutdown(socket.SHUT_RDWR)
        self._listening.close()
        self._thread.join()
        for viewer in self.viewers:
            viewer.close()


@pytest.fixture
def stage() -> Iterator[Stage]:
    made = Stage()
    yield made
    made.close()


@pytest.fixture
def audience(stage: Stage) -> Iterator[ViewerCrowd]:
    made = ViewerCrowd(grpc_web(), stage.port, Random(1))
    yield made
    made.close()


def until(audience: ViewerCrowd, condition: Callable[[], bool]) -> None:
    give_up_s = time.monotonic() + 20.0
    while not condition():
        assert time.monotonic() < give_up_s
        audience.turn(0.001)


def test_frames_are_counted_and_what_was_never_shown_is_missed(stage: Stage, audience: ViewerCrowd) -> None:
    audience.open(3)
    audience.begin()
    stage.show(2)
    assert audience.settle(2, 5.0) == 0
    assert (audience.frames, audience.skipped, audience.backwards) == (3, 0, 0)
    stage.show(5, stage.viewers[0])
    assert audience.settle(5, 0.1) == 2, "two were not shown the fifth"
    assert (audience.frames, audience.skipped) == (4, 2)
    stage.show(4, stage.viewers[0])
    until(audience, lambda: audience.backwards == 1)
    assert audience.frames == 4
    assert 0 < milliseconds(sorted(audience.latencies_us), 100) < 20_000


def test_a_stream_that_ends_is_told_with_its_reason(stage: Stage, audience: ViewerCrowd) -> None:
    audience.open(2)
    stage.viewers[0].sendall(chunk(message(b"grpc-status: 14\r\ngrpc-message: gone\r\n", 0x80)))
    until(audience, lambda: bool(audience.ended))
    assert audience.ended == {"grpc-status: 14 grpc-message: gone": 1}
    assert audience.watching == 1


def test_those_who_are_cut_come_back_with_their_cursors_and_nobody_else_does(
    stage: Stage, audience: ViewerCrowd
) -> None:
    audience.open(5)
    audience.begin()
    stage.show(9)
    assert audience.settle(9, 5.0) == 0
    stage.first = 12
    audience.comes_back = True
    audience.cut(3)
    assert (audience.watching, audience.is_whole) == (2, False)
    until(audience, lambda: audience.is_whole)
    assert (audience.watching, audience.returns, audience.backwards) == (5, 3, 0)
    assert len(stage.requests) == 8
    for request in stage.requests[5:]:
        wanted = SubscribeRequest.FromString(request.partition(b"\r\n\r\n")[2][5:])
        assert wanted.cursors[0].cursor.positions[0].sequence == 9


def test_who_comes_back_to_an_older_state_is_counted(stage: Stage, audience: ViewerCrowd) -> None:
    audience.open(1)
    stage.show(9)
    assert audience.settle(9, 5.0) == 0
    audience.comes_back = True
    stage.first = 8
    audience.cut(1)
    until(audience, lambda: audience.is_whole)
    assert audience.backwards == 1


def turn(
    viewers: int = 100, cpu_s: Mapping[str, float] | None = None, lost: int = 0, unsound: str = ""
) -> FanoutTurn:
    cpu_s = cpu_s or {"gateway": 0.001, "envoy": 0.009}
    return FanoutTurn(viewers, 1_000, lost, cpu_s, 0.002, 5.0, 9.0, 11.0, 1.0, unsound)


def figures(ours: Sequence[FanoutTurn] = (turn(),), **others: Sequence[FanoutTurn]) -> FanoutFigures:
    return FanoutFigures(100, 10.0, {OURS: ours, **others}, 215)


def test_a_ratio_is_the_median_of_the_rounds_at_the_count_asked_for() -> None:
    rounds = [turn(cpu_s={"nginx": cpu_s}) for cpu_s in (0.005, 0.02, 0.01)]
    rounds.append(turn(viewers=50, cpu_s={"nginx": 9.0}))
    gateways = [turn(cpu_s={"gateway": 0.03, "envoy": 0.01})] * 3
    found = figures([turn()] * 3, **{NCHAN: rounds, BASELINE: gateways}).as_json()
    assert found["gateway_us_per_frame"] == 1.0
    assert found["edge_us_per_frame"] == 9.0
    assert found["vs_nchan"] == 1.0
    assert found["vs_grpc_aio_gateway"] == 30.0
    assert found["vs_socketio"] is None
    assert found["curves"]["Nchan"] == {"50": 111, "100": 100_000}


def test_lost_frames_older_states_and_ended_streams_make_a_run_unsound() -> None:
    assert figures().is_sound
    assert "3 of 1003 frames" in figures([turn(lost=3)]).unsound
    assert figures([turn(unsound="2 viewers lost their streams")]).unsound.startswith("2 viewers")
    assert figures(**{BASELINE: [turn(lost=9)]}).is_sound, "the baseline may conflate"


def test_a_run_that_lost_frames_ends_non_zero(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(fanout, "measure", lambda _: figures([turn(lost=3)]))
    with pytest.raises(SystemExit) as ended:
        fanout.main(["--json"])
    assert ended.value.code == 1
    said = capsys.readouterr()
    assert json.loads(said.out.splitlines()[-1])["frames_lost"] == 3
    assert "3 of 1003 frames" in said.err


def test_the_plot_is_well_formed_and_names_every_line_with_its_last_value() -> None:
    ours = [turn(viewers=viewers) for viewers in (25, 50, 100)]
    nchan = [turn(viewers=viewers, cpu_s={"nginx": 0.01}) for viewers in (25, 50, 100)]
    root = ET.fromstring(plot(figures(ours, **{NCHAN: nchan})))
    texts = [text.text or "" for text in root.iter("{http://www.w3.org/2000/svg}text")]
    for label in ("our gateway, 1M", "our gateway and Envoy, 100k", "Nchan, 100k"):
        assert label in texts
    ends = [float(text.get("y", 0)) for text in root.iter("{http://www.w3.org/2000/svg}text")][-3:]
    assert min(abs(a - b) for a in ends for b in ends if a is not b) >= 15, "no label covers another"


def test_a_percentile_is_the_nearest_rank() -> None:
    samples = [us * 1000 for us in range(1, 201)]
    assert [milliseconds(samples, percent) for percent in (50, 99, 100)] == [100.0, 198.0, 200.0]
    assert milliseconds([], 50) == 0.0


def test_a_peer_that_cannot_be_had_is_told_in_one_line(
    monkeypatch: pytest.MonkeyPatch, tmp_path: pytest.TempPathFactory
) -> None:
    monkeypatch.setattr(provision, "tools_dir", lambda: tmp_path)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(provision.ProvisionError, match="there is no apt-get"):
        _peers.nchan(lambda _: None)


def test_nginx_has_as_many_workers_as_envoy_and_writes_below_its_own_folder(tmp_path: object) -> None:
    written = _fanout_bed.nginx_conf(7, _peers.SOCKET_IO, _peers.SOCKET_IO, "eventsource")
    assert f"worker_processes {_fanout_bed.CONCURRENCY};" in written
    assert "/var/" not in written


@pytest.fixture(scope="module")
def run() -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "bench.fanout", "--viewers", "50", "--seconds", "1", "--rounds", "1"]
    command += ["--without-peers", "--json"]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)


def test_a_small_run_prints_the_named_keys_and_loses_nothing(run: subprocess.CompletedProcess[str]) -> None:
    assert run.returncode == 0, run.stderr
    found = json.loads(run.stdout.splitlines()[-1])
    for key in (
        *("gateway_us_per_frame", "vs_grpc_aio_gateway", "edge_us_per_frame", "p50_ms", "p99_ms"),
        *("rate_per_s", "frame_bytes", "cores", "client_us_per_frame", "grpc_aio_us_per_frame"),
    ):
        assert found[key] > 0, key
    assert (found["viewers"], found["frames"], found["frames_lost"]) == (50, 500, 0)
    assert found["p50_ms"] <= found["p99_ms"] <= found["max_ms"]
    assert {"gateway_kib_per_viewer", "rss_kib_per_viewer"} <= set(found)
    assert (found["vs_nchan"], found["vs_socketio"]) == (None, None)
    assert found["peers"] == dict.fromkeys(("nchan", "socketio"), "skipped: --without-peers")
    assert 150 < found["frame_bytes"] < 260


def test_what_cannot_be_measured_is_refused() -> None:
    for arguments, reason in ((["--viewers", "0"], "at least 1"), (["--rate", "30"], "more than 20")):
        command = [sys.executable, "-m", "bench.fanout", *arguments]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
        assert done.returncode == 2
        assert reason in done.stderr
