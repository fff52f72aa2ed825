"""The vectors of deltas that every client language is checked against: tests/delta_vectors.json.

One case on a line: a name; `before`, `delta` and `after` as proto JSON. Without `after` the delta does not
fit and must be refused. Recreated, after a change of the format, by

    python -m tests.support.delta_vectors
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from random import Random
from typing import Any

from google.protobuf.json_format import MessageToDict, ParseDict

from grandstand.aggregate.v1.aggregate_pb2 import BoardEntry, TopicState
from grandstand.gateway.v1.delta_pb2 import TopicDelta
from grandstand.wire import bounds as wire_bounds
from grandstand.wire.delta import diff
from toolbox.local.provision import checkout

PATH = checkout() / "tests" / "delta_vectors.json"

_POLL = {
    "topic": "poll/mvp",
    "cursor": {"positions": [{"partition": 3, "sequence": "41"}]},
    "stage": "STAGE_OPEN",
    "tally": {
        "options": [
            {"optionId": "ada", "votes": "7", "weight": "9"},
            {"optionId": "bob"},
            {"optionId": "cy"},
        ],
        "voters": "7",
    },
}
_BOARD = {
    "topic": "board/top",
    "cursor": {"positions": [{"partition": 1, "sequence": "5"}, {"partition": 9, "sequence": "6"}]},
    "board": {
        "entries": [
            {
                "rank": rank,
                "actorId": f"actor-{rank}",
                "points": str(points),
                "name": f"Actor {rank}" * (rank > 2),
            }
            for rank, points in enumerate((90, 70, 70, 0, -4), start=1)
        ],
        "actors": "12",
        "season": {"number": "2", "startsAt": "2026-11-21T10:00:00Z", "endsAt": "2026-11-21T11:00:00Z"},
        "previous": {"season": {"number": "1"}, "entries": [{"rank": 1, "actorId": "old", "points": "3"}]},
    },
}
_PULSE = {
    "topic": "pulse/reactions",
    "cursor": {"positions": [{"sequence": "5"}]},
    "pulse": {
        "kinds": [{"kind": "clap", "ratePerS": 1.4, "total": "7"}, {"kind": "wow", "total": "1"}],
        "late": "1",
        "panes": [{"widthS": 1, "startsAt": "2026-11-21T10:00:00Z", "counts": ["5", "0"]}],
    },
}
_METRIC = {
    "topic": "metric/delay",
    "cursor": {"positions": [{"sequence": "5"}]},
    "metric": {"count": "3", "min": 0.5, "quantiles": [{"quantile": 0.5, "value": 2}], "relativeError": 0.01},
}
_AUDIENCE = {"topic": "audience", "cursor": {}, "audience": {"viewers": "3", "uniques": "4", "exact": True}}
_CUSTOM = {
    "topic": "custom/words",
    "cursor": {"positions": [{"sequence": "1"}]},
    "custom": {"fold": "words", "value": "AAEC"},
}


def cases() -> Iterator[dict[str, Any]]:
    """All of them, the same every time."""
    yield from _changes()
    yield from _storms()
    yield from _written()
    yield from _misfits()


def _changes() -> Iterator[dict[str, Any]]:
    """Each is what `diff` makes of two states."""

    def change(name: str, before: dict[str, Any], **after: Any) -> dict[str, Any]:
        states = [ParseDict(state, TopicState()) for state in (before, before | after)]
        return _case(name, *states)

    tally: dict[str, Any] = _POLL["tally"]  # type: ignore[assignment]
    ada, bob, cy = tally["options"]
    moved = {"positions": [{"partition": 3, "sequence": "42"}]}
    yield change("poll: only its cursor moved", _POLL, cursor=moved)
    yield change("poll: closed", _POLL, stage="STAGE_CLOSED")
    yield change("poll: its stage is not told any more", _POLL, stage="STAGE_UNSPECIFIED")
    yield change(
        "poll: one option",
        _POLL,
        cursor=moved,
        tally={"options": [ada, bob | {"votes": "1", "weight": "1"}, cy], "voters": "8"},
    )
    yield change(
        "poll: a guest's vote",
        _POLL,
        tally={
            "options": [ada | {"votes": "8", "weight": "10", "guestVotes": "1"}, bob, cy],
            "voters": "8",
            "guestVoters": "1",
        },
    )
    yield change(
        "poll: a vote is voided",
        _POLL,
        cursor=moved,
        tally={
            "options": [ada | {"votes": "6", "weight": "8"}, bob, cy],
            "voters": "6",
            "voided": "1",
        },
    )
    yield change(
        "poll: back to nothing, and beyond 2^53",
        _POLL,
        tally={"options": [{"optionId": "ada"}, bob, cy | {"votes": str(2**64 - 1)}], "voters": "0"},
    )
    yield change(
        "cursor: a partition before the others and one after",
        _POLL,
        cursor={"positions": [{"sequence": "1"}, *_positions(_POLL), {"partition": 77, "sequence": "2"}]},
    )
    no_cursor = {key: value for key, value in _POLL.items() if key != "cursor"}
    yield change("cursor: none", no_cursor, tally=tally | {"voters": "9"})
    yield change("cursor: the first one", _POLL | {"cursor": {}}, cursor=moved)

    board: dict[str, Any] = _BOARD["board"]  # type: ignore[assignment]
    first, second, third, fourth, fifth = board["entries"]

    def ranked(*entries: dict[str, Any], **more: Any) -> dict[str, Any]:
        order = [entry | {"rank": rank} for rank, entry in enumerate(entries, start=1)]
        return {"board": board | {"entries": order} | more}

    yield change("board: only the number of its actors", _BOARD, board=board | {"actors": "13"})
    yield change(
        "board: the last one scores and climbs",
        _BOARD,
        **ranked(fifth | {"points": "99"}, first, second, third, fourth),
    )
    yield change("board: two equals change places", _BOARD, **ranked(first, third, second, fourth, fifth))
    yield change(
        "board: somebody new at the end",
        _BOARD,
        **ranked(first, second, third, fourth, fifth, {"actorId": "new", "points": "-5"}),
    )
    yield change(
        "board: somebody new at the top, one falls off",
        _BOARD,
        **ranked({"actorId": "new", "points": "91"}, first, second, third, fourth),
    )
    yield change("board: shorter", _BOARD, **ranked(first, fourth))
    yield change("board: nobody is left", _BOARD, **ranked(actors="0"))
    yield change(
        "board: all are new",
        _BOARD,
        **ranked({"actorId": "a", "points": "2"}, {"actorId": "b", "points": "1"}),
    )

    pulse: dict[str, Any] = _PULSE["pulse"]  # type: ignore[assignment]
    clap, wow = pulse["kinds"]
    yield change(
        "pulse: one kind and its panes",
        _PULSE,
        pulse=pulse | {"kinds": [clap, wow | {"ratePerS": 0.1, "total": "2"}], "panes": pulse["panes"] * 2},
    )
    yield change("pulse: all is quiet", _PULSE, pulse={"kinds": [{"kind": "clap", "total": "7"}, wow]})
    yield change("metric: whole", _METRIC, metric={"count": "4", "min": -0.25, "max": 1e300})
    yield change("audience: whole", _AUDIENCE, audience={"viewers": "3", "relativeError": 0.008})
    yield change("custom: whole", _CUSTOM, custom={"fold": "words"})


def _storms() -> Iterator[dict[str, Any]]:
    """Boards as a busy game has them: a chain, each state the next one's `before`."""
    random = Random(5)
    points = [random.randrange(40) for _ in range(30)]
    before: TopicState | None = None
    for number in range(12):
        for _ in range(random.randrange(1, 5)):
            points[random.randrange(30)] += random.randrange(20)
        order = sorted(range(30), key=lambda actor: (-points[actor], actor))[:20]
        after = TopicState(topic="board/storm")
        after.cursor.positions.add(partition=2, sequence=number + 1)
        after.board.actors = 30
        after.board.entries.extend(
            BoardEntry(rank=rank, actor_id=f"a{actor}", points=points[actor])
            for rank, actor in enumerate(order, start=1)
        )
        if before is not None:
            yield _case(f"board: a storm, {number}", before, after)
        before = after


