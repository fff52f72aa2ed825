"""Votes through the edge once a second, and a stream through the edge that shows them: the canary's I/O.

It uses the client that others use, so that what it meets is what they meet: streams that break are resumed,
votes that are not acked are sent again under their numbers. A token that is not good, or a poll that is gone,
ends the client's session; then another one is begun, and tried for ever.

Bound: UNSETTLED_MAX votes are handed in and not settled; further ones are not sent, and count as unanswered.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable
from functools import partial
from random import Random

import grpc.aio

from grandstand.catalog.v1 import catalog_pb2 as catalog
from grandstand.client.credentials import Token
from grandstand.client.errors import ClientError, SessionLost
from grandstand.client.pending import Receipt
from grandstand.client.publisher import Publisher
from grandstand.client.viewer import Viewer
from grandstand.event.v1.event_pb2 import Event, Vote
from grandstand.wire import tasks
from mesh.canary.objectives import VOTES_A_SECOND
from mesh.canary.votes import UNSETTLED_MAX, JudgedVote, VoteBook

log = logging.getLogger(__name__)

_AGAIN_S = 1.0
_JITTER = 0.1
"""So that votes do not come in step with flushes and ticks."""
_NO_CREDIT = "ingest takes no votes: they cannot be stored now"


class Prober:
    """`now_s`: a clock that never jumps. `count` is given what is judged. `is_alone`: nobody else votes as
    the same actor."""

    def __init__(
        self,
        channel: grpc.aio.Channel,
        poll: catalog.Poll,
        token: Token | None,
        now_s: Callable[[], float],
        count: Callable[[Iterable[JudgedVote]], object],
        *,
        is_alone: bool = True,
    ) -> None:
        self.book = VoteBook(len(poll.options) if is_alone else 0)
        self.is_sending = True
        self.refusal: ClientError | None = None
        """Why the newest vote that failed was refused, or the session ended; None once one is acked."""
        self.viewer_problem = ""
        self.is_over = False
        """The game has ended."""
        self._channel = channel
        self._poll = poll
        self._token = token
        self._now_s = now_s
        self._count = count
        self._random = Random()
        self._option_ids = [option.option_id for option in poll.options]
        self._publisher: Publisher | None = None
        self._broke_before = ""
        """How a stream ended that others have followed."""

    @property
    def reason(self) -> str:
        """Why nothing is acked or shown, as far as a client can tell."""
        publisher = self._publisher
        if self.book.unacked_since_s is not None:
            if self.refusal is not None:
                return str(self.refusal)
            if publisher is not None and publisher.origin_id and not publisher.credit:
                return _NO_CREDIT
            if publisher is not None and publisher.last_break != self._broke_before:
                return publisher.last_break
            return "votes are not answered"
        return self.viewer_problem or "votes are acked, and no frame shows them"

    async def run(self) -> None:
        """Until cancelled."""
        watching = asyncio.create_task(self._watch())
        try:
            while True:
                async with Publisher(
                    self._channel,
                    token=self._token,
                    client="grandstand-canary",
                    when_full="refuse",
                    buffer_events_max=UNSETTLED_MAX,
                ) as publisher:
                    self._publisher = publisher
                    await self._vote(publisher)
        finally:
            await tasks.end(watching)

    async def _vote(self, publisher: Publisher) -> None:
        """Until the session is lost."""
        while True:
            if not self.is_sending:
                pass
            elif publisher.unsettled < UNSETTLED_MAX:
                number = self.book.due(self._now_s())
                try:
                    receipt = publisher.try_submit(self._event(number))
                except SessionLost as lost:
                    self.refusal = lost
                    self._count(self.book.refused(number))
                    await asyncio.sleep(_AGAIN_S)
                    return
                if receipt is None:
                    self._count(self.book.refused(number))
                else:
                    receipt.add_done_callback(partial(self._settled, number))
            else:
                self._count(self.book.skip(self._now_s()))
            interval_s = (1 + _JITTER * (2 * self._random.random() - 1)) / VOTES_A_SECOND
            await asyncio.sleep(interval_s)
            self._count(self.book.expire(self._now_s()))

    def _event(self, number: int) -> Event:
        vote = Vote(poll_id=self._poll.poll_id, option_ids=[self._option_ids[number % len(self._option_ids)]])
        return Event(game_id=self._poll.game_id, vote=vote)

    def _settled(self, number: int, receipt: asyncio.Future[Receipt]) -> None:
        if receipt.cancelled():
            return
        error = receipt.exception()
        if error is None:
            self.refusal = None
            self._broke_before = self._publisher.last_break if self._publisher is not None else ""
            at = {position.partition: position.sequence for position in receipt.result().positions}
            self._count(self.book.acked(number, at, self._now_s()))
            return
        if isinstance(error, ClientError):
            self.refusal = error
        self._count(self.book.refused(number))

    async def _watch(self) -> None:
        topic = f"poll/{self._poll.poll_id}"
        while True:
            viewer = Viewer(self._channel, self._poll.game_id, topics=[topic], token=self._token)
            try:
                async for _ in viewer:
                    state = viewer.states.get(topic)
                    if state is None:
                        continue
                    self.viewer_problem = ""
                    cursor = {each.partition: each.sequence for each in state.cursor.positions}
                    options = {at for at, each in enumerate(state.tally.options) if each.votes}
                    self._count(self.book.shown(cursor, options, self._now_s()))
                self.viewer_problem, self.is_over = "the game has ended", True
            except ClientError as error:
                self.viewer_problem = str(error)
                log.warning("watching %s: %s", topic, error)
            await asyncio.sleep(_AGAIN_S)
