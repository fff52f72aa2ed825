"""The canary at work: it keeps its poll, measures, and watches for incidents.

What is the canary's own trouble is no incident: it was stopped, its token is not good, it has no poll. Then
it measures nothing, says why in `problem`, and goes on once that is cured. After its start, and after each
such gap, nothing counts until a vote was seen, or SETTLES_S have passed: connections are made meanwhile.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine, Iterable
from typing import Any

import grpc.aio

from grandstand.catalog.v1 import catalog_pb2 as catalog
from grandstand.client.backend import Backend
from grandstand.client.errors import ClientError
from grandstand.wire import tasks
from mesh import wall_clock
from mesh.canary import hidden_game
from mesh.canary.incident_log import IncidentLog
from mesh.canary.incidents import Flow, IncidentWatch, mean_times
from mesh.canary.measurements import Measurements, quantile
from mesh.canary.prober import Prober
from mesh.canary.token_file import NoToken, TokenFile
from mesh.canary.votes import RECENT_S, JudgedVote
from mesh.catalog.mesh_clock import boot_s

log = logging.getLogger(__name__)

STEP_S = 0.25
GAP_S = 1.0
"""A turn of the loop that comes so late says that this process did not run."""
SETTLES_S = 5.0
_LOOK_S = 60.0
"""How often the poll is looked for, where nothing says that it is gone."""
_AGAIN_S = 1.0
_TOKEN_REFUSED = frozenset({grpc.StatusCode.UNAUTHENTICATED, grpc.StatusCode.PERMISSION_DENIED})
_POLL_GONE = frozenset({grpc.StatusCode.NOT_FOUND, grpc.StatusCode.FAILED_PRECONDITION})


class Canary:
    """`edge`: where viewers are served. `backend`: of the mesh listener. `what_is_wrong`: what the mesh says
    itself, "" for nothing."""

    def __init__(
        self,
        edge: grpc.aio.Channel,
        backend: Backend,
        token: TokenFile,
        incidents: IncidentLog,
        what_is_wrong: Callable[[], Coroutine[Any, Any, str]],
        now_s: Callable[[], float] = boot_s,
    ) -> None:
        self.measurements = Measurements()
        self.watch = IncidentWatch()
        self.problem = "it has only just started"
        """Why nothing is measured; "" while it is."""
        self._edge = edge
        self._backend = backend
        self._token = token
        self._log = incidents
        self._what_is_wrong = what_is_wrong
        self._asking: asyncio.Task[str] | None = None
        self._explained = ""
        """The incident that the mesh has given a reason for."""
        self._now_s = now_s
        self._prober: Prober | None = None
        self._looked_s = now_s()
        self._settles_until_s = 0.0

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            poll = await self._find_poll()
            self.problem = ""
            await self._measure(poll)

    async def _find_poll(self) -> catalog.Poll:
        while True:
            problem = self._token.problem(wall_clock.now_s())
            if not problem:
                try:
                    return await self._keep()
                except (ClientError, hidden_game.NoPoll, NoToken) as error:
                    problem = str(error)
            self._blind(problem)
            await asyncio.sleep(_AGAIN_S)

    async def _keep(self) -> catalog.Poll:
        # A poll's id is never used again.
        return await hidden_game.keep(self._backend, f"{hidden_game.POLL}-{wall_clock.now_s():.0f}")

    async def _measure(self, poll: catalog.Poll) -> None:
        """Until the canary has a trouble of its own, or another poll."""
        log.info("votes in %s of the game %s", poll.poll_id, poll.game_id)
        self._prober = prober = Prober(self._edge, poll, self._token, self._now_s, self._count)
        self._settle()
        probing = asyncio.create_task(prober.run())
        looking: asyncio.Task[bool] | None = None
        try:
            look_at_s = self._now_s() + _LOOK_S
            while not probing.done():
                await asyncio.sleep(STEP_S)
                self._step(prober)
                refused = prober.refusal.code if prober.refusal is not None else None
                if problem := self._own_problem(prober, refused):
                    self._blind(problem)
                    return
                if looking is None:
                    if self._now_s() >= look_at_s or refused in _POLL_GONE or prober.is_over:
                        looking = asyncio.create_task(self._has_moved(poll))
                elif looking.done():
                    if looking.result():
                        self._blind("its poll was closed")
                        return
                    looking, look_at_s = None, self._now_s() + _LOOK_S
            probing.result()
        finally:
            self._prober = None
            await tasks.end(probing)
            if looking is not None:
                looking.cancel()

    def _own_problem(self, prober: Prober, refused: grpc.StatusCode | None) -> str:
        if refused in _TOKEN_REFUSED:
            return f"its token is refused: {prober.refusal}"
        return self._token.problem(wall_clock.now_s())

    async def _has_moved(self, poll: catalog.Poll) -> bool:
        """False also where nobody tells: then what was known stands."""
        try:
            now = await self._keep()
        except (ClientError, NoToken):
            return False
        except hidden_game.NoPoll:
            return True
        return (now.game_id, now.poll_id) != (poll.game_id, poll.poll_id)

    def _step(self, prober: Prober) -> None:
        now_s = self._look(prober)
        if now_s < self._settles_until_s:
            return
        book = prober.book
        news = self.watch.step(
            Flow(book.unacked_since_s, book.last_ack_s),
            Flow(book.unseen_since_s, book.last_seen_s),
            now_s,
            wall_clock.now_s(),
            prober.reason,
        )
        if news is not None:
            log.warning("incident %s: %s: %s", news.end, news.kind, news.reason)
            self._log.keep(news)
        if self.watch.open is not None and self.watch.open.incident_id != self._explained:
            self._explain(self.watch.open.incident_id)

    def _explain(self, incident_id: str) -> None:
        """Asks the mesh, again and again, what is wrong: it may take it a while to notice."""
        if self._asking is None:
            self._asking = asyncio.create_task(self._what_is_wrong())
        elif self._asking.done():
            why, self._asking = self._asking.result(), None
            # One that was stopped itself says, when it goes on, that others were silent.
            if why and self.watch.stalled and (explained := self.watch.explain(why)) is not None:
                self._explained = incident_id
                self._log.keep(explained)

    def _look(self, prober: Prober) -> float:
        """Now; before anything is judged, whether this process ran all the time."""
        now_s = self._now_s()
        passed_s, self._looked_s = now_s - self._looked_s, now_s
        if passed_s >= GAP_S:
            log.warning(
                "this process did not run for %.1f s: what it would have measured is unknown", passed_s
            )
            self._interrupted()
            prober.book.forget()
            self._settle()
        return now_s

    def _settle(self) -> None:
        self._looked_s = self._now_s()
        self._settles_until_s = self._looked_s + SETTLES_S

    def _interrupted(self) -> None:
        if (ended := self.watch.interrupted()) is not None:
            self._log.keep(ended)

    def _blind(self, problem: str) -> None:
        if problem != self.problem:
            log.warning("nothing is measured: %s", problem)
        self.problem = problem
        self._interrupted()

    def _count(self, judged: Iterable[JudgedVote]) -> None:
        if self._prober is None:
            return  # it is being ended
        now_s = self._look(self._prober)
        found = list(judged)
        if now_s < self._settles_until_s:
            if any(each.seen_after_s is not None for each in found):
                self._settles_until_s = 0.0
            return
        self.measurements.count(found, now_s)

    def said(self) -> dict[str, Any]:
        """For people and tools, as JSON."""
        now_s = self._now_s()
        book = self._prober.book if self._prober is not None else None
        recent = book.recent(now_s) if book is not None else []
        incidents, is_open = self._log.incidents, self.watch.open
        mean = mean_times(incidents)
        burning = {name: dict(rates.by_window(now_s)) for name, rates in self.measurements.burning.items()}
        return {
            "measuring": not self.problem,
            "problem": self.problem,
            "recent_s": RECENT_S,
            "votes": len(recent),
            "freshness_p50_ms": _ms(quantile(recent, 0.5)),
            "freshness_p99_ms": _ms(quantile(recent, 0.99)),
            "outcomes": dict(self.measurements.votes),
            "unseen": self.measurements.unseen,
            "burn_rates": burning,
            "alerts": self.measurements.alerts(now_s),
            "open_incident": None if is_open is None else is_open.as_json(),
            "incidents": [each.as_json() for each in incidents],
            "incidents_unsaved": self._log.unsaved,
            "mean_time_to_detect_s": mean.detect_s,
            "mean_time_to_recover_s": mean.recover_s,
        }


def _ms(seconds: float | None) -> float | None:
    return None if seconds is None else round(seconds * 1000, 1)
