"""`status` has the words of /healthz, and where nobody answers it says that."""

from __future__ import annotations

import contextlib
import json
import socket
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from grandstand.aggregate.v1.aggregate_pb2 import PartitionStatus
from toolbox.local import health, partitions

WELL = {"ok": True, "reason": "", "since": None}
STUCK = {"ok": False, "reason": "aggregate-1 was not heard for 4 s", "since": "2026-11-29T10:00:00.000+00:00"}
ALL_WELL = {"ok": True, "stored": WELL, "folded": WELL, "shown": WELL, "settling": False}
NOT_FOLDED = ALL_WELL | {"ok": False, "folded": STUCK}


@contextlib.contextmanager
def edge(*answers: tuple[int, bytes]) -> Iterator[str]:
    """Gives these answers, and the last again and again."""
    left = list(answers)

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            status, content = left.pop(0) if len(left) > 1 else left[0]
            self.send_response(status)
            self.end_headers()
            self.wfile.write(content)

        def log_request(self, code: int | str = "-", size: int | str = "-") -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()


def test_what_the_gateway_answers_is_told_as_it_is() -> None:
    with edge((503, json.dumps(NOT_FOLDED).encode())) as url:
        found = health.read(url)
    assert found == NOT_FOLDED
    assert health.headline("ready", found) == "not well, votes are not folded"
    assert health.headline("recovering, valkey away", found) == "recovering, valkey away"
    assert list(health.lines(found)) == [
        ("stored: yes", True),
        (
            "folded: no, since 2026-11-29T10:00:00.000+00:00: aggregate-1 was not heard for 4 s",
            False,
        ),
        ("shown: yes", True),
    ]
    assert health.headline("ready", ALL_WELL) == "ready"


def test_a_gateway_that_has_only_just_begun_is_asked_again() -> None:
    settling = NOT_FOLDED | {"settling": True}
    with edge((503, json.dumps(settling).encode()), (200, json.dumps(ALL_WELL).encode())) as url:
        assert health.read(url) == ALL_WELL


@pytest.mark.parametrize("content", [b"no healthy upstream", b"{}", b"[1]", b'{"ok": true, "stored": 1}'])
def test_an_edge_without_a_gateway_is_no_health(content: bytes) -> None:
    with edge((503, content)) as url:
        found = health.read(url)
    assert not found["ok"]
    assert found["shown"]["reason"] == f"no gateway answers: the edge says 503 {content.decode()}"


def test_an_edge_that_does_not_answer_is_named() -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        at = f"127.0.0.1:{closed.getsockname()[1]}"
        found = health.read(f"http://{at}")
    assert not found["ok"]
    assert f"the edge at {at} does not answer: " in found["stored"]["reason"]
    with socket.create_server(("127.0.0.1", 0)) as silent, pytest.MonkeyPatch.context() as patch:
        patch.setattr(health, "PATIENCE_S", 0.1)
        found = health.read(f"http://127.0.0.1:{silent.getsockname()[1]}")
        assert "did not answer within 0.1 s" in found["stored"]["reason"]


def test_what_nobody_owns_is_not_called_folded() -> None:
    owned = PartitionStatus(partition=0, owner="aggregate-1")
    unowned = PartitionStatus(partition=1)
    assert partitions.summary([owned]) == "partitions: 1, 1 aggregate-1; folded up to the last block"
    owned.sweep_ms = 3_000
    assert partitions.summary([owned]).endswith("; each key of their state is checked every 3 s")
    owned.flush_ms = 50
    assert "last block; overloaded: results of partition 0 come every 50 ms; each" in partitions.summary(
        [owned]
    )
    many = [PartitionStatus(partition=n, owner="aggregate-1", flush_ms=50 + n) for n in range(9)]
    assert "results of partition 0, 1, 2, 3 and 5 more come every 58 ms" in partitions.summary(many)
    assert partitions.summary([unowned]) == "partitions: 1, 1 without an owner; nothing is folded"
    assert "last block" not in partitions.summary([owned, unowned])
