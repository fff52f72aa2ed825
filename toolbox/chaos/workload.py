"""What one client sends next, and what that must add to the results. Pure.

A client is a producer, which acts for ever new actors, or one actor of its own. Either way
each event's effect is told apart afterwards: an actor votes once in a poll that is final,
scores the digits of its own number on a board that sums (see `scene`), and all that an actor
does in one topic comes from one origin, so its order is known. Only the changeable poll is voted in
by actors with several devices, each an author of its own (see `crew`).
"""

from __future__ import annotations

from collections import Counter
from random import Random

from grandstand.event.v1.event_pb2 import (
    PRESENCE_STATE_HERE,
    Event,
    Measure,
    Presence,
    Reaction,
    Score,
    Vote,
)
from toolbox.chaos import scene as scenes
from toolbox.chaos.entries import Entry
from toolbox.chaos.scene import GameScene

# What of ten events is what, about; what a client has no more of falls to reactions.
_MIX = {
    "sum": scenes.SUM_SHARE,
    scenes.FINAL: 0.16,
    "reaction": 0.12,
    scenes.CHANGEABLE: 0.07,
    scenes.CLOSING: 0.15,
    "season": 0.05,
    scenes.MULTIPLE: 0.05,
    scenes.WEIGHTED: 0.05,
    "best": 0.05,
    "measure": 0.03,
    "presence": 0.02,
}
_CLOSING_NEXT = 2
_CROWD = 5
"""How many actors a producer votes changeably, and scores, for at the same time."""


class Seats:
    """Places on a game's boards that sum, with seasons and without: each for one actor."""

    def __init__(self, scene: GameScene) -> None:
        self._free = {
            "sum": [board for board in reversed(scene.sum_boards) for _ in range(scenes.ACTORS_MAX)],
            "season": [board for _ in range(scenes.ACTORS_MAX) for board in scenes.SEASON_BOARDS],
        }

    def take(self, sort: str) -> str | None:
        """The board of the next seat; None when all are taken."""
        free = self._free[sort]
        return free.pop() if free else None


