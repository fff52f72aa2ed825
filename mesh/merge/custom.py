"""Merging the values of a service owner's fold: their code says how (see grandstand.fold)."""

from __future__ import annotations

from collections.abc import Sequence

from grandstand.aggregate.v1.aggregate_pb2 import CustomResult
from grandstand.fold import merge
from grandstand.internal.v1.internal_pb2 import CustomPartial


def merge_custom(partials: Sequence[CustomPartial]) -> CustomResult | None:
    """Shares without a value are left out. None where the fold is not installed in this process,
    or fails: then no value is shown."""
    fold = partials[0].fold
    values = [partial.value for partial in partials if partial.value]
    value = merge(fold, values) if values else b""
    return None if value is None else CustomResult(fold=fold, value=value)
