"""Polls count one vote an actor: single, multiple, changeable, weighted, voided, against a naive count."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from struct import unpack

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from aggregate.keyindex import key_columns
from aggregate.option_counts import with_guests
from aggregate.tally import Tallies
from aggregate.vote_cells import GUEST, FewVotes
from grandstand.catalog.v1.catalog_pb2 import Poll
from grandstand.internal.v1.internal_pb2 import TallyPartial
from grandstand.wire import ids
from mesh import limits
from mesh.merge.tally import merge_tally
from tests.support import blocks
from tests.support.blocks import GAME

POLLS = [
    blocks.poll("final", "abc"),
    blocks.poll("changeable", "abcd", changeable=True),
    blocks.poll("several", "abcde", changeable=True, choices_max=3),
    blocks.poll("weighted", "ab", weight_max=9),
    blocks.poll("heavy", "abc", weight_max=9, changeable=True, choices_max=2),
    blocks.poll("wide", [f"o{n}" for n in range(64)], choices_max=64),
]


@dataclass(frozen=True)
class Cast:
    poll: int
    actor: int
    options: int
    weight: int
    origin: int
    sequence: int
    guest: bool = False


@dataclass(frozen=True)
class Void:
    """A control between blocks of votes."""

    poll: int
    actor: int


Step = Sequence[Cast] | Void

CASTS = st.builds(
    Cast,
    poll=st.integers(0, len(POLLS) - 1),
    actor=st.integers(0, 7),
    options=st.one_of(st.integers(0, 40), st.integers(0, 2**64 - 1), st.just(1 << 63)),
    weight=st.integers(1, 9),
    origin=st.integers(1, limits.SUPERSEDED_ORIGINS_MAX + 1),
    sequence=st.integers(1, 30),
    guest=st.booleans(),
)
VOIDS = st.builds(Void, poll=st.integers(0, len(POLLS) - 1), actor=st.integers(0, 7))
BLOCKS = st.lists(CASTS, max_size=25) | VOIDS
STREAM = st.lists(BLOCKS, max_size=8)


@dataclass
class Oracle:
    """Who voted what, in a dict for each poll; counted from scratch when asked."""

    casts: list[dict[int, Cast]] = field(default_factory=lambda: [{} for _ in POLLS])
    highest: dict[tuple[int, int, int], int] = field(default_factory=dict)
    """By poll, actor and origin: what has set the actor's vote."""
    voided: list[set[int]] = field(default_factory=lambda: [set() for _ in POLLS])
    """Whose vote was voided and who has not voted since."""

    def fold(self, step: Step) -> None:
        if isinstance(step, Void):
            if self.casts[step.poll].pop(step.actor, None):
                self.voided[step.poll].add(step.actor)
            return
        for vote in step:
            self._cast(vote)

    def _cast(self, vote: Cast) -> None:
        poll, casts = POLLS[vote.poll], self.casts[vote.poll]
        count = vote.options.bit_count()
        if not 1 <= count <= (poll.choices_max or 1) or vote.options >> len(poll.options):
            return
        if vote.actor in casts and not poll.changeable:
            return
        own = vote.poll, vote.actor, vote.origin
        if self.highest.get(own, 0) > vote.sequence:
            return
        self.highest[own] = vote.sequence
        casts[vote.actor] = vote
        self.voided[vote.poll].discard(vote.actor)

    def guests(self, poll: int) -> tuple[list[int], int]:
        options = range(len(POLLS[poll].options))
        theirs = [cast for cast in self.casts[poll].values() if cast.guest]
        return [sum(cast.options >> o & 1 for cast in theirs) for o in options] if theirs else [], len(theirs)

    def votes(self, poll: int) -> tuple[list[int], list[int], int]:
        options = range(len(POLLS[poll].options))
        chosen = [[c for c in self.casts[poll].values() if c.options >> o & 1] for o in options]
        return [len(c) for c in chosen], [sum(v.weight for v in c) for c in chosen], len(self.casts[poll])


def opened(salt: int = 0, polls: list[Poll] = POLLS) -> Tallies:
    tallies = Tallies(salt)
    for poll in polls:
        tallies.open(GAME, f"poll/{poll.poll_id}", poll)
    return tallies