def _written() -> Iterator[dict[str, Any]]:
    """What `diff` does not make and a client understands all the same."""
    yield {
        "name": "poll: one option twice, the last one counts",
        "before": _POLL,
        "delta": {
            "topic": "poll/mvp",
            "tally": {"options": [{"place": 1, "votes": "1"}, {"place": 1, "votes": "2", "weight": "3"}]},
        },
        "after": {
            "topic": "poll/mvp",
            "cursor": _POLL["cursor"],
            "tally": {
                "options": [
                    {"optionId": "ada", "votes": "7", "weight": "9"},
                    {"optionId": "bob", "votes": "2", "weight": "3"},
                    {"optionId": "cy"},
                ]
            },
        },
    }
    yield {
        "name": "board: one is kept twice, and an empty run",
        "before": _BOARD,
        "delta": {
            "topic": "board/top",
            "cursor": [{"partition": 9, "sequence": "7"}, {"partition": 2, "sequence": "1"}],
            "board": {"entries": [{"first": 1, "count": 1}, {"first": 5}, {"first": 1, "count": 1}]},
        },
        "after": {
            "topic": "board/top",
            "cursor": {
                "positions": [
                    {"partition": 1, "sequence": "5"},
                    {"partition": 2, "sequence": "1"},
                    {"partition": 9, "sequence": "7"},
                ]
            },
            "board": {
                "entries": [{"rank": rank, "actorId": "actor-2", "points": "70"} for rank in (1, 2)],
                "season": _BOARD["board"]["season"],  # type: ignore[index]
                "previous": _BOARD["board"]["previous"],  # type: ignore[index]
            },
        },
    }


