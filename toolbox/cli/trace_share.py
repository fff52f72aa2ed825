"""What share of the traces that begin at the edge is sampled: as the environment of `up` says."""

from __future__ import annotations

import os

from toolbox.local.errors import MeshError

PRODUCTION_TRACE_SHARE = 0.01


def trace_share(*, production: bool) -> float:
    """What is sampled of the traces that begin at the edge."""
    from toolbox.local.plan import SAMPLER_ARGUMENT

    text = os.environ.get(SAMPLER_ARGUMENT)
    if text is None:
        return PRODUCTION_TRACE_SHARE if production else 1.0
    try:
        share = float(text)
    except ValueError:
        share = -1.0
    if not 0 <= share <= 1:
        raise MeshError(f"{SAMPLER_ARGUMENT}={text!r} in the environment is no share from 0 to 1")
    return share