def rows(numbers: Sequence[int], votes: Sequence[Cast]) -> FewVotes:
    """As `fold_few` takes them."""
    return FewVotes(
        numbers,
        [unpack("<QQ", ids.actor_key(str(vote.actor))) for vote in votes],
        [vote.options for vote in votes],
        [vote.weight | (GUEST if vote.guest else 0) for vote in votes],
        [vote.origin for vote in votes],
        [vote.sequence for vote in votes],
    )


def fold(tallies: Tallies, votes: Step) -> set[str]:
    """By either way, as the votes have it, so that one table knows both."""
    if isinstance(votes, Void):
        topic = f"poll/{POLLS[votes.poll].poll_id}"
        number = tallies.number(GAME, topic)
        return {topic} if tallies.void(number, ids.actor_key(str(votes.actor))) else set()
    if not votes:
        return set()
    numbers = [tallies.number(GAME, f"poll/{POLLS[vote.poll].poll_id}") for vote in votes]
    if (
        sum(vote.sequence for vote in votes) % 2
        and (few := tallies.fold_few(rows(numbers, votes))) is not None
    ):
        return {tallies.name(number)[1] for number in few}
    changed = tallies.fold(
        np.array(numbers, dtype=np.int64),
        key_columns(b"".join(ids.actor_key(str(vote.actor)) for vote in votes)),
        np.array([vote.options for vote in votes], dtype=np.uint64),
        with_guests(
            np.array([vote.weight for vote in votes], dtype=np.uint32),
            np.array([vote.guest for vote in votes]),
        ),
        np.array([vote.origin for vote in votes], dtype=np.uint64),
        np.array([vote.sequence for vote in votes], dtype=np.uint64),
        np.zeros(len(votes), dtype=np.uint64),
    )
    return {tallies.name(number)[1] for number in changed}


Count = tuple[list[int], list[int], int, list[int], int, int]


def share_of(tallies: Tallies, topic: str) -> TallyPartial:
    return TallyPartial.FromString(tallies.partial((GAME, topic)))


def counted(tallies: Tallies, poll: int) -> Count:
    partial = share_of(tallies, f"poll/{POLLS[poll].poll_id}")
    votes = list(partial.votes)
    weights = list(partial.weights) or votes
    guests = list(partial.guest_votes), partial.guest_voters
    return votes, weights, partial.voters, *guests, partial.voided


def expected(oracle: Oracle, poll: int) -> Count:
    votes, weights, voters = oracle.votes(poll)
    weights = weights if POLLS[poll].weight_max else votes
    return votes, weights, voters, *oracle.guests(poll), len(oracle.voided[poll])


@given(STREAM, st.integers(0, 2**64 - 1))
def test_votes_are_counted_as_one_by_one(stream: list[Step], salt: int) -> None:
    tallies, oracle = opened(salt), Oracle()
    for votes in stream:
        before = [expected(oracle, poll) for poll in range(len(POLLS))]
        changed = fold(tallies, votes)
        oracle.fold(votes)
        for poll, definition in enumerate(POLLS):
            assert counted(tallies, poll) == expected(oracle, poll)
            if counted(tallies, poll) != before[poll]:
                assert f"poll/{definition.poll_id}" in changed


@given(STREAM, st.integers(0, 6))
def test_a_table_read_back_goes_on_as_the_table_itself(stream: list[Step], whole_at: int) -> None:
    tallies = opened()
    log = b""
    for at, votes in enumerate(stream):
        fold(tallies, votes)
        log = tallies.encode() if at == whole_at else log + tallies.delta()
    read_back = opened(salt=5)
    read_back.load(log)
    for each in (tallies, read_back):
        for votes in stream:
            fold(each, votes if isinstance(votes, Void) else votes[::-1])
    assert [counted(read_back, p) for p in range(len(POLLS))] == [
        counted(tallies, p) for p in range(len(POLLS))
    ]


