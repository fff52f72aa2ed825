"""Custom folds: the example end to end in the cores; what an owner's code does breaks nothing but itself."""

from __future__ import annotations

import dataclasses
import json
import sys
import tomllib
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aggregate import bounds as aggregate_bounds
from aggregate.custom import Custom, CustomFoldFailed
from aggregate.fold import FoldState
from aggregate.partition import Loaded, Partition
from bench._rows import Row
from grandstand import fold as folds
from grandstand.catalog.v1 import catalog_pb2 as catalog
from grandstand.fold import CustomEvent
from grandstand.internal.v1.internal_pb2 import CustomPartial, Partial
from grandstand.wire import bounds as wire_bounds
from mesh.merge import TopicMerge
from mesh.merge.custom import merge_custom
from tests.support import blocks
from tests.support.folding import (
    NOW_S,
    NOW_US,
    Blocked,
    Store,
    Told,
    assert_same,
    check_stores,
    folded,
    rows_of,
    split,
)
from tests.support.partitions import Kept, fold, partials_of, set_aside
from toolbox.local.provision import checkout

EXAMPLE = checkout() / "examples" / "custom_fold"
MESSAGES = [
    "what a goal",
    "GOAL goal!",
    "the referee",
    "ça va, Zoë?",
    "no",
    "",
    "x" * 400,
    "\n\t",
    "goal 2:0",
]


def register(path: Path, name: str, points: str) -> None:
    """Makes `path` look like what pip installs: a dist-info with entry points beside the modules."""
    info = path / f"{name}-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(points)


