"""The fold of custom events: runs the code of the service's owner, and survives it.

See grandstand.fold for what that code promises. Here: each block's events are folded, then its
state and value are taken and checked; only if all of that succeeds do they stand. Otherwise
`CustomFoldFailed` is raised, the code is created again from the last valid state, and the
partition sets the rows aside as a dead letter with the reason (I4: a rebuild fails on the same
rows in the same way, as the code is deterministic).

A worker in which the fold is not installed keeps the stored state and value as they are and
fails on every row.

Bounds: CUSTOM_STATE_BYTES_MAX and CUSTOM_VALUE_BYTES_MAX. Rejected: state and value once a
flush instead of once a block. Cheaper, but then a state that is too large could not be blamed
on rows that are still there to be set aside.
"""

from __future__ import annotations

import logging

from aggregate import bounds
from aggregate.fold import Change, FoldState, Replace
from aggregate.rows import Rows
from grandstand import fold
from grandstand.catalog.v1 import catalog_pb2 as catalog
from grandstand.fold import CustomEvent, CustomFold, CustomFoldFailed
from grandstand.internal.v1.internal_pb2 import CustomLog, CustomPartial
from grandstand.wire import bounds as wire_bounds
from grandstand.wire.errors import shown

__all__ = ["Custom", "CustomFoldFailed"]

log = logging.getLogger(__name__)

_PART = ""


class Custom:
    """State: the owner's bytes, and the value of them. `failures` counts blocks it failed on."""

    __slots__ = ("_changed", "_definition", "_running", "_state", "_value", "failures")

    def __init__(self, definition: catalog.CustomTopic, stored: CustomLog) -> None:
        self._definition = definition
        self._state = stored.state
        self._value = stored.value
        self._changed = False
        self._running: CustomFold | None = None
        self.failures = 0

    @classmethod
    def from_state(cls, definition: catalog.CustomTopic, state: FoldState) -> Custom:
        return cls(definition, CustomLog.FromString(state.logs.get(_PART, b"")))

    def fold(self, rows: Rows) -> bool:
        """True if the value or only the state changed: it is to be stored (I4). Raises
        CustomFoldFailed; then nothing has changed."""
        try:
            state, value = self._step(rows)
        except KeyboardInterrupt:
            raise
        except BaseException as error:
            reason = fold.described(error)
            self._running = None  # what it holds now is unknown
            self.failures += 1
            log.error(
                "custom fold %s of %s/%s: %s; %d events are set aside (failure %d)",
                shown(self._definition.fold),
                rows.game_id,
                rows.topic,
                reason,
                len(rows),
                self.failures,
                exc_info=not isinstance(error, CustomFoldFailed),
            )
            raise CustomFoldFailed(f"custom fold {shown(self._definition.fold)}: {reason}") from None
        changed = (state, value) != (self._state, self._value)
        self._changed = self._changed or changed
        self._state, self._value = state, value
        return changed

    def advance(self, at_us: int) -> bool:
        return False

    def partial(self) -> CustomPartial:
        return CustomPartial(fold=self._definition.fold, value=self._value)

    def parts(self) -> list[str]:
        return [_PART]

    def delta(self) -> list[Change]:
        changes = self.encode() if self._changed else []
        self._changed = False
        return changes

    def encode(self) -> list[Change]:
        stored = CustomLog(state=self._state, value=self._value)
        return [Replace(_PART, stored.SerializeToString(deterministic=True))]

    def _step(self, rows: Rows) -> tuple[bytes, bytes]:
        """Runs the owner's code: state and value with the rows. Raises whatever it raises."""
        events = [
            CustomEvent(actor_id, payload, rows.at_us)
            for actor_id, payload in zip(rows.actors(), rows.payloads, strict=True)
        ]
        if self._running is None:
            found = fold.find(self._definition.fold)
            if found is None:
                raise CustomFoldFailed(
                    "is not installed in this worker, or cannot be loaded; install the package that "
                    f"registers it in the entry point group {fold.GROUP}, and start the worker again"
                )
            self._running = found(self._definition.config, self._state)
        self._running.fold(events)
        return (
            fold.check_bytes("state()", self._running.state(), bounds.CUSTOM_STATE_BYTES_MAX),
            fold.check_bytes("value()", self._running.value(), wire_bounds.CUSTOM_VALUE_BYTES_MAX),
        )
