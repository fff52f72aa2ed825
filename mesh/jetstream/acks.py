"""What JetStream answered to a publish: stored where, to be sent again, or refused.

Stored is only what has a sequence. Servers 2.10 and some of 2.11 answer a retry that overtakes
its own first attempt with `"seq":0,"duplicate":true`, later ones with error 10158: the first
attempt is still on its way through the cluster, so neither is an ack (I1).

A server's own trouble (5xx: no leader, shutting down, a store that is closed) may pass, so the
publish is sent again until its deadline; a stream without room says so by an error code and is
told as it is. Everything else is our fault and final.
"""

from __future__ import annotations

import json
import re
from typing import Final

from grandstand.wire.errors import Exhausted, GrandstandError

# As servers write it, by hand and always the same; what does not look like it goes through json.
_STORED = re.compile(
    rb'\{"stream": ?"[^"\\]*", ?(?:"domain": ?"[^"\\]*", ?)?"seq": ?([0-9]{1,20})'
    rb'(?:, ?"duplicate": ?(?:true|false))?\}'
)
_STORE_FAILED: Final = 10077
"""Says in its description of what: only "maximum …" means that the stream is full."""
_NO_ROOM: Final = frozenset({10023, 10047})
"""Insufficient resources; insufficient storage resources."""
_DUPLICATE_UNDER_WAY: Final = 10158


def read(data: bytes) -> int | GrandstandError | None:
    """The sequence (1 or more), why the message is refused, or None: send it again.

    `data` is the body of the reply, as in https://docs.nats.io/reference/reference-protocols/nats_api_reference.
    """
    stored = _STORED.fullmatch(data)
    if stored is not None:
        return int(stored[1]) or None
    try:
        answer = json.loads(data)
        error = answer.get("error")
        if error is None:
            sequence = int(answer["seq"])
            return sequence if sequence > 0 else None
        code, err_code = int(error.get("code", 500)), int(error.get("err_code", 0))
        return _read_error(code, err_code, str(error.get("description")))
    except (ValueError, TypeError, KeyError, AttributeError):
        return None  # no answer of JetStream, such as the empty one of "no responders"


def _read_error(code: int, err_code: int, told: str) -> GrandstandError | None:
    if err_code in _NO_ROOM or (err_code == _STORE_FAILED and "maximum" in told):
        return Exhausted(f"the event log is full ({told}); the operator must make room")
    if code >= 500 or err_code == _DUPLICATE_UNDER_WAY:
        return None
    return GrandstandError(f"the event log refused a block: {told}")
