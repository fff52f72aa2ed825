"""Publishing to JetStream: many at once, each with a deadline, each acked or failed honestly.

A reply inbox, a map of futures, a semaphore. Bound: `in_flight_max` publishes; callers wait
beyond it, and their deadline runs meanwhile.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import logging
from collections.abc import Mapping

from nats.aio.msg import Msg
from nats.errors import Error as NatsError

from mesh import limits
from mesh.bus import Bus
from mesh.errors import Exhausted, GrandstandError, Unavailable

log = logging.getLogger(__name__)

_STREAM_FULL = (10077, 10047)  # maximum bytes / messages exceeded, insufficient storage


class PublishPipeline:
    """Publishes to JetStream with a deadline, many at once, each acked or failed honestly.

    A publish is attempted again, under the same message id, when its ack does not come
    within an attempt or the connection was lost meanwhile; the stream recognises the id and
    stores it once. Publishes may be stored in another order than they were made.
    """

    def __init__(self, bus: Bus, in_flight_max: int = limits.PUBLISH_IN_FLIGHT_MAX) -> None:
        self._bus = bus
        self._slots = asyncio.Semaphore(in_flight_max)
        self._pending: dict[str, asyncio.Future[int | None]] = {}
        self._tokens = itertools.count()
        self._inbox = ""

    async def start(self) -> None:
        self._inbox = self._bus.client.new_inbox()
        await self._bus.client.subscribe(f"{self._inbox}.*", cb=self._on_ack)
        self._bus.on_reconnect(self._attempt_all_again)

    async def publish(
        self,
        subject: str,
        payload: bytes,
        message_id: str,
        headers: Mapping[str, str] | None = None,
        deadline_at: float | None = None,
    ) -> int:
        """Stores one message; returns its stream sequence.

        Raises Unavailable when no ack came by `deadline_at` (the loop's time; PUBLISH_DEADLINE_S
        from now without one), Exhausted when the stream is full. The message may have been
        stored all the same. An ack that this process hears too late, because it was stopped or
        stalled, is none: nobody may take for stored in time what was not (I9).
        """
        loop = asyncio.get_running_loop()
        if deadline_at is None:
            deadline_at = loop.time() + limits.PUBLISH_DEADLINE_S
        async with self._slots:
            while (left_s := deadline_at - loop.time()) > 0:
                acked = await self._attempt(
                    subject, payload, message_id, headers, min(left_s, limits.PUBLISH_ATTEMPT_S)
                )
                if acked is not None and loop.time() <= deadline_at:
                    return acked
        raise Unavailable(
            f"the event log did not answer within {limits.PUBLISH_DEADLINE_S:g} s; "
            "send again with the same identity"
        )

    async def _attempt(
        self,
        subject: str,
        payload: bytes,
        message_id: str,
        headers: Mapping[str, str] | None,
        patience_s: float,
    ) -> int | None:
        """One attempt; None when it should be made again."""
        token = str(next(self._tokens))
        future: asyncio.Future[int | None] = asyncio.get_running_loop().create_future()
        self._pending[token] = future
        try:
            await self._bus.client.publish(
                subject,
                payload,
                reply=f"{self._inbox}.{token}",
                headers={**(headers or {}), "Nats-Msg-Id": message_id},
            )
            return await asyncio.wait_for(future, patience_s)
        except TimeoutError:
            return None
        except NatsError as error:
            log.warning("publish to %s: %s", subject, error)
            await asyncio.sleep(min(0.05, patience_s))
            return None
        finally:
            del self._pending[token]

    async def _on_ack(self, message: Msg) -> None:
        future = self._pending.get(message.subject.rpartition(".")[2])
        if future is None or future.done():
            return
        if not message.data:  # 503: JetStream is not up (yet)
            asyncio.get_running_loop().call_later(0.05, _resolve, future, None)
            return
        answer = json.loads(message.data)
        error = answer.get("error")
        if error is None:
            future.set_result(int(answer["seq"]))
        elif error.get("err_code") in _STREAM_FULL:
            future.set_exception(
                Exhausted(f"the event log is full ({error.get('description')}); the operator must make room")
            )
        elif error.get("code") == 503:
            asyncio.get_running_loop().call_later(0.05, _resolve, future, None)
        else:
            future.set_exception(
                GrandstandError(f"the event log refused a block: {error.get('description')}")
            )

    def _attempt_all_again(self) -> None:
        for future in self._pending.values():
            _resolve(future, None)


def _resolve(future: asyncio.Future[int | None], value: int | None) -> None:
    if not future.done():
        future.set_result(value)
