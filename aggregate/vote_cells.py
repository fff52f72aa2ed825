"""A few votes at a time: the columns of aggregate.tally's table, cell by cell in plain Python. Pure.

A block with a handful of votes, as thousands of quiet games make them, pays for forty numpy calls what a
hundred votes cost in them; so few votes are judged, counted and encoded one by one. Both ways do the same to
the same columns, and encode the same bytes. What is rare is left to numpy: `judged` then answers None.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from struct import pack

from aggregate.keyindex import KeyIndex
from grandstand.internal.v1.internal_pb2 import VoteRows

Vote = tuple[int, int, int, int, int, int, int]
"""The poll's number, both halves of the actor's key, options, weight, the origin's tag, origin_seq: what
Tallies.fold has in columns."""
Taken = tuple[int, Vote, tuple[int, int]]
"""A vote that counts: its row, -1 for a new one, and the row's key."""

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

    def judged(self, index: KeyIndex, votes: Sequence[Vote]) -> list[Taken] | None:
        """Those that count. None: there is an actor's second vote of one block, a vote after a voided one, or
        one of another origin than the one before."""
        taken: list[Taken] = []
        keys: set[tuple[int, int]] = set()
        for vote in votes:
            number, low, high, options, _, tag, sequence = vote
            if not options or options & ~self.allowed[number] or options.bit_count() > self.choices[number]:
                continue
            key = low ^ self.key_low[number], high ^ self.key_high[number]
            row = index.find_one(*key)
            if key in keys:
                return None
            keys.add(key)
            if row >= 0:
                if not self.options[row]:
                    return None
                if not self.changeable[number]:
                    continue
                if self.tag[row] != tag:
                    return None
                if self.sequence[row] > sequence:
                    continue
            taken.append((row, vote, key))
        return taken

    def put(self, row: int, vote: Vote, is_new: bool) -> None:
        """Takes the vote into its row and counts it."""
        number, _, _, options, weight, self.tag[row], self.sequence[row] = vote
        if is_new:
            self.topic[row] = number
            self.voters[number] += 1
        else:
            self._count(number, self.options[row], self.weight[row], -1)
        self.options[row], self.weight[row] = options, weight
        self._count(number, options, weight, 1)

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

    def encoded(self, rows: Sequence[int], index: KeyIndex, names: Sequence[str]) -> VoteRows:
        """The rows as Tallies encodes them; none of them may remember whom it replaced. `names`: of
        polls in the log, by number."""
        count = len(rows)
        topic = [self.topic[row] for row in rows]
        numbers = {number: at for at, number in enumerate(sorted(set(topic)))}
        halves: list[int] = []
        for row, number in zip(rows, topic, strict=True):
            low, high = index.key_of(row)
            halves += (low ^ self.key_low[number], high ^ self.key_high[number])
        return VoteRows(
            topics="\n".join([names[number] for number in numbers]),
            topic=pack(f"<{count}I", *[numbers[number] for number in topic]),
            actor=pack(f"<{2 * count}Q", *halves),
            options=pack(f"<{count}Q", *[self.options[row] for row in rows]),
            weight=pack(f"<{count}I", *[self.weight[row] for row in rows]),
            origin_tag=pack(f"<{count}Q", *[self.tag[row] for row in rows]),
            origin_seq=pack(f"<{count}Q", *[self.sequence[row] for row in rows]),
        )


def of_generation(topic: str, generation: int) -> str:
    """As it always was in a game without a generation."""
    return f"{topic}#{generation}" if generation else topic


def logged_as(game_id: str, topic: str, generation: int) -> str:
    """How the log of votes names a poll."""
    return f"{game_id}/{of_generation(topic, generation)}"
