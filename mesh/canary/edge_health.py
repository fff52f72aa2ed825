"""What /healthz at the edge says is wrong, for the reason of an incident."""

from __future__ import annotations

import asyncio
import json
from urllib.parse import urlsplit

_PATIENCE_S = 1.5
_ANSWER_BYTES_MAX = 64 * 1024
_PROMISES = ("stored", "folded", "shown")


async def what_is_wrong(edge: str) -> str:
    """Such as "votes are not folded: Redis does not answer"; "" if all is well. `edge`: HOST:PORT, or an http
    URL; of https it is not asked."""
    at = urlsplit(edge if "://" in edge else f"http://{edge}")
    if at.scheme != "http" or not at.hostname:
        return ""
    try:
        async with asyncio.timeout(_PATIENCE_S):
            content = await _get(at.hostname, at.port or 80)
        found = json.loads(content[content.index(b"{") : content.rindex(b"}") + 1])
        return "; ".join(
            f"votes are not {name}: {found[name]['reason']}" for name in _PROMISES if not found[name]["ok"]
        )
    except TimeoutError:
        return f"nobody answers /healthz at the edge within {_PATIENCE_S:g} s"
    except OSError as error:
        return f"the edge cannot be reached: {error}"
    except (ValueError, KeyError, TypeError):
        said = content[:200].partition(b"\r\n")[0].decode(errors="replace")
        return f"no gateway answers /healthz: the edge says {said}"


async def _get(host: str, port: int) -> bytes:
    """The answer with its headers."""
    reader, writer = await asyncio.open_connection(host, port)
    try:
        writer.write(f"GET /healthz HTTP/1.1\r\nhost: {host}:{port}\r\nconnection: close\r\n\r\n".encode())
        answer = bytearray()
        while len(answer) < _ANSWER_BYTES_MAX and (more := await reader.read(_ANSWER_BYTES_MAX)):
            answer += more
        return bytes(answer)
    finally:
        writer.close()
