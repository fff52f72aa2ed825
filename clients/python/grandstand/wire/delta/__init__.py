"""What became of a topic since it was last said: typed deltas, exact. Pure; see
`grandstand.wire.delta.topic`."""

from grandstand.wire.delta.mismatch import DeltaMismatch
from grandstand.wire.delta.topic import apply, diff

__all__ = ["DeltaMismatch", "apply", "diff"]
