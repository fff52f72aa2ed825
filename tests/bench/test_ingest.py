"""The ingest benchmark: its generator says what a client may say, its figures are of durable events."""

from __future__ import annotations

import asyncio
import json
import os
import select
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from struct import pack

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench._bed import GAME, Bed, bed
from bench._drive import Drive
from bench._frames import header_block, integer, message, messages, split
from bench._h2 import H2Error, RawConnection
from bench._ingest_figures import IngestFigures, IngestTurn
from bench._messages import BATCH, Batches, Messages, Singles, hello
from bench._pace import pace
from bench._stored import StoredCounter, read_stored
from grandstand.ingest.v1.ingest_pb2 import PublishRequest
from grandstand.internal.v1.internal_pb2 import Block, Events
from grandstand.wire import bounds as wire_bounds
from grandstand.wire import ids
from mesh.http2 import frames as f
from toolbox.local.errors import MeshError

FRAMES = st.lists(
    st.tuples(st.integers(0, 255), st.integers(0, 255), st.integers(0, 2**31 - 1), st.binary(max_size=300)),
    max_size=8,
)


@given(FRAMES, st.data())
def test_frames_come_back_wherever_the_bytes_were_cut(
    frames: list[tuple[int, int, int, bytes]], data: st.DataObject
) -> None:
    written = b"".join(f.frame(*each) for each in frames)
    cut = data.draw(st.integers(0, len(written)))
    rest, found = b"", []
    for part in (written[:cut], written[cut:]):
        buffer, end = rest + part, 0
        for kind, flags, stream, begin, end in split(buffer):
            found.append((kind, flags, stream, buffer[begin:end]))
        rest = buffer[end:]
    assert found == frames
    assert rest == b""


@given(st.lists(st.binary(max_size=200), max_size=6), st.data())
def test_grpc_messages_come_back_wherever_the_bytes_were_cut(
    payloads: list[bytes], data: st.DataObject
) -> None:
    written = b"".join(map(message, payloads))
    cut = data.draw(st.integers(0, len(written)))
    first, rest = messages(written[:cut])
    second, rest = messages(rest + written[cut:])
    assert first + second == payloads
    assert rest == b""


def test_a_compressed_message_is_refused() -> None:
    with pytest.raises(ValueError, match="compressed"):
        messages(b"\1\0\0\0\1x")


def test_headers_are_written_as_the_rfc_has_them() -> None:
    # RFC 7541, C.1.1 to C.1.3 and C.2.3.
    assert integer(10, 5) == bytes([0b01010])
    assert integer(1337, 5) == bytes([0b11111, 0b10011010, 0b00001010])
    assert integer(42, 8) == bytes([0b00101010])
    assert header_block([("password", "secret")]) == bytes.fromhex("100870617373776f726406736563726574")


@given(st.integers(0, 40), st.integers(0, 2**40))
def test_a_batch_is_what_protobuf_would_have_written(stream: int, batch: int) -> None:
    first = batch * BATCH + 1
    data = Batches(GAME).make(stream, first)
    payload = data[5:]
    assert messages(data) == ([payload], b"")
    request = PublishRequest.FromString(payload)
    assert request.SerializeToString() == payload
    assert [event.origin_seq for event in request.events.events] == list(range(first, first + BATCH))
    assert all(event.WhichOneof("body") for event in request.events.events)


def test_the_actors_of_batches_are_a_crowd() -> None:
    batches = Batches(GAME)
    made = [PublishRequest.FromString(batches.make(0, at * BATCH + 1)[5:]) for at in range(400, 440)]
    actors = [event.actor_id for request in made for event in request.events.events]
    assert len(set(actors)) > 0.9 * len(actors)


@given(st.integers(0, 40), st.integers(1, 2**40))
def test_a_single_is_what_protobuf_would_have_written(stream: int, seq: int) -> None:
    payload = Singles(GAME).make(stream, seq)[5:]
    request = PublishRequest.FromString(payload)
    assert request.SerializeToString() == payload
    (event,) = request.events.events
    assert (event.origin_seq, event.game_id, event.actor_id) == (seq, GAME, "")


