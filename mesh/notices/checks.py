"""Whether a notice, preferences or a segment's name may be taken. Pure; all raise Invalid, which names the
field, its value and the bound. What they find well is bounded: a stored notice too."""

from __future__ import annotations

from grandstand.notify.v1.notify_pb2 import Notice, Preferences


def check_notice(notice: Notice) -> None:
    """All of it but its audience and its schedule, which need to know who sends and when it is."""
    raise NotImplementedError


def check_audience(notice: Notice) -> None:
    """That one is set, and well-formed. Who may send to it is the caller's to know."""
    raise NotImplementedError


def check_preferences(preferences: Preferences) -> None:
    raise NotImplementedError
