"""A line for each topic of a frame, whatever names people give."""

from __future__ import annotations

import json

import pytest
from google.protobuf.timestamp_pb2 import Timestamp

from grandstand.aggregate.v1 import aggregate_pb2 as agg
from grandstand.catalog.v1.catalog_pb2 import STAGE_OPEN
from grandstand.event.v1.event_pb2 import Position
from grandstand.gateway.v1.delta_pb2 import TopicDelta
from grandstand.gateway.v1.gateway_pb2 import Heartbeat, Rendition, Snapshot, SubscribeResponse, Update
from toolbox.cli.printable import printable
from toolbox.cli.tap_lines import tap_lines

AS_OF = Timestamp(seconds=1_800_000_000, nanos=250_000_000)
NAMES = ("\x1b[2Jeve", "مباراة", "👩‍👩‍👧 mums", "a\u202eb", "new\nline", "x" * 500)


def tally(*options: tuple[str, int]) -> agg.TopicState:
    counts = [agg.OptionCount(option_id=name, votes=votes) for name, votes in options]
    result = agg.TallyResult(options=counts, voters=7)
    return agg.TopicState(topic="poll/mvp", stage=STAGE_OPEN, tally=result)


def test_a_line_says_when_what_how_large_and_what_is_shown_then() -> None:
    state = tally(("red", 5), ("blue", 2))
    snapshot = SubscribeResponse(as_of=AS_OF, snapshot=Snapshot(topics=[state]))
    (line,) = tap_lines(snapshot, {"poll/mvp": state})
    assert (line.kind, line.bytes, line.frame_bytes) == ("full", state.ByteSize(), snapshot.ByteSize())
    assert (
        str(line)
        == "08:00:00.250  full       " + f"{line.bytes} B  poll/mvp          open: red 5, blue 2 of 7 voters"
    )
    delta = TopicDelta(topic="poll/mvp")
    update = SubscribeResponse(as_of=AS_OF, update=Update(deltas=[delta]))
    (line,) = tap_lines(update, {"poll/mvp": state})
    assert (line.kind, line.bytes) == ("delta", delta.ByteSize())
    assert json.loads(line.json())["state"]["tally"]["options"][0] == {"optionId": "red", "votes": "5"}


@pytest.mark.parametrize("name", NAMES)
def test_no_name_reaches_the_terminal_as_more_than_text(name: str) -> None:
    board = agg.BoardResult(entries=[agg.BoardEntry(rank=1, actor_id="ann", name=name, points=3)], actors=1)
    state = agg.TopicState(topic="board/top", board=board)
    frame = SubscribeResponse(as_of=AS_OF, snapshot=Snapshot(topics=[state]))
    (line,) = tap_lines(frame, {"board/top": state})
    for text in (str(line), line.json()):
        assert not {"\x1b", "\n", "\u202e"} & set(text)
    assert len(str(line)) < 200
    if name.isprintable() and len(name) < 40:
        assert name in str(line)
    assert json.loads(line.json())["state"]["board"]["entries"][0]["name"] == name


def test_joined_emoji_stay_whole_and_what_moves_the_cursor_is_escaped() -> None:
    assert printable("👩‍👩‍👧") == "👩‍👩‍👧"
    assert printable("a\x9b2Jb\u2066c\x00") == "a\\x9b2Jb\\u2066c\\x00"
    assert printable("abcdef", 4) == "abc…"


def test_what_else_is_said_is_a_line_and_a_heartbeat_is_none() -> None:
    slowed = SubscribeResponse(
        as_of=AS_OF, rendition=Rendition(updates_per_s=5, reason="the gateway runs hot")
    )
    (line,) = tap_lines(slowed, {})
    assert line.kind == "rendition"
    assert "the gateway runs hot" in str(line)
    assert not list(tap_lines(SubscribeResponse(as_of=AS_OF, heartbeat=Heartbeat()), {}))
    assert not list(tap_lines(SubscribeResponse(applied=[Position()]), {}))


def test_each_kind_of_topic_is_told_in_words() -> None:
    many = [agg.OptionCount(option_id=f"o{n}", votes=n) for n in range(9)]
    kinds = [agg.KindRate(kind="fire", rate_per_s=2.25)]
    told = {
        "o0 0, o1 1, o2 2, o3 3, o4 4 and 4 more of 0 voters": {"tally": agg.TallyResult(options=many)},
        "fire 2.2/s": {"pulse": agg.PulseResult(kinds=kinds)},
        "3 watch, 9 ever did": {"audience": agg.AudienceResult(viewers=3, uniques=9)},
        "2 measured, p50 1.5": {
            "metric": agg.MetricResult(count=2, quantiles=[agg.Quantile(quantile=0.5, value=1.5)])
        },
        "cloud, 3 B": {"custom": agg.CustomResult(fold="cloud", value=b"abc")},
        "no place of 4": {"standing": agg.StandingResult(actors=4)},
        "nothing yet": {},
    }
    for text, value in told.items():
        state = agg.TopicState(topic="t", **value)  # type: ignore[arg-type]
        frame = SubscribeResponse(as_of=AS_OF, snapshot=Snapshot(topics=[state]))
        assert [line.text for line in tap_lines(frame, {"t": state})] == [text]
