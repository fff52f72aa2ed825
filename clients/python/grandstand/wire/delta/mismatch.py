"""The one error of this package."""

from __future__ import annotations


class DeltaMismatch(ValueError):
    """A delta does not fit the state that it was to be applied to, and nothing was changed."""
