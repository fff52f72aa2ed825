"""What the kinds of rules answer."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from notify.rules.compiled import Compiled
from notify.rules.results import Results, Who
from notify.rules.state import State


class RuleMatch(NamedTuple):
    """What a notice may say. `actor`: whom it goes to; None: to the game's viewers."""

    value: int | None = None
    leader: tuple[Who, ...] = ()
    """All that are level."""
    before: Who | None = None
    actor: Who | None = None
    rank: int | None = None
    season: int = 0


class Judged(NamedTuple):
    """`state` is never the one that came in, unless nothing changed."""

    state: State
    found: RuleMatch | None = None
    look_at_s: float | None = None
    """Judge again then, though nothing comes; Unix seconds."""
    keep: bool = False
    """The state is to be stored though nothing was found, if none is yet."""


Judge = Callable[[Compiled, State, Results, float], Judged]


def once(state: State, found: RuleMatch) -> Judged:
    """Of what is told once, now."""
    return Judged(state._replace(reached=1), found)
