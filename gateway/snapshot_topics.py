"""Which topics a Snapshot shows: at most SNAPSHOT_TOPICS_MAX, of SNAPSHOT_BYTES_MAX together. Pure.

First those that the viewer named, then those that are not sealed, of these what changed last, then those
sealed last. What was sealed more than SEALED_SHOWN_S ago is shown only where it is named, but for the
SEALED_KEPT_MAX newest. `more` says that others match: CatalogService lists them, and a viewer may name them.

A later Snapshot takes nothing away: its reader keeps what it shows and does not find there. That is right for
a sealed topic, which never changes again. One that is not sealed changes again, at the latest when it is
sealed, and every Update holds whatever changed, shown in the Snapshot or not. A viewer who missed an Update
is sent a Snapshot, in which what changed last comes first: so it lacks a change only if SNAPSHOT_TOPICS_MAX
other topics have changed since, and until the topic changes next.

Rejected: the same choice for Updates. What a viewer brings along from another gateway would then stand still
if this one has chosen otherwise.
"""

from __future__ import annotations

from collections.abc import Container, Iterable
from typing import NamedTuple

SNAPSHOT_TOPICS_MAX = 128
SNAPSHOT_BYTES_MAX = 1024 * 1024
SEALED_SHOWN_S = 600.0
SEALED_KEPT_MAX = 8


class Candidate(NamedTuple):
    """A topic that the viewer's patterns match."""

    topic: str
    encoded_bytes: int
    changed: int
    """Greater than that of a topic that changed before."""
    sealed_at_s: float | None
    """Unix seconds; None of one that is not sealed."""


class Chosen(NamedTuple):
    topics: list[str]
    """By name."""
    more: bool
    """There are others that match."""


def choose(candidates: Iterable[Candidate], named: Container[str], now_s: float) -> Chosen:
    """`named`: the topics that the viewer asks for by name."""
    found = list(candidates)
    sealed = [each for each in found if each.sealed_at_s is not None]
    if not sealed and len(found) <= SNAPSHOT_TOPICS_MAX and _bytes(found) <= SNAPSHOT_BYTES_MAX:
        return Chosen(sorted(each.topic for each in found), more=False)
    old = [each for each in sealed if now_s - _sealed_at_s(each) > SEALED_SHOWN_S and each.topic not in named]
    old.sort(key=_newest_first)
    left_out = {each.topic for each in old[SEALED_KEPT_MAX:]}
    shown = [each for each in found if each.topic not in left_out]
    shown.sort(key=lambda each: (each.topic not in named, each.sealed_at_s is not None, *_newest_first(each)))
    topics: list[str] = []
    room = SNAPSHOT_BYTES_MAX
    for each in shown:
        if len(topics) == SNAPSHOT_TOPICS_MAX:
            break
        # One that is too great for all of them is shown alone rather than never.
        if each.encoded_bytes <= room or not topics:
            topics.append(each.topic)
            room -= each.encoded_bytes
    return Chosen(sorted(topics), more=len(topics) < len(found))


def _bytes(candidates: list[Candidate]) -> int:
    return sum(each.encoded_bytes for each in candidates)


def _sealed_at_s(candidate: Candidate) -> float:
    return candidate.sealed_at_s or 0.0


def _newest_first(candidate: Candidate) -> tuple[float, int, str]:
    return -_sealed_at_s(candidate), -candidate.changed, candidate.topic
