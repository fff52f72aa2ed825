"""What `doctor` says, and the bounds beyond which it says so. Pure.

A finding of a mesh has the name of the alert that means the same (docs/runbook.md): `folding-lags` and
GrandstandFoldingLags. The bounds are those of deploy/observability/rules.yml; a test holds them together.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum

SLOW_S = 0.25
CERTIFICATE_DAYS = 14
CLOCK_S = 1.0
USED = 0.85
DISK_FREE = 0.1
LAG_S = 5.0
OVERLOAD_LEVEL = 4
PRESSURE = 0.75


class Severity(StrEnum):
    ERROR = "error"
    """Something does not work."""
    WARNING = "warning"
    """It works, and will not for long, or loses what it is given when it is restarted."""


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """`subject`: what it is about, such as an instance or an address."""

    id: str
    severity: Severity
    subject: str
    reason: str
    remedy: str


def error(id_: str, subject: str, reason: str, remedy: str) -> Diagnosis:
    return Diagnosis(id_, Severity.ERROR, subject, reason, remedy)


def warning(id_: str, subject: str, reason: str, remedy: str) -> Diagnosis:
    return Diagnosis(id_, Severity.WARNING, subject, reason, remedy)


def disk_findings(path: str, free_bytes: float, size_bytes: float, problem: str = "") -> Iterator[Diagnosis]:
    remedy = "free some space on it, or move the home (--home) or NATS's store_dir to a bigger one"
    if problem:
        yield error("disk-full", path, problem, remedy)
    elif size_bytes and free_bytes / size_bytes < DISK_FREE:
        yield warning(
            "disk-filling",
            path,
            f"{free_bytes / 1024**2:,.0f} MiB are free of {size_bytes / 1024**2:,.0f}; once it is full no"
            " vote is stored",
            remedy,
        )


def slow_finding(subject: str, round_trip_s: float) -> Diagnosis:
    return warning(
        "dependency-slow",
        subject,
        f"a round trip takes {round_trip_s:.2f} s, more than {SLOW_S:g}",
        "see its CPU, its disk and the network to it",
    )


def clock_finding(subject: str, offset_s: float) -> Diagnosis:
    return error(
        "clock-off",
        subject,
        f"its clock and that of JetStream are {abs(offset_s):.1f} s apart",
        "set the clock that is wrong, and keep both by NTP",
    )


def dead_letters(count: float) -> Diagnosis:
    return warning(
        "dead-letters",
        "DEAD_LETTERS",
        f"{count:,.0f} blocks could not be folded and were set aside: their votes are not counted",
        "read why in their header Grandstand-Reason (docs/runbook.md); delete them once they are dealt with",
    )


def log_finding(used_bytes: float, max_bytes: float) -> Diagnosis:
    return error(
        "event-log-nearly-full",
        "EVENTS",
        f"{used_bytes / max_bytes:.0%} of {max_bytes / 1024**2:,.0f} MiB are used; from 95 % on events are"
        " refused",
        "see whether folding lags, as only what is folded is purged; or raise the stream's max_bytes",
    )