class Workload:
    """One client's events. `actor_id` is empty for a producer; a `device` only changes its actor's vote."""

    def __init__(
        self,
        name: str,
        scene: GameScene,
        seats: Seats,
        random: Random,
        actor_id: str = "",
        device: str = "",
    ) -> None:
        self._name = name
        self._scene = scene
        self._seats = seats
        self._random = random
        self._actor_id = actor_id
        self._device = device
        self._orders: Counter[tuple[str, str]] = Counter()
        self._seated: dict[str, list[tuple[str, str]]] = {"sum": [], "season": []}
        self._seats_taken: Counter[str] = Counter()
        self.closed: set[str] = set()
        """The topics of polls that it was told are closed."""

    def next(self) -> tuple[Event, Entry]:
        """The next event, without an identity, and its entry."""
        if self._device:
            return self._vote(scenes.CHANGEABLE, self._actor_id, 1)
        while True:
            what = self._random.choices(list(_MIX), list(_MIX.values()))[0]
            made = self._make(what)
            if made is not None:
                return made

    def _make(self, what: str) -> tuple[Event, Entry] | None:
        """None when this client may not do that (any more)."""
        match what:
            case "sum" | "season":
                return self._sum(what) or self._reaction()
            case "best":
                points = self._random.randrange(1, 1_000_000)
                return self._score(scenes.BEST, self._regular(), points)
            case "reaction":
                return self._reaction()
            case "measure":
                value = self._random.randrange(1, 4_000) / 4
                measure = Measure(metric_id=scenes.METRIC, value=value)
                return self._event(
                    f"metric/{scenes.METRIC}", self._regular(), Event(measure=measure), amount=value
                )
            case "presence" if self._actor_id:
                return None
            case "presence":
                presence = Presence(state=PRESENCE_STATE_HERE)
                return self._event("audience", self._regular(), Event(presence=presence))
            case scenes.CHANGEABLE:
                return self._vote(what, self._regular(), 1)
            case scenes.CLOSING:
                poll_id = self._closing()
                return self._first_vote(poll_id) if poll_id else None
            case scenes.WEIGHTED if self._actor_id:
                return None
            case _:
                return self._first_vote(what)

    def _closing(self) -> str | None:
        """One of the polls that close next, as far as it knows, and that it may vote in."""
        polls = [closing.poll_id for closing in self._scene.closings]
        open_now = [poll_id for poll_id in polls if f"poll/{poll_id}" not in self.closed]
        if self._actor_id:
            open_now = [poll for poll in open_now if not self._orders[(f"poll/{poll}", self._actor_id)]]
        return self._random.choice(open_now[:_CLOSING_NEXT]) if open_now else None

    def _first_vote(self, poll_id: str) -> tuple[Event, Entry] | None:
        """The vote of an actor who has none yet; one actor has only one."""
        voted = self._orders[(f"poll/{poll_id}", self._actor_id)]
        if self._actor_id and voted:
            return None
        many = self._random.randint(1, scenes.CHOICES_MAX) if poll_id == scenes.MULTIPLE else 1
        weight = self._random.randint(1, scenes.WEIGHT_MAX) if poll_id == scenes.WEIGHTED else 1
        if self._actor_id:
            return self._vote(poll_id, self._actor_id, many, weight)
        self._orders[(f"poll/{poll_id}", "")] += 1
        return self._vote(poll_id, f"{self._name}-{voted}", many, weight)

    def _vote(self, poll_id: str, actor_id: str, many: int, weight: int = 1) -> tuple[Event, Entry]:
        options = tuple(self._random.sample(scenes.OPTIONS, many))
        vote = Vote(poll_id=poll_id, option_ids=options, weight=weight if weight > 1 else 0)
        return self._event(f"poll/{poll_id}", actor_id, Event(vote=vote), options=options, amount=weight)

    def _sum(self, sort: str) -> tuple[Event, Entry] | None:
        seated = self._seated[sort]
        if len(seated) < (1 if self._actor_id else _CROWD):
            self._sit_down(sort)
        if not seated:
            return None
        seat = self._random.choice(seated)
        board_id, actor_id = seat
        order = self._orders[(f"board/{board_id}", actor_id)]
        if order == scenes.SCORES_MAX - 1:
            seated.remove(seat)
        return self._score(board_id, actor_id, 4**order)

    def _sit_down(self, sort: str) -> None:
        """Takes a seat for a new actor; the one actor of a viewer takes one only."""
        taken = self._seats_taken[sort]
        if self._actor_id and taken:
            return
        board_id = self._seats.take(sort)
        if board_id is not None:
            self._seated[sort].append((board_id, self._actor_id or f"{self._name}-{taken}"))
            self._seats_taken[sort] += 1

    def _score(self, board_id: str, actor_id: str, points: int) -> tuple[Event, Entry]:
        score = Score(board_id=board_id, points=points)
        return self._event(f"board/{board_id}", actor_id, Event(score=score), amount=points)

    def _reaction(self) -> tuple[Event, Entry]:
        at = self._random.randrange(len(scenes.KINDS))
        kind, count = scenes.KINDS[at], at + 1
        reaction = Reaction(pulse_id=scenes.PULSE, kind=kind, count=count)
        return self._event(
            f"pulse/{scenes.PULSE}", self._regular(), Event(reaction=reaction), label=kind, amount=count
        )

    def _regular(self) -> str:
        """One of the few actors who come again and again."""
        return self._actor_id or f"{self._name}-r{self._random.randrange(_CROWD)}"

    def _event(
        self,
        topic: str,
        actor_id: str,
        event: Event,
        *,
        options: tuple[str, ...] = (),
        label: str = "",
        amount: float = 0,
    ) -> tuple[Event, Entry]:
        event.game_id, event.actor_id = self._scene.game_id, actor_id
        order = self._orders[(topic, actor_id)]
        self._orders[(topic, actor_id)] += 1
        return event, Entry(self._scene.game_id, topic, actor_id, order, options, label, amount, self._device)
