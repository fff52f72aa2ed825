"""`python -m toolbox.chaos.link PORT HOME`: one ingest's way to the NATS of the mesh in HOME.

It forwards what comes on PORT. Stopped by SIGSTOP, it is a link that carries nothing and closes nothing; what
was written before comes late, when it goes on. A process of its own, so that it stalls nobody else.
"""

from __future__ import annotations

import asyncio
import contextlib
import signal
import sys
from pathlib import Path
from urllib.parse import urlsplit

from toolbox.local import status
from toolbox.local.child import end_with_parent_process
from toolbox.local.home import Home

_CHUNK_BYTES = 64 * 1024


async def _serve(port: int, home: Home) -> None:
    async def forward(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.closing(writer), contextlib.suppress(OSError):
            found = status.read(home.status)
            if found is None:  # NATS is not up yet: whoever asks tries again
                return
            at = urlsplit(found.addresses.nats)
            there, back = await asyncio.open_connection(at.hostname, at.port)
            with contextlib.closing(back):
                ways = [asyncio.create_task(_copy(reader, back)), asyncio.create_task(_copy(there, writer))]
                await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
                for way in ways:
                    way.cancel()

    server = await asyncio.start_server(forward, "127.0.0.1", port)
    await server.serve_forever()


async def _copy(source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError):
        while data := await source.read(_CHUNK_BYTES):
            sink.write(data)
            await sink.drain()


if __name__ == "__main__":
    end_with_parent_process(signal.SIGKILL)
    asyncio.run(_serve(int(sys.argv[1]), Home(Path(sys.argv[2]))))
