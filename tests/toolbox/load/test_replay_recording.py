"""The lines of a recording: what is an event, what is refused and why, what was there before."""

from __future__ import annotations

import contextlib
import gzip
import io
import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.games import run
from toolbox.load.recording import LINE_BYTES_MAX, BadLineError, RecordingReader
from toolbox.load.source import Source, UnreadableError
from toolbox.local.provision import checkout

VOTE = {"gameId": "g", "actorId": "ann", "vote": {"pollId": "mvp", "optionIds": ["red"]}}


def line(at: object = None, **event: object) -> bytes:
    value: dict[str, object] = {"event": {**VOTE, **event}}
    return json.dumps(value if at is None else {"at": at, **value}).encode()


def test_timestamps_count_from_the_first_moment_of_the_file() -> None:
    reader = RecordingReader()
    moments = ["2026-11-20T19:00:00.250Z", "2026-11-20T20:00:01.250+01:00", "2026-11-20T19:00:00Z"]
    read = [reader.read(line(at)) for at in moments]
    assert [one.at_s for one in read if one] == pytest.approx([0.0, 1.0, -0.25])


def test_numbers_are_seconds_from_the_start() -> None:
    reader = RecordingReader()
    assert [one.at_s for at in (2, 3.5) if (one := reader.read(line(at)))] == [2.0, 3.5]


def test_an_event_keeps_its_body_and_loses_its_identity() -> None:
    found = RecordingReader().read(line(originSeq="7", originId="somebody"))
    assert found is not None
    assert found.at_s is None
    assert (found.event.vote.poll_id, found.event.actor_id) == ("mvp", "ann")
    assert (found.event.origin_id, found.event.origin_seq) == ("", 0)


def test_the_game_of_all_events_can_be_replaced() -> None:
    found = RecordingReader("other").read(line(gameId=""))
    assert found is not None
    assert found.event.game_id == "other"


@pytest.mark.parametrize(
    ("raw", "why"),
    [
        (b"garbage", "not JSON: Expecting value at column 1"),
        (b"\xff\xfe", "not UTF-8 at byte 1"),
        (b"[" * 2000, "not JSON"),
        (b"[]", 'no "event"'),
        (b'{"event": 3}', "event: 3 is no object"),
        (b'{"event": {}, "when": 1}', "'when' is not known"),
        (b'{"event": {"vote": {"poll": "x"}}}', 'no field named "poll"'),
        (line(actorId=""), "event.actorId: is empty"),
        (line(gameId=""), "event.gameId: is empty"),
        (b'{"event": {"gameId": "g", "actorId": "ann"}}', "has no body"),
        (line("yesterday"), "'yesterday' is no RFC 3339 timestamp"),
        (line("2026-11-20T19:00:00"), "names no time zone"),
        (line(-1), "at: -1 is neither"),
        (line(True), "at: True is neither"),
        (b"x" * (LINE_BYTES_MAX + 1), f"more than {LINE_BYTES_MAX} bytes"),
    ],
)
def test_a_bad_line_says_why(raw: bytes, why: str) -> None:
    with pytest.raises(BadLineError) as refused:
        RecordingReader().read(raw)
    assert why in str(refused.value)


def test_a_file_keeps_to_one_form_of_time() -> None:
    reader = RecordingReader()
    reader.read(line("2026-11-20T19:00:00Z"))
    with pytest.raises(BadLineError, match="keep to one form"):
        reader.read(line(1))


@given(st.binary(max_size=200))
def test_no_line_at_all_breaks_the_reader(raw: bytes) -> None:
    with contextlib.suppress(BadLineError):
        RecordingReader().read(raw)


@given(st.lists(st.tuples(st.sampled_from(["", "a", "b"]), st.integers(1, 60)), max_size=100))
def test_each_identity_is_sent_once(identities: list[tuple[str, int]]) -> None:
    reader = RecordingReader()
    sent = [
        (origin_id, origin_seq)
        for origin_id, origin_seq in identities
        if reader.read(line(originId=origin_id, originSeq=origin_seq)) is not None
    ]
    assert len(sent) == len(set(sent))
    assert set(sent) == set(identities)


async def _lines(path: Path) -> list[bytes]:
    source = Source(str(path))
    try:
        found = []
        while one := await source.next():
            found.append(one)
        return found
    finally:
        source.close()


@pytest.mark.parametrize("pack", [bytes, gzip.compress], ids=["plain", "gzip"])
def test_lines_are_read_whatever_the_packing_and_the_ends(tmp_path: Path, pack: object) -> None:
    path = tmp_path / "no suffix tells"
    path.write_bytes(pack(b"one\r\n\ntwo\n" + b"x" * (3 * LINE_BYTES_MAX) + b"\nlast"))  # type: ignore[operator]
    first, blank, second, long, last = run(_lines(path))
    assert (first, blank, second, last) == (b"one", b"\n", b"two", b"last")
    assert len(long) == LINE_BYTES_MAX + 1


def test_an_empty_file_has_no_lines(tmp_path: Path) -> None:
    path = tmp_path / "empty"
    path.write_bytes(b"")
    assert run(_lines(path)) == []


def test_a_file_that_is_cut_short_gives_its_lines_and_then_says_so(tmp_path: Path) -> None:
    whole = gzip.compress(b"".join(b"%d %r\n" % (n, bytes([n % 251])) for n in range(5000)))
    path = tmp_path / "cut.gz"
    path.write_bytes(whole[: len(whole) // 2])

    async def scenario() -> int:
        source = Source(str(path))
        count = 0
        try:
            while await source.next():
                count += 1
        except UnreadableError:
            return count
        finally:
            source.close()
        raise AssertionError("the end is missing, and nothing was said")

    assert run(scenario()) > 0


def test_the_sample_recording_is_whole() -> None:
    sample = checkout() / "examples" / "final.jsonl.gz"
    reader = RecordingReader()
    with gzip.open(sample) as lines:
        read = [reader.read(one) for one in io.BytesIO(lines.read())]
    assert len(read) == 250
    assert all(read)
