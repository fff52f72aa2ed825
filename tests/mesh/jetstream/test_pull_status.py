"""Every status that nats-server sends to a pull has its effect; what is not known breaks the pull."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mesh.jetstream.pull_status import Effect, effect_of


@pytest.mark.parametrize(
    ("line", "effect"),
    [
        # server/consumer.go, sendIdleHeartbeat and sendFlowControl: the consumer lives.
        ("100 Idle Heartbeat", Effect.NONE),
        ("100 FlowControl Request", Effect.NONE),
        # processNextMsgRequest, processWaiting: no_wait, and nothing is there.
        ("404 No Messages", Effect.ENDS),
        # processWaiting, nextWaiting: `expires` has passed.
        ("408 Request Timeout", Effect.ENDS),
        # nextWaiting: a request through an account's export, and nobody listens.
        ("408 Interest Expired", Effect.ENDS),
        # processNextMsgRequest: no_wait, and others wait.
        ("408 Requests Pending", Effect.ENDS),
        # loopAndGatherMsgs, from 2.10 on: the batch is complete and bytes are left.
        ("409 Batch Completed", Effect.ENDS),
        # nextWaiting: the next message does not fit into what is left of max_bytes.
        ("409 Message Size Exceeds MaxBytes", Effect.ENDS),
        # checkPendingRequests: a new leader, which knows nothing of the request.
        ("409 Leadership Change", Effect.ENDS),
        # releaseAnyPendingRequests: the consumer is gone.
        ("409 Consumer Deleted", Effect.BREAKS),
        # processNextMsgReq: it is no pull consumer.
        ("409 Consumer is push based", Effect.BREAKS),
        # processNextMsgRequest: its configuration refuses the request, and will again.
        ("409 Exceeded MaxWaiting", Effect.BREAKS),
        ("409 Exceeded MaxRequestBatch of 1", Effect.BREAKS),
        ("409 Exceeded MaxRequestExpires of 1s", Effect.BREAKS),
        ("409 Exceeded MaxRequestMaxBytes of 1024", Effect.BREAKS),
        ("400 Bad Request - unexpected end of JSON input", Effect.BREAKS),
        ("400 Bad Request - Priority Group missing", Effect.BREAKS),
        # processNextMsgReq, from 2.12 on.
        ("412 Required Api Level", Effect.BREAKS),
        # nextWaiting, processNextMsgRequest, from 2.11 on: pinned clients.
        ("423 Nats-Wrong-Pin-Id", Effect.BREAKS),
        ("423 Nats-Pin-Id mismatch", Effect.BREAKS),
        # server/jetstream.go, signalPullConsumers: its only server shuts down.
        ("409 Server Shutdown", Effect.BREAKS),
        # server/client.go, processInboundClientMsg: nobody serves the consumer.
        ("503", Effect.BREAKS),
        # Of servers to come.
        ("100 Something New", Effect.BREAKS),
        ("409 Something New", Effect.BREAKS),
        ("", Effect.BREAKS),
    ],
)
def test_each_status_has_its_effect(line: str, effect: Effect) -> None:
    status, _, description = line.partition(" ")
    assert effect_of(status, description) is effect
    assert effect_of(status, f" {description.upper()} ") is effect


@given(st.text(max_size=4), st.text(max_size=40))
def test_nothing_but_what_is_known_lets_a_pull_go_on(status: str, description: str) -> None:
    assert effect_of(status, description) is Effect.BREAKS or status in ("100", "404", "408", "409")
