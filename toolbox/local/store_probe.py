"""What our own NATS and Valkey are asked to prove: that they store something. Over an open connection.

Two kinds of trouble are told apart. A store that says why it does no work is WEDGED: nats-server 2.15 keeps a
stream's write error until it is restarted, also when its cause is gone, and a JetStream that shut itself down
stays away. An answer that does not come is silence, which a busy machine explains as well.

Measured on a full disk: 2.15.1 does not answer a publish into the stream whose write failed, takes those into
other streams, and tells of it in /healthz; 2.10.26 answers with the error, and stores again once there is
room.
"""

from __future__ import annotations

import asyncio
import json
from typing import NamedTuple

from mesh import disk
from mesh.jetstream import subjects
from toolbox.local.lifecycle import Answer
from toolbox.local.store_users import SUPERVISOR

REASON_CHARS_MAX = 200
_INBOX = subjects.replies(SUPERVISOR)
_KEY = f"{SUPERVISOR}:probe"
_SUBJECT = subjects.probe(SUPERVISOR, "nats")
# As Bus.ensure_probes_stream makes it: whoever is first.
_PROBES_CONFIG = {
    "name": subjects.PROBES_STREAM,
    "subjects": [subjects.PROBES_ALL],
    "retention": "limits",
    "storage": "file",
    "max_msgs_per_subject": 1,
    "max_age": 3_600_000_000_000,
    "num_replicas": 1,
}
_NO_RESPONDERS = b"503"
_REPLY_BYTES_MAX = 64 * 1024
_CONNECT = {"verbose": False, "pedantic": False, "headers": True, "no_responders": True, "name": SUPERVISOR}


class ProbeAnswer(NamedTuple):
    """What a probe heard; `problem` is why there is no work done, for a person, or ""."""

    answer: Answer
    problem: str = ""


def unhealthy_nats(body: bytes) -> ProbeAnswer:
    """Of a /healthz that is not 200."""
    try:
        said = str(json.loads(body)["error"])
    except (ValueError, LookupError, TypeError):
        said = "JetStream is unavailable"
    return ProbeAnswer(Answer.WEDGED, _worded(said))


async def nats(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, password: str = "") -> ProbeAnswer:
    """Publishes into PROBES, which it makes if it is not there. Raises OSError, EOFError, ValueError."""
    login = {"user": SUPERVISOR, "pass": password} if password else {}
    writer.write(f"CONNECT {json.dumps(_CONNECT | login)}\r\nSUB {_INBOX} 1\r\n".encode())
    stored = await _request(reader, writer, _SUBJECT, b"1")
    if stored is None:
        made = await _request(
            reader,
            writer,
            f"$JS.API.STREAM.CREATE.{subjects.PROBES_STREAM}",
            json.dumps(_PROBES_CONFIG).encode(),
        )
        if made is None:
            return ProbeAnswer(Answer.WEDGED, "JetStream is disabled")
        if "error" in made:
            return ProbeAnswer(Answer.WEDGED, _worded(_described(made)))
        stored = await _request(reader, writer, _SUBJECT, b"1")
    if stored is None or "error" in stored:
        return ProbeAnswer(Answer.WEDGED, _worded(_described(stored or {})))
    return ProbeAnswer(Answer.SERVING)


async def _request(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, subject: str, payload: bytes
) -> dict[str, object] | None:
    """The answer; None when nobody is there to give one. Raises ValueError for what is not NATS."""
    writer.write(f"PUB {subject} {_INBOX} {len(payload)}\r\n".encode() + payload + b"\r\n")
    while True:
        line = await reader.readline()
        verb, *words = line.split()
        if verb == b"PING":
            writer.write(b"PONG\r\n")
        elif verb in (b"MSG", b"HMSG"):
            body = await reader.readexactly(min(int(words[-1]), _REPLY_BYTES_MAX) + 2)
            if verb == b"HMSG":
                return None if _NO_RESPONDERS in body[:32] else {}
            answer = json.loads(body)
            if not isinstance(answer, dict):
                raise ValueError("not an answer of JetStream")
            return answer
        elif verb == b"-ERR":
            raise ValueError(line.decode("utf-8", "replace"))


def _described(answer: dict[str, object]) -> str:
    error = answer.get("error")
    said = error.get("description") if isinstance(error, dict) else None
    return str(said or "JetStream did not store a probe")


async def valkey(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, password: str = ""
) -> ProbeAnswer:
    """Writes and reads a key. Raises OSError, ValueError."""
    if password:
        writer.write(_command("AUTH", SUPERVISOR, password))
    writer.write(_command("SET", _KEY, "1") + _command("GET", _KEY))
    line = await reader.readline()
    if password and line == b"+OK\r\n":
        line = await reader.readline()
    if line == b"+OK\r\n":
        read = await reader.readline() + await reader.readline()
        return ProbeAnswer(Answer.SERVING if read == b"$1\r\n1\r\n" else Answer.ALIVE)
    said = line.decode("utf-8", "replace").strip().removeprefix("-")
    if line.startswith((b"-MISCONF", b"-READONLY", b"-OOM")):
        return ProbeAnswer(Answer.WEDGED, _worded(said))
    if line.startswith((b"-LOADING", b"-NOAUTH", b"-BUSY")):
        return ProbeAnswer(Answer.ALIVE, said[:REASON_CHARS_MAX])
    return ProbeAnswer(Answer.SILENT)


def _command(*words: str) -> bytes:
    parts = [f"*{len(words)}", *(part for word in words for part in (f"${len(word)}", word)), ""]
    return "\r\n".join(parts).encode()


def _worded(said: str) -> str:
    return disk.worded(said)[:REASON_CHARS_MAX]