def test_most_of_what_the_crowd_says_are_votes() -> None:
    events = PublishRequest.FromString(Batches(GAME).make(0, 1)[5:]).events.events
    kinds = [event.WhichOneof("body") for event in events]
    assert {kind: kinds.count(kind) for kind in set(kinds)} == {"vote": 44, "reaction": 16, "score": 4}


def test_hello_names_the_actor_of_a_viewer_and_the_role_of_a_producer() -> None:
    viewer = PublishRequest.FromString(hello("ann", producer=False)[5:]).hello
    producer = PublishRequest.FromString(hello("", producer=True)[5:]).hello
    assert (viewer.actor_id, viewer.producer) == ("ann", False)
    assert (producer.actor_id, producer.producer) == ("", True)


@pytest.fixture
def peers() -> Iterator[tuple[RawConnection, socket.socket]]:
    """A connection with one stream, its first bytes sent, and the socket at its other end."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        connection = RawConnection("127.0.0.1", server.getsockname()[1], "/a.B/C")
        assert connection.open() == 0
        assert connection.flush()
        there, _ = server.accept()
        with there:
            there.settimeout(10.0)
            there.recv(1 << 16)
            yield connection, there
            connection.close()


def said(connection: RawConnection, there: socket.socket, *frames: bytes) -> list[tuple[int, bytes]]:
    """What the connection makes of these frames."""
    there.sendall(b"".join(frames))
    assert select.select([connection.socket], [], [], 10.0)[0]
    return connection.receive()


def test_a_stream_has_as_much_room_as_both_windows_leave(peers: tuple[RawConnection, socket.socket]) -> None:
    connection, there = peers
    connection.send(0, bytes(f.WINDOW_DEFAULT - 10))
    assert connection.room(0) == 10
    said(connection, there, f.window_update(1, 500))
    assert (connection.room(0), connection.widened) == (10, [0]), "the connection's window is as narrow"
    said(connection, there, f.window_update(0, 300))
    assert connection.room(0) == 310
    said(connection, there, f.window_update(0, 10_000))
    assert connection.room(0) == 510


def test_a_new_initial_window_widens_open_streams_and_later_ones(
    peers: tuple[RawConnection, socket.socket],
) -> None:
    connection, there = peers
    said(
        connection,
        there,
        f.settings({f.INITIAL_WINDOW_SIZE: f.WINDOW_DEFAULT + 7}),
        f.window_update(0, 1_000_000),
    )
    assert (connection.room(0), connection.room(connection.open())) == (f.WINDOW_DEFAULT + 7,) * 2
    assert connection.flush()
    assert f.frame(f.SETTINGS, f.ACK, 0) in there.recv(1 << 16)


def test_pings_are_answered_and_messages_put_together(peers: tuple[RawConnection, socket.socket]) -> None:
    connection, there = peers
    ping, whole = bytes(range(8)), message(b"one") + message(b"two")
    parts = [f.frame(f.DATA, 0, 1, whole[:7]), f.frame(f.DATA, 0, 1, whole[7:])]
    assert said(connection, there, f.frame(f.PING, 0, 0, ping), *parts) == [(0, b"one"), (0, b"two")]
    assert connection.flush()
    assert there.recv(1 << 16) == f.frame(f.PING, f.ACK, 0, ping)


def test_a_connection_that_the_service_ends_is_told_why(peers: tuple[RawConnection, socket.socket]) -> None:
    connection, there = peers
    goaway = f.frame(f.GOAWAY, 0, 0, bytes(7) + b"\x0bENHANCE_YOUR_CALM")
    with pytest.raises(H2Error, match="code 11 ENHANCE_YOUR_CALM"):
        said(connection, there, goaway)
    there.close()
    select.select([connection.socket], [], [], 10.0)
    with pytest.raises(H2Error, match="closed the connection"):
        connection.receive()


def test_what_a_full_socket_does_not_take_waits_and_is_bounded(
    peers: tuple[RawConnection, socket.socket],
) -> None:
    connection, there = peers
    said(connection, there, f.window_update(0, 1 << 30), f.window_update(1, 1 << 30))
    for _ in range(10_000):
        connection.send(0, bytes(16_000))
        connection.flush()
        if connection.is_congested:
            break
    assert connection.is_congested
    assert connection.has_unsent
    unread = 0
    while not connection.flush():
        unread += len(there.recv(1 << 20))
    assert unread > 0
    assert not connection.is_congested


def test_an_event_that_is_stored_twice_is_one_number_and_two_rows() -> None:
    tally = StoredCounter()
    origin = ids.new_origin(producer=True, now_s=1_790_000_000, entropy=bytes(12))
    events = Events(producers=ids.origin_key(origin), origin=bytes(4), origin_seq=pack("<QQ", 7, 3))
    for _ in range(2):
        tally.add(Block(events=events).SerializeToString())
    stored = tally.stored()
    assert (stored.blocks, stored.rows) == (2, 4)
    assert {name: numbers.tolist() for name, numbers in stored.numbers.items()} == {origin: [3, 7]}


@pytest.fixture(scope="module")
def small() -> Iterator[Bed]:
    with bed(spread=2) as made:
        yield made


def drive_of(small: Bed, messages: Messages, streams: int, in_flight: int = 1 << 40) -> Drive:
    shown = small.producer if messages.producer else small.viewer
    return Drive(small.ingest(f"ingest-{streams}").port, messages, streams, in_flight, shown)


@pytest.mark.parametrize("messages", [Singles(GAME), Batches(GAME)], ids=["single", "batched"])
def test_what_is_acked_is_stored_under_its_own_identity(small: Bed, messages: Messages) -> None:
    drive = drive_of(small, messages, 6)
    drive.press(0.3)
    drive.settle()
    drive.close()
    assert drive.sent == drive.settled > 100
    assert (drive.lost, drive.refused) == (0, {})
    stored = asyncio.run(read_stored(small.nats_url))
    for stream in drive.streams:
        assert stored.numbers[stream.origin_id].tolist() == list(range(1, stream.acked + 1))


def test_a_stream_uses_its_credit_and_never_more(small: Bed) -> None:
    drive = drive_of(small, Singles(GAME), 3)
    unacked = []
    drive.on_ack = lambda stream, _: unacked.append(stream.sent - stream.acked)
    drive.press(0.3)
    drive.settle()
    drive.close()
    assert max(unacked) == wire_bounds.VIEWER_CREDIT


def test_all_streams_together_keep_to_the_depth(small: Bed) -> None:
    drive = drive_of(small, Singles(GAME), 5, in_flight=12)
    unsettled = []
    drive.on_ack = lambda *_: unsettled.append(drive.sent - drive.settled)
    drive.press(0.3)
    drive.settle()
    drive.close()
    assert max(unsettled) == 12


def test_streams_that_send_nothing_live_on(small: Bed, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bench._drive._LOOK_S", 0.1)
    drive = drive_of(small, Singles(GAME), 4)
    beats: list[int] = []
    connections = {id(stream.connection): stream.connection for stream in drive.streams}

    def listening(send: Callable[[int, bytes], None]) -> Callable[[int, bytes], None]:
        def heard(place: int, data: bytes) -> None:
            beats.append(place)
            send(place, data)

        return heard

    for connection in connections.values():
        monkeypatch.setattr(connection, "send", listening(connection.send))
    drive.idle(0.5)
    assert len(beats) >= 4 * 3, "each of them, some times"
    drive.send(drive.streams[0])
    drive.settle()
    drive.close()
    assert drive.settled == 1


def test_the_floor_reads_all_that_windows_let_through(small: Bed) -> None:
    floor = small.floor()
    drive = Drive(floor.port, Batches(GAME), 2, 1 << 40, small.producer, lambda: int(floor.ask("read?")))
    drive.press(0.3)
    drive.settle()
    drive.close()
    assert int(floor.ask("read?")) * BATCH == drive.sent
    assert drive.sent * 30 > 2 * f.WINDOW_DEFAULT, "more than the streams' first windows held"


def test_a_refused_stream_is_told_with_what_the_service_said(small: Bed) -> None:
    ingest = small.ingest("ingest-refusing")
    with pytest.raises(H2Error, match="token"):
        Drive(ingest.port, Singles(GAME), 1, 10, lambda _: [("authorization", "Bearer none")])


def test_a_service_that_stands_still_is_late_for_every_event_that_was_due(small: Bed) -> None:
    ingest = small.ingest("ingest-still")
    drive = Drive(ingest.port, Singles(GAME), 100, 1 << 40, small.viewer)
    pace(drive, 500.0, 0.2)
    stops = [
        threading.Timer(0.3, os.kill, (ingest.pid, signal.SIGSTOP)),
        threading.Timer(0.8, os.kill, (ingest.pid, signal.SIGCONT)),
    ]
    for stop in stops:
        stop.start()
    took, late_s = pace(drive, 500.0, 1.5)
    drive.close()
    assert len(took) == 750
    # Half a second of them: of 250, those of the first 0.4 s waited at least 0.1 s.
    assert sum(each > 0.1 for each in took) >= 180
    assert took[-1] > 0.4
    assert took == sorted(took)
    assert took[0] < 0.1
    assert late_s < 0.45, "the generator did not stand still"


def test_nats_py_publishes_what_it_is_asked_for(small: Bed) -> None:
    peer = small.peer()
    assert [peer.ask("300"), peer.ask("7")] == ["300", "7"]


def test_a_process_that_ends_is_told_with_its_last_words(small: Bed) -> None:
    floor = small.floor()
    os.kill(floor.pid, signal.SIGKILL)
    with pytest.raises(MeshError, match="floor ended"):
        floor.ask("read?")


def figures(**fields: int) -> IngestFigures:
    made = IngestFigures(single_streams=1, batched_streams=1, idle_streams=1, ack_rate_per_s=1.0, spread=1)
    for name, value in fields.items():
        setattr(made, name, value)
    return made


def test_a_run_is_sound_when_what_was_acked_is_stored_and_nothing_else() -> None:
    assert figures(sent=10, settled=10, stored=10).is_sound
    assert figures(sent=10, settled=10, shed=2, refused=1, stored=7).is_sound
    assert "10 events were acked, and 9" in figures(sent=10, settled=10, stored=9).unsound
    assert "10 events were acked, and 11" in figures(sent=10, settled=10, stored=11).unsound
    assert "11 events were sent, and 10" in figures(sent=11, settled=10, stored=10).unsound


def test_a_ratio_is_the_median_of_the_rounds() -> None:
    made = figures()
    made.single = [
        IngestTurn(100, 1.0, 1.0, 0.1),
        IngestTurn(100, 1.0, 1.0, 0.1),
        IngestTurn(300, 1.0, 1.0, 0.1),
    ]
    made.floor = [
        IngestTurn(400, 1.0, 1.0, 0.1),
        IngestTurn(200, 1.0, 1.0, 0.1),
        IngestTurn(300, 1.0, 1.0, 0.1),
    ]
    made.batched = made.nats_py = made.single
    made.events_per_ack = [1.0]
    found = made.as_json()
    assert found["vs_grpc_aio_floor"] == 0.5, "of 0.25, 0.5 and 1"
    assert found["single_events_per_cpu_s"] == 100
    assert found["generator_us_per_single"] == 600.0


def test_a_percentile_is_of_all_samples() -> None:
    made = figures()
    made.take_acks([at / 1000 for at in range(1, 201)])
    assert (made.ack_p50_ms, made.ack_p99_ms, made.ack_max_ms) == (101.0, 199.0, 200.0)


def test_a_quick_run_prints_the_named_keys() -> None:
    command = [sys.executable, "-m", "bench.ingest", "--quick", "--json"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout.splitlines()[-1])
    for key in (
        *("single_events_per_cpu_s", "batched_events_per_cpu_s", "vs_grpc_aio_floor", "vs_nats_py"),
        *("ack_p50_ms", "ack_p99_ms", "rss_kib_per_stream"),
        *("floor_events_per_cpu_s", "nats_py_events_per_cpu_s", "blocks", "cores"),
    ):
        assert found[key] > 0, key
    assert found["ack_p50_ms"] <= found["ack_p99_ms"] <= found["ack_max_ms"]
    assert found["sent"] == found["acked"] == found["stored"] > 1_000
    assert (found["shed"], found["refused"], found["ok"]) == (0, 0, True)
    assert [len(turns) for turns in found["rounds"].values()] == [1, 1, 1, 1]


def test_what_cannot_be_measured_is_refused() -> None:
    command = [sys.executable, "-m", "bench.ingest", "--streams", "0"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 2
    assert "--streams 0: at least 1 is needed" in done.stderr
