"""What a status of a JetStream pull means for the request it answers. Pure.

A server answers a pull request with messages and with statuses, such as `NATS/1.0 409 Batch Completed`. The
table covers every status that nats-server 2.9 to 2.15 sends: server/consumer.go, `Server Shutdown` in
server/jetstream.go, the bare 503 in server/client.go. Some end a request normally, and the next one continues
where it ended. All others, and any that a later server adds, mean that this consumer cannot be relied on; a
new one, made at the sequence after the last block, can.
"""

from __future__ import annotations

from enum import Enum


class Effect(Enum):
    NONE = "the request goes on"
    ENDS = "the request has ended; ask again"
    BREAKS = "the pull has ended; make a new one"


_ANY = ""
_EFFECTS = {
    # Nothing to send; the server is alive (sendIdleHeartbeat).
    ("100", "idle heartbeat"): Effect.NONE,
    # For push consumers only (sendFlowControl).
    ("100", "flowcontrol request"): Effect.NONE,
    # No Messages: for no_wait requests only (processNextMsgRequest).
    ("404", _ANY): Effect.ENDS,
    # Request Timeout: `expires` has passed (processWaiting). Interest Expired: the server saw no subscriber
    # (nextWaiting). Requests Pending: for no_wait requests only.
    ("408", _ANY): Effect.ENDS,
    # From 2.10 on, after the last message of a batch that left some of max_bytes (loopAndGatherMsgs).
    ("409", "batch completed"): Effect.ENDS,
    # The next message does not fit into what is left of max_bytes (nextWaiting).
    ("409", "message size exceeds maxbytes"): Effect.ENDS,
    # The consumer's new leader drops the requests its predecessor held (checkPendingRequests).
    ("409", "leadership change"): Effect.ENDS,
}
"""These break the pull, by not being listed:

* 409 Consumer Deleted: by who pulls under the same name now.
* 409 Consumer is push based, Exceeded MaxWaiting, Exceeded MaxRequestBatch, MaxRequestExpires or
  MaxRequestMaxBytes: someone else's configuration; asking again would get the same answer without end.
* 409 Server Shutdown: sent for consumers without replicas only, so nobody is left to ask.
* 400 Bad Request, 412 Required Api Level, 423 Nats-Wrong-Pin-Id, Nats-Pin-Id mismatch: not for our requests.
* 503: nobody serves the consumer.
"""


def effect_of(status: str, description: str) -> Effect:
    """`status` and `description` as in the first header line. An unknown one breaks the pull."""
    found = _EFFECTS.get((status, description.strip().lower())) or _EFFECTS.get((status, _ANY))
    return found or Effect.BREAKS
