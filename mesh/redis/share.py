"""What a partition holds of a game, as it was read. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from grandstand.catalog.v1.catalog_pb2 import STAGE_SEALED, STAGE_UNSPECIFIED, Stage
from grandstand.internal.v1.internal_pb2 import Partial


@dataclass(frozen=True, slots=True)
class Share:
    """What one partition holds of a game, of one moment."""

    partition: int
    applied: int
    partials: Mapping[str, Partial]
    whole: bool = True
    """False while the partition is folded again, or a part of its results is lost: then it is no answer."""
    stream: str = ""
    """The identity of the event stream that it was folded from."""
    stage: Stage = STAGE_UNSPECIFIED
    """Of the game, once it is closed or sealed in the partition."""


def is_being_forgotten(shares: Iterable[Share]) -> bool:
    """Whether a sealed game is gone from some of its partitions: what the others hold is a fraction. A game
    is sealed in none before it is closed in all."""
    stages = {share.stage for share in shares}
    return STAGE_SEALED in stages and STAGE_UNSPECIFIED in stages


def folded_anew(partition: int) -> str:
    return f"partition {partition} is being rebuilt from the event stream; try again"