@given(STREAM, st.integers(1, 4))
def test_the_merge_of_all_shares_is_one_fold_of_all(stream: list[Step], shares: int) -> None:
    whole, parts = opened(), [opened(salt) for salt in range(shares)]
    for votes in stream:
        fold(whole, votes)
        for share, part in enumerate(parts):
            if not isinstance(votes, Void):
                fold(part, [vote for vote in votes if vote.actor % shares == share])
            elif votes.actor % shares == share:
                fold(part, votes)
    for definition in POLLS:
        topic = f"poll/{definition.poll_id}"
        merged = merge_tally(share_of(part, topic) for part in parts)
        assert merged == merge_tally([share_of(whole, topic)])


@given(STREAM, st.integers(0, len(POLLS) - 1), st.integers(0, 5))
def test_sealing_one_poll_leaves_the_others_as_they_are(
    stream: list[Step], sealed: int, sealed_at: int
) -> None:
    topic = f"poll/{POLLS[sealed].poll_id}"
    tallies, oracle = opened(), Oracle()
    log = b""
    for at, votes in enumerate(stream):
        if at == sealed_at:
            tallies.seal(GAME, topic)
            tallies._compact()
        if at >= sealed_at:
            if isinstance(votes, Void) and votes.poll == sealed:
                continue
            if not isinstance(votes, Void):
                votes = [vote for vote in votes if vote.poll != sealed]
        fold(tallies, votes)
        oracle.fold(votes)
        log += tallies.delta()
    for each in (tallies, opened(polls=[p for at, p in enumerate(POLLS) if at != sealed])):
        if each is not tallies:
            each.load(log)
        for poll in range(len(POLLS)):
            if poll != sealed:
                assert counted(each, poll) == expected(oracle, poll)
    if len(stream) > sealed_at:
        assert tallies.number(GAME, topic) == -1


def test_what_is_sealed_is_taken_out_of_the_table_in_the_end() -> None:
    tallies = Tallies()
    for n in range(700):
        topic = f"poll/p{n}"
        number = tallies.open(GAME, topic, blocks.poll(f"p{n}"))
        actors = b"".join(ids.actor_key(f"{n}-{actor}") for actor in range(40))
        ones = np.ones(40, dtype=np.uint64)
        tallies.fold(np.full(40, number), key_columns(actors), ones, None, ones, ones, ones)
        assert share_of(tallies, tallies.name(number)[1]).voters == 40
        tallies.seal(GAME, topic)
    assert len(tallies) < 10_000
    assert tallies.encoded_bytes == 0 or len(tallies.encode()) < 48 * 10_000


def test_who_has_voted_is_known_by_poll() -> None:
    tallies = opened()
    fold(tallies, [Cast(0, 3, 1, 1, 0, 1)])
    asked = ids.actor_key("3") + ids.actor_key("4")
    for times in (1, 100):
        found = tallies.voted(tallies.number(GAME, "poll/final"), asked * times)
        assert found == bytes([1, 0] * times)
    assert tallies.voted(tallies.number(GAME, "poll/changeable"), asked) == bytes(2)


def test_a_voided_vote_counts_no_more_and_the_next_one_does_even_in_a_final_poll() -> None:
    tallies = opened()
    fold(tallies, [Cast(3, 1, 1, 5, 1, 7, guest=True), Cast(3, 2, 2, 4, 2, 1)])
    assert counted(tallies, 3) == ([1, 1], [5, 4], 2, [1, 0], 1, 0)
    assert fold(tallies, Void(3, 1)) == {"poll/weighted"}
    assert fold(tallies, Void(3, 1)) == fold(tallies, Void(3, 9)) == set(), "void already, and never voted"
    assert counted(tallies, 3) == ([0, 1], [0, 4], 1, [], 0, 1)
    voted = tallies.voted(tallies.number(GAME, "poll/weighted"), ids.actor_key("1") + ids.actor_key("2"))
    assert voted == bytes([0, 1])
    # An older vote of the same origin, stored late, was voided with the newer one.
    fold(tallies, [Cast(3, 1, 2, 9, 1, 6)])
    assert counted(tallies, 3) == ([0, 1], [0, 4], 1, [], 0, 1)
    # Of the next ones in one block the first that is newer counts, and is final again.
    fold(tallies, [Cast(3, 1, 2, 9, 1, 5), Cast(3, 1, 2, 3, 1, 8), Cast(3, 1, 1, 2, 1, 9)])
    assert counted(tallies, 3) == ([0, 2], [0, 7], 2, [], 0, 0)
