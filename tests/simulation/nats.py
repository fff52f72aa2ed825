"""The NATS servers: three, each with a clock; the event stream and the catalog's bucket have a leader each.

What a stream stores bears the time of its leader's clock, so time jumps when another server leads.
"""

from __future__ import annotations

from tests.simulation.clocks import Clock
from tests.simulation.world import World


class ModelNats:
    def __init__(self, world: World, apart_s: float) -> None:
        """`apart_s`: how far a server's clock may be from true time."""
        self._world = world
        self.clocks = [Clock(world, world.random.uniform(-apart_s, apart_s)) for _ in range(3)]
        self._events = self._bucket = 0
        if world.random.random() < 0.5:
            self.elect()

    def elect(self) -> None:
        """Other servers lead, perhaps."""
        self._events = self._world.random.randrange(len(self.clocks))
        self._bucket = self._world.random.randrange(len(self.clocks))

    @property
    def events_clock(self) -> Clock:
        """Of the leader of the event stream."""
        return self.clocks[self._events]

    @property
    def bucket_clock(self) -> Clock:
        """Of the leader of the catalog's bucket."""
        return self.clocks[self._bucket]
