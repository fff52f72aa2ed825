"""What became of a topic since it was last said: typed deltas, exact. Pure; see `mesh.delta.topic`."""

from mesh.delta.misfit import Misfit
from mesh.delta.topic import apply, diff

__all__ = ["Misfit", "apply", "diff"]