@pytest.fixture(autouse=True)
def looked_up_anew() -> Iterator[None]:
    """Entry points are looked up once in a process; each test here is one of its own."""
    for cached in (folds.names, folds.find):
        cached.cache_clear()
    yield
    for cached in (folds.names, folds.find):
        cached.cache_clear()


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """The example's own module and the entry points of its own pyproject."""
    project = tomllib.loads((EXAMPLE / "pyproject.toml").read_text())["project"]
    points = project["entry-points"][folds.GROUP]
    path = tmp_path_factory.mktemp("site")
    register(
        path,
        "word-cloud",
        f"[{folds.GROUP}]\n" + "".join(f"{name} = {value}\n" for name, value in points.items()),
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(path)
        patch.syspath_prepend(EXAMPLE)
        yield
    sys.modules.pop("word_cloud", None)


def words(state: FoldState) -> Custom:
    definition = catalog.CustomTopic(custom_id="chat", fold="words", config=b'{"ignore": ["the"]}')
    return Custom.from_state(definition, state)


CHATS = st.builds(
    Told,
    actor=st.sampled_from("abcdefgh"),
    payload=st.one_of(st.sampled_from(MESSAGES).map(str.encode), st.binary(max_size=30)),
)
HISTORIES = st.lists(st.lists(CHATS, min_size=1, max_size=6), max_size=8).map(
    lambda history: [Blocked(NOW_US + i, tuple(events)) for i, events in enumerate(history)]
)


def naive(history: list[Blocked]) -> list[list[object]]:
    counts: Counter[str] = Counter()
    for block in history:
        for event in block.events:
            text = event.payload.decode(errors="replace").lower()
            found = "".join(c if c.isalpha() else " " for c in text).split()
            counts.update(w for w in found if len(w) >= 3 and len(w.encode()) <= 20 and w != "the")
    return [[word, n] for word, n in sorted(counts.items(), key=lambda item: (-item[1], item[0]))[:20]]


@pytest.mark.usefixtures("installed")
def test_the_example_is_found_by_its_entry_point() -> None:
    assert "words" in folds.names()
    assert folds.find("words") is not None
    assert folds.find("nothing") is None


@pytest.mark.usefixtures("installed")
@given(HISTORIES, st.integers(1, 4))
def test_the_example_counts_as_a_naive_count_however_actors_are_split(
    history: list[Blocked], shares: int
) -> None:
    partials = [folded(words, share).partial() for share in split(history, shares)] or [
        words(FoldState()).partial()
    ]
    merged = merge_custom(partials)
    assert merged is not None
    assert merged.fold == "words"
    assert json.loads(merged.value or b"[]") == naive(history)


@pytest.mark.usefixtures("installed")
@given(HISTORIES, st.sets(st.integers(0, 7)), st.integers(0, 8))
def test_stored_state_and_later_changes_are_the_custom_fold(
    history: list[Blocked], flushed_after: set[int], taken_at: int
) -> None:
    check_stores(words, history, flushed_after, taken_at)


@pytest.mark.usefixtures("installed")
def test_the_example_stays_within_its_bounds() -> None:
    letters = "abcdefghij"
    every = [f"ö{a}{b}{c}é{'w' * 13}" for a in letters for b in letters for c in letters]
    history = [Blocked(NOW_US, tuple(Told("a", payload=word.encode()) for word in every))]
    fold = folded(words, history * 3)
    assert len(fold.partial().value) <= wire_bounds.CUSTOM_VALUE_BYTES_MAX


class Sums:
    """Adds up numbers, and does what some payloads tell it to."""

    def __init__(self, config: bytes, state: bytes) -> None:
        if config == b"cannot be made":
            raise RuntimeError("not today")
        self.total = int(state or b"0")
        self.padding = 0
        self.kind: Callable[[bytes], object] = bytes

    def fold(self, events: Sequence[CustomEvent]) -> None:
        for event in events:
            match event.payload:
                case b"raise":
                    raise KeyError("no such word")
                case b"exit":
                    raise SystemExit(3)
                case b"unprintable":
                    raise Unprintable
                case b"text":
                    self.kind = bytes.decode
                case b"large state":
                    self.padding = aggregate_bounds.CUSTOM_STATE_BYTES_MAX + 1
                case b"large value":
                    self.padding = wire_bounds.CUSTOM_VALUE_BYTES_MAX + 1
                case _:
                    self.total += int(event.payload)

    def state(self) -> bytes:
        return str(self.total).encode().rjust(self.padding, b"0")

    def value(self) -> bytes:
        return self.kind(self.state())  # type: ignore[return-value]

    @staticmethod
    def merge(values: Sequence[bytes]) -> bytes:
        return str(sum(map(int, values))).encode()


class Unprintable(Exception):
    def __str__(self) -> str:
        raise RuntimeError("not even that")


class Unmergeable(Sums):
    @staticmethod
    def merge(values: Sequence[bytes]) -> bytes:
        raise ValueError("never")


class Endless(Sums):
    @staticmethod
    def merge(values: Sequence[bytes]) -> bytes:
        return b"x" * (wire_bounds.CUSTOM_VALUE_BYTES_MAX + 1)


class Halfway:
    def __init__(self, config: bytes, state: bytes) -> None: ...

    def fold(self, events: Sequence[CustomEvent]) -> None: ...


@pytest.fixture
def owners(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    names = {
        "sums": "Sums",
        "unmergeable": "Unmergeable",
        "endless": "Endless",
        "halfway": "Halfway",
        "gone": "Gone",
    }
    register(
        tmp_path,
        "owner",
        f"[{folds.GROUP}]\n" + "".join(f"{n} = {__name__}:{c}\n" for n, c in names.items()),
    )
    monkeypatch.syspath_prepend(tmp_path)


@pytest.mark.usefixtures("owners")
def test_only_folds_that_can_be_loaded_have_a_name() -> None:
    assert folds.names() >= {"sums", "unmergeable", "endless"}
    assert not folds.names() & {"halfway", "gone"}


def sums(state: FoldState, fold: str = "sums", config: bytes = b"") -> Custom:
    return Custom.from_state(catalog.CustomTopic(custom_id="x", fold=fold, config=config), state)


def told(*payloads: bytes) -> Blocked:
    return Blocked(NOW_US, tuple(Told("a", payload=payload) for payload in payloads))


FAILURES = {
    b"raise": "KeyError: 'no such word'",
    b"exit": "SystemExit: 3",
    b"unprintable": "Unprintable",
    b"not a number": "invalid literal",
    b"text": "value() gave str; bytes are needed",
    b"large state": "state() gave 262145 bytes; at most 262144 are allowed",
    b"large value": "value() gave 16385 bytes; at most 16384 are allowed",
}


@pytest.mark.usefixtures("owners")
@pytest.mark.parametrize("payload", FAILURES, ids=bytes.decode)
def test_rows_a_fold_fails_on_change_nothing_and_later_ones_count(
    payload: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    fold = folded(sums, [told(b"1", b"2")])
    fold.delta()
    with pytest.raises(CustomFoldFailed, match="custom fold 'sums': ") as failed:
        fold.fold(rows_of(told(b"30", payload)))
    assert FAILURES[payload] in failed.value.reason
    assert "sums" in caplog.text
    assert fold.failures == 1
    assert fold.delta() == []
    assert_same(fold, folded(sums, [told(b"1", b"2")]))
    assert fold.fold(rows_of(told(b"4")))
    assert fold.partial().value == b"7"


@pytest.mark.usefixtures("owners")
def test_a_takeover_after_a_failure_goes_on_from_the_same_state() -> None:
    fold, store = folded(sums, [told(b"1")]), Store()
    for payload in (b"raise", b"large state"):
        with pytest.raises(CustomFoldFailed):
            fold.fold(rows_of(told(payload)))
    store.apply(fold.delta())
    taker = sums(store.state())
    assert_same(taker, fold)
    taker.fold(rows_of(told(b"2")))
    fold.fold(rows_of(told(b"2")))
    assert_same(taker, fold)


@pytest.mark.usefixtures("owners")
@pytest.mark.parametrize(
    ("fold", "config", "reason"),
    [
        ("unheard", b"", "is not installed in this worker, or"),
        ("gone", b"", "or cannot be loaded"),
        ("halfway", b"", "or cannot be loaded"),
        ("sums", b"cannot be made", "RuntimeError: not today"),
    ],
)
def test_a_fold_that_cannot_run_here_fails_on_every_row_and_keeps_what_is_stored(
    fold: str, config: bytes, reason: str
) -> None:
    store = Store()
    store.apply(folded(sums, [told(b"8")]).delta())
    crippled = sums(store.state(), fold, config)
    for _ in range(2):
        with pytest.raises(CustomFoldFailed, match=reason):
            crippled.fold(rows_of(told(b"1")))
    assert crippled.partial() == CustomPartial(fold=fold, value=b"8")
    assert sums(store.state()).encode() == crippled.encode()


@pytest.mark.usefixtures("owners")
@pytest.mark.parametrize("fold", ["unheard", "gone", "halfway", "unmergeable", "endless"])
def test_a_gateway_that_cannot_merge_shows_no_value_and_goes_on(fold: str) -> None:
    merge = TopicMerge("custom/x")
    merge.offer(Partial(sequence=1, custom=CustomPartial(fold=fold, value=b"1")))
    state = merge.state(NOW_S)
    assert state.WhichOneof("value") is None
    assert state.cursor.positions[0].sequence == 1


@pytest.mark.usefixtures("owners")
def test_shares_without_a_value_are_left_out() -> None:
    empty = sums(FoldState()).partial()
    three = folded(sums, [told(b"3")]).partial()
    merged = merge_custom([empty, three, empty, three])
    assert merged is not None
    assert merged.value == b"6"
    assert merge_custom([empty]) is not None


def test_from_blocks_to_what_viewers_see(installed: None, owners: None) -> None:
    """Two partitions of one game, the example and an owner's failing fold in each: what one block
    breaks is a dead letter of that section alone, and so is a resend of it while nothing is mended."""
    chat = catalog.CustomTopic(custom_id="chat", fold="words")
    game = blocks.game(customs=[chat, catalog.CustomTopic(custom_id="sum", fold="sums")])
    shown = {topic: TopicMerge(topic) for topic in ("custom/chat", "custom/sum")}
    for index, message in enumerate((b"what a goal", b"goal goal")):
        partition = Partition(index, Loaded())
        origins = [blocks.origin(100 * index + i) for i in range(3)]
        say = blocks.row("custom/chat", "ann", origins[0], 1, payload=message)
        breaks = blocks.row("custom/sum", "bob", origins[1], 1, payload=b"raise")
        adds = blocks.row("custom/sum", "bob", origins[1], 2, payload=b"20")
        stream = [
            blocks.game_control(game),
            blocks.block([say, breaks]),
            blocks.block([say, adds]),
            blocks.block([breaks]),
        ]
        letters = [partition.fold(i, block.SerializeToString()) for i, block in enumerate(stream, 1)]
        assert [len(each) for each in letters] == [0, 1, 0, 1]
        assert "custom fold 'sums': KeyError: 'no such word'" in letters[1][0].reason
        flush = partition.take_flush()
        assert flush is not None
        for partial in partials_of(flush):
            if partial.topic in shown:
                shown[partial.topic].offer(partial)
    words_shown = shown["custom/chat"].state(NOW_S).custom
    assert json.loads(words_shown.value) == [["goal", 3], ["what", 1]]
    assert shown["custom/sum"].state(NOW_S).custom.value == b"40"


@pytest.mark.usefixtures("owners")
@pytest.mark.parametrize("producer", [False, True])
def test_what_a_fold_failed_on_counts_once_when_it_is_sent_again_after_mending(
    producer: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And what else its origin sent, before and after, is not counted again."""
    game = blocks.game(customs=[catalog.CustomTopic(custom_id="sum", fold="sums")])
    origin_id = blocks.origin(1, producer=producer)

    def add(number: int, payload: bytes) -> Row:
        return blocks.row("custom/sum", "bob", origin_id, number, payload=payload)

    def react(number: int) -> Row:
        return blocks.reaction("fire", 1, origin_id, number)

    partition = Partition(0, Loaded())
    failed = [react(3), add(2, b"20"), add(4, b"7"), add(5, b"raise"), add(1, b"1")]
    shown = fold(partition, blocks.game_control(game), blocks.block([add(1, b"1")]))
    assert shown["custom/sum"].custom.value == b"1"
    (letter,) = set_aside(partition, blocks.block(failed))
    assert "KeyError" in letter.reason
    assert fold(partition, blocks.block([react(6)]))["pulse/cheer"].pulse.totals == [2]
    mended = Sums.fold

    def mend(self: Sums, events: Sequence[CustomEvent]) -> None:
        mended(self, [dataclasses.replace(e, payload=b"300") if e.payload == b"raise" else e for e in events])

    monkeypatch.setattr(Sums, "fold", mend)
    for again in range(2):
        shown = fold(partition, blocks.block(failed))
        assert again or shown["custom/sum"].custom.value == b"328"
        assert not again or shown == {}


@pytest.mark.usefixtures("owners")
def test_windows_that_were_given_back_are_stored_so() -> None:
    game = blocks.game(customs=[catalog.CustomTopic(custom_id="sum", fold="sums")])
    partition, kept = Partition(0, Loaded()), Kept()
    stream = [blocks.game_control(game)]
    for number, payload in ((1, b"5"), (2, b"raise")):
        row = blocks.row("custom/sum", "bob", blocks.origin(1), number, payload=payload)
        stream.append(blocks.block([row]))
    for block in stream:
        partition.fold(partition.folded + 1, block.SerializeToString())
        flush = partition.take_flush()
        assert flush is not None
        kept.apply(flush)
    taker = Partition(0, kept.loaded())
    row = blocks.row("custom/sum", "bob", blocks.origin(1), 2, payload=b"30")
    assert fold(taker, blocks.block([row]))["custom/sum"].custom.value.endswith(b"30")
    assert fold(taker, blocks.block([row])) == {}
