"""A few votes at a time: the columns of aggregate.tally's table, cell by cell in plain Python. Pure.

A block with a handful of votes, as thousands of quiet games make them, pays for forty numpy calls what a
hundred votes cost in them; so few votes are judged and counted one by one, and each block is encoded as a
piece of the log. Both ways do the same to the same columns, and their logs say the same rows. What is rare is
left to numpy: `judged` then answers None.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain
from struct import pack
from typing import NamedTuple

from aggregate.keyindex import KeyIndex
from grandstand.internal.v1.internal_pb2 import VoteLog, VoteRows


class FewVotes(NamedTuple):
    """What Tallies.fold has in columns, as numbers."""

    number: Sequence[int]
    """The poll's."""
    actor: Sequence[tuple[int, int]]
    """Both halves of the key."""
    options: Sequence[int]
    weight: Sequence[int]
    tag: Sequence[int]
    """The origin's."""
    sequence: Sequence[int]

    def some(self, places: Sequence[int]) -> FewVotes:
        """Those at these places."""
        actor = [self.actor[at] for at in places]
        number, options, weight, tag, sequence = (
            [column[at] for at in places]
            for column in (self.number, self.options, self.weight, self.tag, self.sequence)
        )
        return FewVotes(number, actor, options, weight, tag, sequence)


Taken = tuple[int, int, int, tuple[int, int]]
"""A vote that counts: its place among the votes; its row, -1 for a new one; and the row's key: where that is
in the index, and its halves."""

GUEST = 1 << 31
"""In a weight: the vote is a guest's."""

Column = memoryview


@dataclass(frozen=True, slots=True)
class VoteCells:
    """Views of the columns of a Tallies; void once those are replaced."""

    topic: Column
    options: Column
    weight: Column
    tag: Column
    sequence: Column
    # By poll.
    key_low: Column
    key_high: Column
    allowed: Column
    choices: Column
    changeable: Column
    voters: Column
    voided: Column
    first: Column
    guest_voters: Column
    # By option of a poll.
    votes: Column
    weights: Column
    guest_votes: Column

    def judged(self, index: KeyIndex, votes: FewVotes) -> list[Taken] | None:
        """Those that count. None: there is an actor's second vote of one block, a vote after a voided one, or
        one of another origin than the one before."""
        taken: list[Taken] = []
        keys: set[tuple[int, int]] = set()
        allowed, choices, slots, slot_of = self.allowed, self.choices, index.slots, index.slot_of
        key_low, key_high = self.key_low, self.key_high
        for place, (number, (low, high), options) in enumerate(
            zip(votes.number, votes.actor, votes.options, strict=True)
        ):
            if not options or options & ~allowed[number]:
                continue
            if options & (options - 1) and options.bit_count() > choices[number]:
                continue
            key = low, high = low ^ key_low[number], high ^ key_high[number]
            if key in keys:
                return None
            keys.add(key)
            at = slot_of(low, high)
            row = slots[at] - 1
            if row >= 0:
                if not self.options[row]:
                    return None
                if not self.changeable[number]:
                    continue
                if self.tag[row] != votes.tag[place]:
                    return None
                if self.sequence[row] > votes.sequence[place]:
                    continue
            taken.append((place, row, at, key))
        return taken

    def take(self, index: KeyIndex, votes: FewVotes, taken: Sequence[Taken]) -> None:
        """Takes them into their rows and counts them. `index` has room for all of them."""
        add_at, counts = index.add_at, self._count
        numbers, _, chosen, weights, tags, sequences = votes
        for place, row, at, key in taken:
            number, options, weight = numbers[place], chosen[place], weights[place]
            if row < 0:
                row = add_at(at, *key)
                self.topic[row] = number
                self.voters[number] += 1
            else:
                counts(number, self.options[row], self.weight[row], -1)
            self.options[row], self.weight[row] = options, weight
            self.tag[row], self.sequence[row] = tags[place], sequences[place]
            if options & (options - 1) or weight & GUEST:
                counts(number, options, weight, 1)
            else:
                option = self.first[number] + options.bit_length() - 1
                self.votes[option] += 1
                self.weights[option] += weight

    def _count(self, number: int, options: int, weight: int, sign: int) -> None:
        place, is_guest = self.first[number], weight & GUEST
        weight = sign * (weight & ~GUEST)
        if is_guest:
            self.guest_voters[number] += sign
        while options:
            at = place + options.bit_length() - 1
            options ^= 1 << at - place
            self.votes[at] += sign
            self.weights[at] += weight
            if is_guest:
                self.guest_votes[at] += sign


def logged(votes: FewVotes, names: Sequence[str]) -> bytes:
    """A piece of the log that says these votes. `names`: of polls in the log, by number."""
    count = len(votes.number)
    places: dict[int, int] = {}
    topic = [places.setdefault(number, len(places)) for number in votes.number]
    wide = f"<{count}Q"
    rows = VoteRows(
        topics="\n".join([names[number] for number in places]),
        topic=pack(f"<{count}I", *topic),
        actor=pack(f"<{2 * count}Q", *chain.from_iterable(votes.actor)),
        options=pack(wide, *votes.options),
        weight=pack(f"<{count}I", *votes.weight),
        origin_tag=pack(wide, *votes.tag),
        origin_seq=pack(wide, *votes.sequence),
    )
    return VoteLog(rows=[rows]).SerializeToString()


def of_generation(topic: str, generation: int) -> str:
    """As it always was in a game without a generation."""
    return f"{topic}#{generation}" if generation else topic


def logged_as(game_id: str, topic: str, generation: int) -> str:
    """How the log of votes names a poll."""
    return f"{game_id}/{of_generation(topic, generation)}"
