"""The three streams that inboxes are made of (I4): NOTICES, READERS, SEGMENTS.

Full ones refuse, and forget nothing before its age: what is in them was promised to somebody. Of a reader
and of a member the newest message is kept. Nobody may erase messages by a rollup or one by one; what has no
use any more is purged (notify.scrub). A stream recreated has sequences beyond all of the one before it, so
what was read of that one stays read, and no cursor of it names anything in this one.

Bounds: bytes, as mesh.notices.bounds says; age: longer than any notice is kept, and for readers who say
nothing for so long that they begin again.
"""

from __future__ import annotations

from nats.js import api as js_api

from mesh.jetstream import subjects
from mesh.jetstream.bus import Bus
from mesh.notices import bounds

_TAKEN = {
    subjects.NOTICES_STREAM: subjects.NOTICES_ALL,
    subjects.READERS_STREAM: subjects.READERS_ALL,
    subjects.SEGMENTS_STREAM: subjects.SEGMENTS_ALL,
}
STREAMS = tuple(_TAKEN)


async def ensure_streams(bus: Bus) -> None:
    """Creates those that do not exist; waits for JetStream as long as it takes. Raises NotNow when no cluster
    is there to hold the replicas."""
    for name in STREAMS:
        await ensure_stream(bus, name)


async def ensure_stream(bus: Bus, name: str) -> None:
    """As ensure_streams, of one."""
    await bus.ensure_stream(_config(name), [_TAKEN[name]])


def _config(name: str) -> js_api.StreamConfig:
    config = js_api.StreamConfig(
        name=name,
        retention=js_api.RetentionPolicy.LIMITS,
        storage=js_api.StorageType.FILE,
        discard=js_api.DiscardPolicy.NEW,
        deny_delete=True,
        allow_rollup_hdrs=False,
    )
    if name == subjects.NOTICES_STREAM:
        config.max_bytes = bounds.NOTICES_BYTES_MAX
        config.max_age = bounds.NOTICES_AGE_MAX_S
        config.max_msg_size = bounds.STORED_BYTES_MAX
        return config
    config.max_msgs_per_subject = 1
    config.max_msg_size = bounds.READER_BYTES_MAX
    if name == subjects.READERS_STREAM:
        config.max_bytes = bounds.READERS_BYTES_MAX
        config.max_age = bounds.READERS_AGE_MAX_S
    else:
        config.max_bytes = bounds.SEGMENTS_BYTES_MAX
    return config
