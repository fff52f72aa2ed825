"""When an actor wants to be left alone. Pure."""

from __future__ import annotations

from grandstand.notify.v1.notify_pb2 import QuietHours


def quiet_until_s(hours: QuietHours, at_s: float) -> float | None:
    """The end of the quiet hours that `at_s` falls into, both Unix seconds; None if it falls into none."""
    raise NotImplementedError
