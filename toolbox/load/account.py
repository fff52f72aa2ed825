"""A simulation's plan, its live numbers and its closing account. Pure data."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field


@dataclass(frozen=True, slots=True)
class LoadPlan:
    """What to run. `reactions` and `scores` are shares of the votes' rate."""

    edge: str
    mesh: str
    game_id: str
    viewers: int
    rate: float
    seconds: float
    reactions: float = 0.1
    scores: float = 0.1
    seed: int = 0
    # A poll that is open, with the options of `simulate.OPTIONS`, to vote in. Others vote in it too, so
    # whoever opened it proves its count. Empty: a poll of the run's own.
    poll_id: str = ""


@dataclass(slots=True)
class LoadProgress:
    """The live numbers."""

    elapsed_s: float = 0.0
    sent: int = 0
    acked: int = 0
    refused: int = 0
    seen: int = 0
    connected: int = 0
    resumed: int = 0
    p50_ms: float | None = None
    p99_ms: float | None = None
    stage: str = "opening"


@dataclass(slots=True)
class Summary:
    """The closing account; `problems` is empty when everything acked was counted once."""

    game: str
    poll: str
    viewers: int
    rate: float
    seconds: float
    sent: int = 0
    acked: int = 0
    counted: int | None = None
    lost: int = 0
    doubled: int = 0
    refused: dict[str, int] = field(default_factory=dict)
    shed: int = 0
    """Events of all kinds."""
    maybe_stored: int = 0
    """Votes that were refused although an earlier copy may be stored."""
    unsettled: int = 0
    """Votes whose sessions were given up before they were settled."""
    unacked: int = 0
    """Votes sent and not acked."""
    unacked_counted: int | None = None
    """How many of those count all the same, once each."""
    unacked_reported: int = 0
    """How many of those their sender was told of as not acked."""
    held_back: int = 0
    scores_sent: int = 0
    scores_acked: int = 0
    points_acked: int = 0
    points_counted: int | None = None
    reactions_sent: int = 0
    reactions_acked: int = 0
    presences_sent: int = 0
    presences_acked: int = 0
    measures_sent: int = 0
    measures_acked: int = 0
    seen: int = 0
    resumed_publish: int = 0
    resumed_subscribe: int = 0
    went_back: int = 0
    measured: int = 0
    unseen: int = 0
    p50_ms: float | None = None
    p90_ms: float | None = None
    p99_ms: float | None = None
    max_ms: float | None = None
    cpu_s: float = 0.0
    problems: list[str] = field(default_factory=list)

    @property
    def ok(self) -> bool:
        return not self.problems

    def as_json(self) -> dict[str, object]:
        return {**asdict(self), "ok": self.ok}
