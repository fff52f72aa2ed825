"""Custom folds: code of the service's owner that makes a topic of custom events.

A package registers a class in the entry point group `grandstand.folds`; the entry point's name
is what the catalog calls the fold (CustomTopic.fold). It is installed where `aggregate` runs,
which folds and merges for Read, and where `gateway` runs, which merges for viewers:

    [project.entry-points."grandstand.folds"]
    words = "word_cloud:WordCloud"

`CustomFold` says what the class has to be. Its rules:

- **Deterministic** (I4): state and value are a pure function of the events, in their order. No
  clock but `at_us`, no randomness, no I/O, no order of a set or of `hash()`: a takeover or a
  rebuild folds the same events again, in another process.
- **Mergeable**: actors fold in several partitions of a hot game; `merge` of the partitions'
  values is what viewers see, also of a single one. It must not depend on which actor folds
  where. Shares without a value (b"", as before the first event) are left out. What comes out
  is never merged again, so it may show less than went in: a top of all.
- **Bounded**: `state()` at most CUSTOM_STATE_BYTES_MAX, `value()` and `merge()` at most
  CUSTOM_VALUE_BYTES_MAX bytes.
- **Quick**: the partition waits for it. A millisecond for a block of a thousand events is quick.

What it raises stops nothing but itself: the events it failed on are set aside as dead letters,
and it goes on from the state it had before them. Entry points are looked up once in a process.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache, lru_cache
from importlib.metadata import entry_points
from typing import Protocol

from grandstand.wire import bounds
from grandstand.wire.errors import shown

GROUP = "grandstand.folds"

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class CustomEvent:
    """An event of a custom topic."""

    actor_id: str
    payload: bytes
    at_us: int
    """When ingest received its block's first event, Unix microseconds; clamped to the partition's time."""


class CustomFold(Protocol):
    """What a registered class is: one partition's share of one topic."""

    def __init__(self, config: bytes, state: bytes) -> None:
        """`config` is CustomTopic.config; `state` what `state()` said before, b"" at first."""
        ...

    def fold(self, events: Sequence[CustomEvent]) -> None:
        """Takes the events of one block. If it raises, none of them are in."""
        ...

    def state(self) -> bytes:
        """All of it: a fold made of this goes on exactly as this one would."""
        ...

    def value(self) -> bytes:
        """This share, absolute: what `merge` needs of it."""
        ...

    @staticmethod
    def merge(values: Sequence[bytes]) -> bytes:
        """What viewers see of all shares together, the same in any order of them."""
        ...


class CustomFoldFailed(Exception):
    """A custom fold could not take its rows; its state is as before them."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


@cache
def names() -> frozenset[str]:
    """The names of the folds that are installed in this process and can be loaded."""
    return frozenset(name for name in entry_points(group=GROUP).names if find(name) is not None)


@cache
def find(name: str) -> type[CustomFold] | None:
    """The class registered under `name`; None, and a line in the log, if there is none that can be loaded."""
    found = [point for point in entry_points(group=GROUP) if point.name == name]
    if not found:
        log.error("custom fold %s: nothing of this name is in the entry point group %s", shown(name), GROUP)
        return None
    try:
        loaded: type[CustomFold] = found[0].load()
    except KeyboardInterrupt:
        raise
    except BaseException:
        log.exception("custom fold %s: %s cannot be loaded", shown(name), found[0].value)
        return None
    missing = [m for m in ("fold", "state", "value", "merge") if not callable(getattr(loaded, m, None))]
    if missing:
        log.error("custom fold %s: %s has no %s()", shown(name), found[0].value, "(), no ".join(missing))
        return None
    return loaded


def check_bytes(what: str, value: object, bytes_max: int) -> bytes:
    """`value` if it is bytes within the bound. Raises CustomFoldFailed."""
    if not isinstance(value, bytes):
        raise CustomFoldFailed(f"{what} gave {type(value).__name__}; bytes are needed")
    if len(value) > bytes_max:
        raise CustomFoldFailed(f"{what} gave {len(value)} bytes; at most {bytes_max} are allowed")
    return value


def merge(name: str, values: Sequence[bytes]) -> bytes | None:
    """The merged value of the shares; None if the fold is not here or fails, which is logged."""
    fold = find(name)
    if fold is None:
        return None
    try:
        return check_bytes("merge()", fold.merge(values), bounds.CUSTOM_VALUE_BYTES_MAX)
    except KeyboardInterrupt:
        raise
    except BaseException as error:
        _complain(name, described(error))
    return None


def described(error: BaseException) -> str:
    """What the owner's code raised, in one line; that it may not even print stops nothing."""
    if isinstance(error, CustomFoldFailed):
        return error.reason
    try:
        return f"{type(error).__name__}: {error}"[: bounds.TEXT_CHARACTERS_MAX]
    except BaseException:
        return type(error).__name__


@lru_cache(maxsize=256)
def _complain(name: str, reason: str) -> None:
    """Once for each reason: a merge may fail twenty times a second."""
    log.error("custom fold %s: merging failed: %s; no value is shown", shown(name), reason)
