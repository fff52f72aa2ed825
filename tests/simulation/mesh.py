"""What all processes of a history stand on, and what they say to each other beside the streams."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from grandstand.internal.v1.internal_pb2 import PartitionResults
from tests.simulation.bucket import ModelBucket
from tests.simulation.checkpoints import ModelObjects
from tests.simulation.cuts import Cuts
from tests.simulation.nats import ModelNats
from tests.simulation.notice_streams import made
from tests.simulation.process import Process
from tests.simulation.stream import ModelStream
from tests.simulation.told import Told
from tests.simulation.world import World

if TYPE_CHECKING:
    from tests.simulation.bus import ModelSubscription
    from tests.simulation.pulls import ModelPull
    from tests.simulation.redis import ModelRedis


class Mesh:
    redis: ModelRedis

    def __init__(self, world: World, apart_s: float, stream_bytes_max: int) -> None:
        """`apart_s`: how far clocks may be from true time at first."""
        self.world = world
        self.told = Told()
        self.nats = ModelNats(world, apart_s)
        self.cuts = Cuts(world)
        self.stream = ModelStream(world, self.nats, self.cuts, stream_bytes_max)
        self.bucket = ModelBucket(world, self.nats, self.cuts)
        self.notice_streams = made(world, lambda: self.nats.bucket_clock.now_s)
        self.forgotten: set[str] = set()
        """Games of which any partition has forgotten one."""
        self.objects = ModelObjects(self.told)
        self.tombstones: dict[str, bytes] = {}
        """Of games that are forgotten, by subject."""
        self.pulls: dict[int, list[ModelPull]] = {}
        """Who pulls a partition's blocks."""
        self.listeners: dict[str, list[ModelSubscription]] = {}
        self.on_results: Callable[[Process, PartitionResults], None] = lambda process, results: None