def _misfits() -> Iterator[dict[str, Any]]:
    def misfit(name: str, before: dict[str, Any], **delta: Any) -> dict[str, Any]:
        return {"name": f"misfit: {name}", "before": before, "delta": {"topic": before["topic"]} | delta}

    yield misfit("another topic", _POLL, topic="poll/other")
    yield misfit("another kind", _POLL, board={})
    yield misfit("a value where there is none", {"topic": "poll/mvp"}, audience={"viewers": "1"})
    yield misfit("an option that is not there", _POLL, tally={"options": [{"place": 3, "votes": "1"}]})
    yield misfit("a kind that is not there", _PULSE, pulse={"kinds": [{"place": 4294967295}]})
    yield misfit("an entry that is not there", _BOARD, board={"entries": [{"first": 5, "count": 1}]})
    yield misfit(
        "entries beyond all bounds", _BOARD, board={"entries": [{"first": 4294967295, "count": 4294967295}]}
    )
    runs = wire_bounds.DELTA_ENTRIES_MAX // 5
    yield misfit("too many entries", _BOARD, board={"entries": [{"count": 5}] * runs + [{"put": [{}]}]})


def _case(name: str, before: TopicState, after: TopicState) -> dict[str, Any]:
    delta = diff(before, after)
    assert delta is not None, name
    return {
        "name": name,
        "before": MessageToDict(before),
        "delta": MessageToDict(delta),
        "after": MessageToDict(after),
    }


def _positions(state: dict[str, Any]) -> list[Any]:
    return list(state["cursor"]["positions"])


def parsed(case: dict[str, Any]) -> tuple[TopicState, TopicDelta, TopicState | None]:
    """before, delta, after."""
    return (
        ParseDict(case["before"], TopicState()),
        ParseDict(case["delta"], TopicDelta()),
        ParseDict(case["after"], TopicState()) if "after" in case else None,
    )


def text() -> str:
    """Of the whole file."""
    lines = ",\n".join(json.dumps(case, ensure_ascii=False) for case in cases())
    return f"[\n{lines}\n]\n"


if __name__ == "__main__":
    PATH.write_text(text())
