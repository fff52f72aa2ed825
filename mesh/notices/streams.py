"""The three streams that inboxes are made of (I4): NOTICES, READERS, SEGMENTS."""

from __future__ import annotations

from mesh.jetstream.bus import Bus


async def ensure_streams(bus: Bus) -> None:
    """Creates those that do not exist; waits for JetStream as long as it takes."""
    raise NotImplementedError
