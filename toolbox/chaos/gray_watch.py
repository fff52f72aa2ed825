"""Watches a run for what is wedged, and what is silently wrong (I11).

    wedged          a vote or score without an answer, or a screen that stands still although something was
                    acked; timed in calm (see `calm`)
    silently wrong  a watcher shows less than what was acked when a cause ended, or more than was sent, after
                    WRONG_AFTER_S of calm; or health said yes while sends failed

Bound: one question to health at a time, and one check of the results: what was acked when the newest of the
causes ended. What it finds lasts for up to `_LOOK_S` longer.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from dataclasses import dataclass

from toolbox.chaos import health, scene
from toolbox.chaos.calm import WRONG_AFTER_S, CalmClock, HealthJudge, Unanswered
from toolbox.chaos.checker import compare
from toolbox.chaos.entries import Book, Entry
from toolbox.chaos.floor import Floor, below, floor
from toolbox.chaos.report import ChaosReport
from toolbox.chaos.stalls import Stalls
from toolbox.chaos.strike import Strike
from toolbox.chaos.watchers import ChaosViewer

_LOOK_S = 0.5
_NOTES_MAX = 20
_NEVER_SHED = ("poll/", "board/", "custom/")
"""The others may be put off for as long as the mesh is under pressure (I7)."""
_MOVES = (f"poll/{scene.CHANGEABLE}", scene.SEASON_TOPICS)
"""Topics of which a state that is a moment old may show more of something than can count now."""


@dataclass(frozen=True, slots=True)
class _Check:
    """What must be shown after WRONG_AFTER_S of calm since then."""

    since_s: float
    cause: str
    floors: dict[str, Floor]


class GrayWatch:
    """Of one run. Everything is called from its loop."""

    def __init__(self, edge: str, book: Book, games: Iterable[str]) -> None:
        self._loop = asyncio.get_running_loop()
        self._edge = edge
        self._book = book
        self._games = tuple(games)
        self._clock = CalmClock(self._loop.time())
        self._unanswered = Unanswered()
        self._health = HealthJudge()
        self._screens: dict[ChaosViewer, Stalls] = {}
        self._due: _Check | None = None
        self._longest_unanswered_s = self._longest_still_s = 0.0
        self._wrong: list[str] = []

    def began(self) -> None:
        """A strike falls."""
        self.look()
        self._clock.begin()

    def ended(self, strike: Strike) -> None:
        """Its cause is over."""
        now_s = self._loop.time()
        self._clock.end(now_s)
        if self._clock.is_calm:
            floors = {game: floor(self._book.entries, game) for game in self._games}
            self._due = _Check(now_s, f"{strike.kind} of {strike.target}", floors)

    def sent(self, entry: Entry) -> None:
        if entry.topic.startswith(_NEVER_SHED):
            self._unanswered.sent(entry, self._loop.time())

    def acked(self, entry: Entry, *, moves_screens: bool) -> None:
        if entry.topic.startswith(_NEVER_SHED):
            self._unanswered.acked(self._loop.time())
        if moves_screens:
            for watcher, stalls in self._screens.items():
                if watcher.game_id == entry.game_id:
                    stalls.owed(self._loop.time())

    def watch(self, watcher: ChaosViewer) -> None:
        self._screens[watcher] = Stalls()

    def moved(self, watcher: ChaosViewer) -> None:
        self._screens[watcher].paid(self._loop.time(), still_owed=False)

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            ok = await asyncio.to_thread(health.ask, self._edge)
            now_s = self._loop.time()
            self._health.heard(now_s, self._clock, ok, self._unanswered.failing_s(now_s))
            self.look()
            await asyncio.sleep(_LOOK_S)

    def look(self) -> None:
        now_s = self._loop.time()
        unanswered_s = self._clock.beyond_s(self._unanswered.oldest_s(now_s), now_s)
        self._longest_unanswered_s = max(self._longest_unanswered_s, unanswered_s)
        for stalls in self._screens.values():
            still_s = self._clock.beyond_s(stalls.owed_since_s(now_s), now_s)
            self._longest_still_s = max(self._longest_still_s, still_s)
        if self._due is not None and self._clock.beyond_s(self._due.since_s, now_s) >= WRONG_AFTER_S:
            check, self._due = self._due, None
            self._check(check)

    def _check(self, check: _Check) -> None:
        when = f"{WRONG_AFTER_S:g} s after {check.cause} ended"
        for watcher in self._screens:
            who = f"{watcher.name} of {watcher.game_id}"
            for short in below(check.floors[watcher.game_id], watcher.shown.values()):
                self._wrong.append(f"{who}, {when}: {short}")
            entries = [entry for entry in self._book.entries if entry.game_id == watcher.game_id]
            shown = {(watcher.game_id, topic): state for topic, state in watcher.shown.items()}
            for finding in compare(entries, shown).findings:
                if finding.doubled and not finding.where.split()[1].startswith(_MOVES):
                    self._wrong.append(f"{who}, {when}: {finding.notes[0]}")

    def conclude(self, report: ChaosReport) -> None:
        self.look()
        report.longest_wedge_s = round(max(self._longest_unanswered_s, self._longest_still_s), 3)
        report.health = dict(self._health.answers)
        report.longest_unwell_s = round(self._health.longest_no_s, 3)
        wrong = [*self._health.lies, *self._wrong]
        report.silently_wrong = len(wrong)
        report.problems += [f"silently wrong: {what}" for what in wrong[:_NOTES_MAX]]
        if report.longest_wedge_s > WRONG_AFTER_S:
            is_unanswered = self._longest_unanswered_s > self._longest_still_s
            what = "a vote or score was unanswered" if is_unanswered else "a screen stood still"
            report.problems.append(
                f"{what} for {report.longest_wedge_s:.1f} s beyond the end of its cause, at most"
                f" {WRONG_AFTER_S:g} s are allowed"
            )
