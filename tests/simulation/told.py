"""What happened in histories, counted: to see that they try what they are meant to."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass
class Told:
    acked: int = 0
    refused: int = 0
    uncertain: int = 0
    second_votes: int = 0
    blocks: int = 0
    resent: int = 0
    """Copies of events in the stream, beyond the first."""
    late_acks_refused: int = 0
    """Events that were stored, and whose sender was told so of none: a copy of them may be stored."""
    held: int = 0
    """Messages of clients that waited for a fresher view."""
    closings: int = 0
    """Polls and boards closed by hand."""
    seals: int = 0
    """Topics that became sealed, in a partition."""
    early_controls: int = 0
    voids: int = 0
    """Of votes, that were answered."""
    removals: int = 0
    """Of scores, that were answered."""
    corrections_refused: int = 0
    """For they came after the seal."""
    seasons: int = 0
    """Seasons that began, in a partition."""
    ends: int = 0
    """Games that ended."""
    ends_in_takeovers: int = 0
    """Of these, that ended while a partition of theirs had no owner."""
    returns: int = 0
    """Ids that were defined again after that."""
    rebuilds_of_ending: int = 0
    """Partitions that were folded again while a game of theirs had ended and its id had not returned."""
    define_races: int = 0
    spread_changes: int = 0
    clock_jumps: int = 0
    clock_stops: int = 0
    elections: int = 0
    stops: int = 0
    kills: int = 0
    cuts: int = 0
    flushes: int = 0
    takeovers: int = 0
    emptied: int = 0
    restored: int = 0
    keys_lost: int = 0
    splits: int = 0
    rebuilds: int = 0
    checkpoints: int = 0
    checkpoints_restored: int = 0
    checkpoints_deleted: int = 0
    purges: int = 0
    full: int = 0
    """Publishes that a full stream refused."""
    tails_lost: int = 0
    streams_anew: int = 0
    notices: int = 0
    """That were sent, and answered."""
    cancelled: int = 0
    repeated_calls: int = 0
    occurrences: int = 0
    """Of notices that were scheduled."""
    firings: int = 0
    takeovers_of_rules: int = 0
    inboxes: int = 0
    """That were compared with what was to be told."""
    pushes: int = 0
    reads: int = 0
    reads_with_position: int = 0
    partials: int = 0
    kinds: set[str] = field(default_factory=set)

    def __iadd__(self, other: Told) -> Told:
        for name, value in vars(other).items():
            if name == "kinds":
                self.kinds |= other.kinds
            else:
                setattr(self, name, getattr(self, name) + value)
        return self
