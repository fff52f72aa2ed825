"""Which kinds of rules there are: what each can judge, and what its notice may say. Pure.

The catalog checks definitions by it, and notify judges by it (notify.rules).
"""

from __future__ import annotations

import re
from typing import NamedTuple

PLACEHOLDER = re.compile(r"\{([a-z_]+)\}")


class RuleKind(NamedTuple):
    topics: tuple[str, ...]
    """The kinds of topics that it can judge; none: the game itself."""
    finds: tuple[str, ...]
    """What may stand in braces in its notice, beside `topic` and `question`."""


# By the name of the field of Rule.when.
KINDS = {
    "threshold": RuleKind(("poll", "board", "audience", "pulse"), ("value", "leader", "season")),
    "lead_changed": RuleKind(("poll", "board"), ("value", "leader", "before", "season")),
    "rank_taken": RuleKind(("board",), ("actor", "rank", "leader", "season")),
    "opened": RuleKind(("poll", "board"), ()),
    "closing_in": RuleKind(("poll", "board"), ("value",)),
    "sealed": RuleKind(("poll", "board"), ("value", "leader", "season")),
    "season_closed": RuleKind(("board",), ("value", "leader", "season")),
    "game_ended": RuleKind((), ()),
    "rate_spike": RuleKind(("pulse",), ("value",)),
    "audience_peak": RuleKind(("audience",), ("value",)),
}
EACH = ("poll", "board")
"""Kinds of topics of which one rule may judge each: `<kind>/*`."""


def placeholders(kind: str) -> tuple[str, ...]:
    found = KINDS[kind]
    return (("topic", "question") if found.topics else ()) + found.finds
