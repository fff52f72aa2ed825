"""The service level as it is from one place, for some seconds: what `grandstand canary` measures."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

import grpc.aio

from grandstand.catalog.v1 import catalog_pb2 as catalog
from grandstand.client.credentials import Token
from grandstand.client.errors import FINAL, SessionLost
from grandstand.wire import tasks
from mesh.canary.measurements import Measurements, quantile
from mesh.canary.objectives import ACKS, FRESHNESS, SETTLED_S, Objective
from mesh.canary.prober import Prober
from mesh.canary.votes import JudgedVote, VoteOutcome
from mesh.catalog.mesh_clock import boot_s

_LOOK_S = 0.2
_CONNECTS_S = 5.0
"""It begins when a first vote was seen, or after so long."""


@dataclass(slots=True)
class Measured:
    seconds: float = 0.0
    measurements: Measurements = field(default_factory=Measurements)
    freshness_s: list[float] = field(default_factory=list)
    reason: str = ""
    """Why the newest votes were not acked or not shown; "" if they were."""

    @property
    def is_met(self) -> bool:
        """Both objectives, and by at least one vote."""
        return bool(self.measurements.votes[VoteOutcome.ACKED]) and all(
            self._share(each) >= each.target for each in (FRESHNESS, ACKS)
        )

    def _share(self, objective: Objective) -> float:
        rates = self.measurements.burning[objective.name]
        judged = rates.good + rates.bad
        return rates.good / judged if judged else 1.0

    def _ms(self, share: float) -> float | None:
        found = quantile(sorted(self.freshness_s), share)
        return None if found is None else round(found * 1000, 1)

    def as_json(self) -> dict[str, Any]:
        return {
            "seconds": round(self.seconds, 1),
            "outcomes": dict(self.measurements.votes),
            "unseen": self.measurements.unseen,
            "freshness_p50_ms": self._ms(0.5),
            "freshness_p99_ms": self._ms(0.99),
            "objectives": {
                each.name: {
                    "target": each.target,
                    "share": self._share(each),
                    "met": self._share(each) >= each.target,
                }
                for each in (FRESHNESS, ACKS)
            },
            "met": self.is_met,
            "reason": self.reason,
        }

    def progress(self) -> str:
        votes, p50, p99 = self.measurements.votes, self._ms(0.5), self._ms(0.99)
        shown = (
            "" if p50 is None or p99 is None else f", on screens within {p50:g} ms (p50), {p99:g} ms (p99)"
        )
        missed: dict[str, int] = {"unseen": self.measurements.unseen}
        missed |= {name: votes[name] for name in (VoteOutcome.REFUSED, VoteOutcome.UNANSWERED)}
        bad = "".join(f", {count} {name}" for name, count in missed.items() if count)
        return f"{votes[VoteOutcome.ACKED]} votes acked{shown}{bad}"

    def text(self) -> str:
        lines = [self.progress()]
        for each in (FRESHNESS, ACKS):
            share = self._share(each)
            kept = "met" if share >= each.target else "missed"
            lines.append(f"{each.name}: {kept}: {share:.2%} {each.text}; the objective is {each.target:.2%}")
        return "\n".join([*lines, *([self.reason] if self.reason and not self.is_met else [])])


async def measure(
    channel: grpc.aio.Channel,
    poll: catalog.Poll,
    token: Token,
    seconds: float,
    progress: Callable[[Measured], object],
    stop: asyncio.Event,
) -> Measured:
    """Votes for `seconds`, or until `stop`, and waits until all is judged. Raises SessionLost where voting is
    hopeless."""
    measured = Measured()
    began_s = boot_s() + _CONNECTS_S

    def count(judged: Iterable[JudgedVote]) -> None:
        nonlocal began_s
        found, now_s = list(judged), boot_s()
        if now_s < began_s:
            if any(each.seen_after_s is not None for each in found):
                began_s = now_s
            return
        measured.measurements.count(found, now_s)
        measured.freshness_s += [each.seen_after_s for each in found if each.seen_after_s is not None]

    prober = Prober(channel, poll, token, boot_s, count, is_alone=False)
    probing = asyncio.create_task(prober.run())
    try:
        while (passed_s := boot_s() - began_s) < seconds + SETTLED_S:
            if stop.is_set():
                seconds = min(seconds, passed_s)
            prober.is_sending = passed_s < seconds
            if not prober.is_sending and not prober.book.waits:
                break
            await asyncio.sleep(_LOOK_S)
            if isinstance(prober.refusal, SessionLost) and prober.refusal.code in FINAL:
                raise prober.refusal
            if probing.done():
                probing.result()
            measured.seconds = min(max(passed_s, 0.0), seconds)
            progress(measured)
        # What is older than SETTLED_S and unanswered.
        count(prober.book.expire(boot_s() + SETTLED_S))
        stalled = prober.book.unacked_since_s is not None or prober.book.unseen_since_s is not None
        measured.reason = prober.reason if stalled or not measured.is_met else ""
        return measured
    finally:
        await tasks.end(probing)
