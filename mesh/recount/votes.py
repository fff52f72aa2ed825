"""The votes of one poll, an actor at a time, in a dictionary. Pure."""

from __future__ import annotations

from dataclasses import dataclass, field

from grandstand.catalog.v1.catalog_pb2 import Poll
from grandstand.internal.v1.internal_pb2 import TallyPartial
from mesh import limits
from mesh.recount.verdict import EventOutcome, EventVerdict, Undone


@dataclass(slots=True)
class Superseded:
    """Whose events a row's standing one replaced: the highest number of each such origin, the last few."""

    seqs: dict[int, int] = field(default_factory=dict)
    """By the origin's tag; in the order in which they were replaced."""
    forgot: bool = False
    """There were more."""

    def takes(self, had: tuple[int, int], comes: tuple[int, int], *, behind: bool) -> bool:
        """Whether an event of another origin replaces the standing one, which is then remembered. `had` and
        `comes`: (tag, number); `behind`: a later number of its own origin came before it."""
        tag, seq = comes
        if self.seqs.get(tag, 0) > seq:
            return False
        if self.forgot and tag not in self.seqs and behind:
            return False
        self.seqs.pop(tag, None)
        if had[0]:
            self.seqs[had[0]] = had[1]
        else:
            self.forgot = True
        while len(self.seqs) > limits.SUPERSEDED_ORIGINS_MAX:
            del self.seqs[next(iter(self.seqs))]
            self.forgot = True
        return True


@dataclass(slots=True)
class VoteRow:
    options: int
    """As bits; 0: the vote was voided."""
    weight: int
    guest: bool
    tag: int
    seq: int
    past: Superseded = field(default_factory=Superseded)
    fate: EventOutcome | None = None
    """Of the vote that stands, if it was counted here."""


class PollCount:
    def __init__(self, poll: Poll) -> None:
        self.poll = poll
        self.rows: dict[bytes, VoteRow] = {}
        """By the actor's key."""

    def take(self, fate: EventOutcome, *, behind: bool) -> None:
        """Judges a new vote, and counts it if it counts."""
        row = fate.row
        if not self._is_valid(row.bits):
            fate.verdict = EventVerdict.BAD_CHOICE
            return
        had = self.rows.get(row.actor_key)
        if had is None:
            past = Superseded()
        else:
            past = had.past
            fate.other = had.fate.sequence if had.fate is not None else 0
            if had.options and not self.poll.changeable:
                fate.verdict = EventVerdict.SECOND
                return
            if had.tag == row.tag:
                if had.seq > row.seq:
                    fate.verdict = EventVerdict.OLDER
                    return
            elif not past.takes((had.tag, had.seq), (row.tag, row.seq), behind=behind):
                fate.verdict = EventVerdict.OLDER
                return
            if had.options:
                fate.replaced = fate.other
                undo(had.fate, "replaced", fate)
            fate.other = 0
        self.rows[row.actor_key] = VoteRow(row.bits, row.weight, row.guest, row.tag, row.seq, past, fate)

    def _is_valid(self, bits: int) -> bool:
        return 0 < bits < 1 << len(self.poll.options) and bits.bit_count() <= (self.poll.choices_max or 1)

    def void(self, actor_key: bytes) -> EventOutcome | None:
        """The actor's vote counts no more. Returns the one that did, if it was counted here."""
        row = self.rows.get(actor_key)
        if row is None or not row.options:
            return None
        row.options, fate = 0, row.fate
        return fate

    def figures(self) -> dict[str, object]:
        return figures_of(self._partial())

    def _partial(self) -> TallyPartial:
        cast = [row for row in self.rows.values() if row.options]
        partial = TallyPartial(
            option_ids=[option.option_id for option in self.poll.options],
            voters=len(cast),
            guest_voters=sum(row.guest for row in cast),
            voided=len(self.rows) - len(cast),
        )
        for at in range(len(self.poll.options)):
            chosen = [row for row in cast if row.options >> at & 1]
            partial.votes.append(len(chosen))
            if self.poll.weight_max > 1:
                partial.weights.append(sum(row.weight for row in chosen))
            partial.guest_votes.append(sum(row.guest for row in chosen))
        return partial


def figures_of(tally: TallyPartial) -> dict[str, object]:
    """A poll's partial as figures that can be compared, by what they are called."""
    figures: dict[str, object] = {"voters": tally.voters, "voided": tally.voided}
    for at, option in enumerate(tally.option_ids):
        figures[f"votes of {option}"] = tally.votes[at]
        figures[f"weight of {option}"] = tally.weights[at] if tally.weights else 0
        figures[f"guests' votes of {option}"] = tally.guest_votes[at] if tally.guest_votes else 0
    figures["guests"] = tally.guest_voters
    return figures


def undo(fate: EventOutcome | None, how: str, by: EventOutcome) -> None:
    if fate is not None:
        fate.undone.append(Undone(how, by.sequence, by.stored_at_us))
