"""Viewers of a run: each watches all of a game through whatever breaks, and notes what went back (I5)."""

from __future__ import annotations

from collections.abc import Callable

import grpc.aio

from grandstand.aggregate.v1.aggregate_pb2 import TopicState
from grandstand.client import ClientError, Viewer
from toolbox.chaos.monotone import setback

NOTES_MAX = 20


class ChaosViewer:
    """One subscription, checked message by message. `on_change` is told when results moved, `on_state` is
    given each topic's new state."""

    def __init__(
        self,
        channel: grpc.aio.Channel,
        game_id: str,
        name: str,
        on_change: Callable[[ChaosViewer], None],
        on_state: Callable[[str, TopicState], None],
    ) -> None:
        self.game_id = game_id
        self.name = name
        self.updates = 0
        self.setbacks = 0
        self.notes: list[str] = []
        self._viewer = Viewer(channel, game_id, topics=["*"])
        self.shown: dict[str, TopicState] = {}
        """The newest state of every topic."""
        self._on_change = on_change
        self._on_state = on_state

    @property
    def resumed(self) -> int:
        return self._viewer.resumed

    @property
    def went_back(self) -> int:
        """States that came with a cursor behind the one shown, or with less in them."""
        return self._viewer.cache.went_back + self.setbacks

    async def run(self) -> None:
        """Until cancelled."""
        try:
            async for message in self._viewer:
                if message.WhichOneof("message") in ("snapshot", "update"):
                    self._look()
        except ClientError as error:
            self._note(f"ended: {error}")

    def _look(self) -> None:
        """Compares what is shown now with what was shown before."""
        now = self._viewer.states
        moved = False
        for topic, before in self.shown.items():
            after = now.get(topic)
            if after is None:
                self._note(f"{topic}: is gone")
            elif after is not before:
                moved = True
                if went := setback(before, after):
                    self._note(went)
        for topic, state in now.items():
            if state is not self.shown.get(topic):
                self._on_state(self.game_id, state)
        self.shown = {**self.shown, **now}
        self.updates += 1
        if moved:
            self._on_change(self)

    def _note(self, what: str) -> None:
        self.setbacks += 1
        if len(self.notes) < NOTES_MAX:
            self.notes.append(f"{self.name} of {self.game_id}: {what}")
