"""`python -m toolbox.chaos.proxy HOME WAY=PORT…`: how the services of a mesh reach its stores, and what
goes wrong there.

A way is `ingest-1 nats` or `gateway-2 valkey`: a port of its own, behind which is the store of the mesh in
HOME, or whatever it was given since. One JSON object a line on stdin says what goes wrong; what it names
stays so until said otherwise:

    {"hold": "ingest-1 nats", "up": true, "down": false}  carries nothing in these directions, closes nothing;
                                                           what was sent comes late, as over TCP
    {"slow": "nats", "s": 2.5}                             replies of this store, or on this way, are later
    {"clock": 30}                                          NATS's clock is so much ahead (see `nats_times`)
    {"target": "valkey", "address": "127.0.0.1:6380"}      where new connections go; open ones stay

A process of its own, so that it stalls nobody else. Bound: a connection has at most `_CHUNKS` chunks of
`_CHUNK_BYTES` under way in each direction; its sender waits beyond that.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import signal
import sys
import time
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any

from toolbox.chaos.nats_times import ClockShifts, NatsTimes
from toolbox.local import status
from toolbox.local.child import end_with_parent_process
from toolbox.local.home import Home

_CHUNK_BYTES = 64 * 1024
_CHUNKS = 32


class Proxy:
    """All ways of one mesh."""

    def __init__(self, home: Path) -> None:
        self._status = Home(home).status
        self._targets: dict[str, str] = {}
        self._slow_s: dict[str, float] = {}
        self._clock = ClockShifts()
        self._open: dict[tuple[str, str], asyncio.Event] = defaultdict(asyncio.Event)

    def obey(self, order: dict[str, Any]) -> None:
        """Raises KeyError for what is no order."""
        if "hold" in order:
            for direction in ("up", "down"):
                gate = self._gate(order["hold"], direction)
                if order[direction]:
                    gate.clear()
                else:
                    gate.set()
        elif "slow" in order:
            self._slow_s[order["slow"]] = float(order["s"])
        elif "clock" in order:
            self._clock.set(time.time_ns(), round(float(order["clock"]) * 1e9))
        else:
            self._targets[order["target"]] = order["address"]

    def _gate(self, way: str, direction: str) -> asyncio.Event:
        """Set while this direction carries what comes."""
        key = way, direction
        if key not in self._open:
            self._open[key].set()
        return self._open[key]

    def _delay_s(self, way: str, store: str) -> float:
        return self._slow_s.get(store, 0.0) + self._slow_s.get(way, 0.0)

    def _target(self, store: str) -> str:
        """Empty while it is not known."""
        if store in self._targets:
            return self._targets[store]
        found = status.read(self._status)
        return next((s.address for s in found.services if s.name == store), "") if found else ""

    async def serve(self, way: str, port: int) -> asyncio.Server:
        """Listens; port 0 is any."""
        store = way.split()[1]

        async def forward(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            with contextlib.closing(writer), contextlib.suppress(OSError):
                # Whoever asks before the store is up tries again.
                host, _, at = self._target(store).rpartition(":")
                if not host:
                    return
                there, back = await asyncio.open_connection(host, int(at))
                with contextlib.closing(back):
                    times = NatsTimes(self._clock)
                    down = times.feed if store == "nats" else None
                    ways = [
                        asyncio.create_task(self._carry(reader, back, way, "up", lambda: 0.0)),
                        asyncio.create_task(
                            self._carry(there, writer, way, "down", lambda: self._delay_s(way, store), down)
                        ),
                    ]
                    try:
                        await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
                    finally:
                        for task in ways:
                            task.cancel()

        return await asyncio.start_server(forward, "127.0.0.1", port)

    async def _carry(
        self,
        source: asyncio.StreamReader,
        sink: asyncio.StreamWriter,
        way: str,
        direction: str,
        delay_s: Callable[[], float],
        rewrite: Callable[[bytes], bytes] | None = None,
    ) -> None:
        """One direction of one connection, until its source ends."""
        loop = asyncio.get_running_loop()
        under_way: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue(_CHUNKS)
        late = 0
        gate = self._gate(way, direction)

        async def write(data: bytes) -> bool:
            """False when nobody is there to take it."""
            if sink.is_closing():
                return False
            sink.write(rewrite(data) if rewrite else data)
            try:
                await sink.drain()
            except OSError:
                return False
            return True

        async def take() -> None:
            nonlocal late
            data = b"-"
            while data:
                try:
                    data = await source.read(_CHUNK_BYTES)
                except OSError:
                    data = b""
                wait_s = delay_s()
                # Most of the time nothing is wrong: the fewer turns of the loop it costs, the better.
                if data and not (late or wait_s) and gate.is_set():
                    data = data if await write(data) else b""
                    if data:
                        continue
                late += 1
                await under_way.put((loop.time() + wait_s, data))

        taking = asyncio.create_task(take())
        try:
            while True:
                due_s, data = await under_way.get()
                await asyncio.sleep(max(0.0, due_s - loop.time()))
                await gate.wait()
                if not data or not await write(data):
                    return
                late -= 1
        finally:
            taking.cancel()


async def _run(home: Path, ways: dict[str, int]) -> None:
    loop = asyncio.get_running_loop()
    proxy = Proxy(home)
    for way, port in ways.items():
        await proxy.serve(way, port)
    orders = asyncio.StreamReader()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(orders), sys.stdin)
    print("ready", flush=True)
    while line := await orders.readline():
        proxy.obey(json.loads(line))


if __name__ == "__main__":
    end_with_parent_process(signal.SIGKILL)
    asyncio.run(
        _run(Path(sys.argv[1]), {way: int(port) for way, _, port in (a.partition("=") for a in sys.argv[2:])})
    )
