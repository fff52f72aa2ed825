"""Which versions of nats-server a mesh runs on. Pure.

Supported: 2.11.15 and newer of 2.11, and 2.12.6 and newer; the public advisory GHSA-9983-vrx2-fg9c concerns
everything before. Other versions from MIN on work and are tested (2.10.26); they are warned about, and
refused with --production. Older ones are always refused: 2.9 ignores settings it does not know, such as
`sync_interval: always`, and its JetStream never recovers from a full disk.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field

SUPPORTED = "2.11.15 and newer of 2.11, and 2.12.6 and newer"
ADVISORY = "GHSA-9983-vrx2-fg9c"


@dataclass(frozen=True, slots=True, order=True)
class NatsVersion:
    """Ordered; a pre-release (`2.12.6-RC.1`) comes before its release."""

    major: int
    minor: int
    patch: int
    released: bool = True
    text: str = field(default="", compare=False)

    def __str__(self) -> str:
        return self.text or f"{self.major}.{self.minor}.{self.patch}"

    @property
    def works(self) -> bool:
        return self >= MIN

    @property
    def supported(self) -> bool:
        return self >= _SUPPORTED_212 or _SUPPORTED_211 <= self < NatsVersion(2, 12, 0, released=False)


MIN = NatsVersion(2, 10, 0)
_SUPPORTED_211 = NatsVersion(2, 11, 15)
_SUPPORTED_212 = NatsVersion(2, 12, 6)


def parse(text: str) -> NatsVersion | None:
    """The first version in it: `nats-server: v2.10.26`, `2.12.6-RC.1`. None if there is none."""
    found = re.search(r"\bv?(\d+)\.(\d+)\.(\d+)(-[0-9A-Za-z.-]+)?", text)
    if found is None:
        return None
    major, minor, patch = (int(part) for part in found.group(1, 2, 3))
    return NatsVersion(major, minor, patch, found[4] is None, found[0].removeprefix("v"))


def objection(version: NatsVersion, server: str, way_out: str) -> str:
    """One line that names the version, those supported and the way out; empty if it is supported."""
    if version.supported:
        return ""
    if not version.works:
        return f"{server} is version {version}, {MIN} is the least; supported are {SUPPORTED}; {way_out}"
    return (
        f"{server} is version {version}, supported are {SUPPORTED} ({ADVISORY} concerns everything before);"
        f" {way_out}"
    )
