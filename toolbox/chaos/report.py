"""What a run found: the live numbers, and the closing report with the keys of its JSON. Pure data."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class ChaosPlan:
    """What to run."""

    seed: int
    seconds: float
    events_per_s: float
    gray: bool = False
    """Only what lives and lies."""
    games: int = 50
    """That live and end, at a time."""


@dataclass(slots=True)
class ChaosProgress:
    """The live numbers."""

    stage: str = "starting a mesh"
    elapsed_s: float = 0.0
    sent: int = 0
    acked: int = 0
    outstanding: int = 0
    strikes: int = 0
    stalled_s: float = 0.0
    away: list[str] = field(default_factory=list)


@dataclass(slots=True)
class ChaosReport:
    """`problems` is empty when every acked event was counted once and nothing else went wrong."""

    seed: int
    seconds: float
    sent: int = 0
    acked: int = 0
    counted: int = 0
    lost: int = 0
    doubled: int = 0
    uncertain: int = 0
    """Sent, and neither acked nor refused for certain: they count once or never."""
    refused: dict[str, int] = field(default_factory=dict)
    """By code and topic."""
    shed: dict[str, int] = field(default_factory=dict)
    """By topic: what the mesh did not store because it was under pressure, and said so."""
    unacked: int = 0
    """Sent and not acked: their clients were told so, or were cut off at the end of the run."""
    kills: int = 0
    strikes: dict[str, int] = field(default_factory=dict)
    missed: int = 0
    """Strikes that found their target down, or what they need away."""
    strikes_skipped: int = 0
    """Gray strikes that could not be carried out; `skipped` says why."""
    skipped: list[str] = field(default_factory=list)
    silently_wrong: int = 0
    """Results that were not what was acked 15 s after a cause ended, and times that health said yes for 10 s
    while sends failed."""
    longest_wedge_s: float = 0.0
    """The longest that an event had no answer or a screen stood still beyond the end of its cause."""
    health: dict[str, int] = field(default_factory=dict)
    """How often GET /healthz said yes and no, and how often neither (`none`)."""
    longest_unwell_s: float = 0.0
    """The longest that it said no beyond the end of a cause."""
    forgotten: dict[str, int] = field(default_factory=dict)
    """By their kind, the single keys that were deleted in Redis."""
    sealed: int = 0
    """Polls that were closed during the run and are sealed: what was acked is in them (I9)."""
    games_ended: int = 0
    """Games that were ended while events for them were under way; their sealed results are what was acked."""
    taken_back: int = 0
    """Votes voided and scores removed in these games; none of them counts."""
    games_unseen: int = 0
    """Those that were forgotten before their results could be read."""
    games_forgotten: int = 0
    games_left: int = 0
    """Places in Redis and in the catalog that still name one of them at the end."""
    seasons: int = 0
    """Seasons that were seen whole; each acked score is in exactly one."""
    seasons_unseen: int = 0
    """Those that ended while nobody could be asked: of their boards, nothing is found lost."""
    notices_due: int = 0
    """Notices by whom they are for: sent and answered, fallen due, or fired by a rule."""
    notices_seen: int = 0
    """Those of them that stand in the inboxes at the end."""
    notices_doubled: int = 0
    """Those that came to somebody again, under another id."""
    checkpoints: int = 0
    purges: int = 0
    """How often the blocks of a partition that a checkpoint holds were purged under load."""
    rebuilds: int = 0
    first_views: int = 0
    """Viewers and readers without a cursor or position who looked first while a rebuild ran."""
    first_views_unanswered: int = 0
    fractions_shown: int = 0
    """Those that were shown less than what was acked before the rebuild began."""
    longest_stall_ms: float = 0.0
    longest_blind_ms: float = 0.0
    reads: int = 0
    """Reads and subscriptions at the positions of an ack; what they showed included the event (I6)."""
    reads_unanswered: int = 0
    """Those that ended without an answer, because what was to answer was away."""
    went_back: int = 0
    resumed: int = 0
    """Subscriptions that were cut and went on."""
    settled_after_s: float = 0.0
    """From the end of the load until everything was acked, sealed and readable."""
    crashes: dict[str, int] = field(default_factory=dict)
    """Processes that ended by themselves, and how often."""
    problems: list[str] = field(default_factory=list)

    @property
    def ok(self) -> bool:
        return not self.problems

    def as_json(self) -> dict[str, Any]:
        return {**asdict(self), "ok": self.ok}
