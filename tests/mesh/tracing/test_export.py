"""A collector that is away, hangs or talks nonsense: nothing waits for it, and it is said once."""

from __future__ import annotations

import contextlib
import logging
import socket
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import grpc
import pytest
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2 as collector
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2_grpc
from opentelemetry.trace import SpanKind

from mesh.tracing import export
from mesh.tracing.export import SpanExport
from mesh.tracing.record import SpanRecord
from tests.support.mesh_fixture import wait_for
from toolbox.local.ports import Ports

SPANS = 3 * export.QUEUE_MAX


class Listening:
    """Answers each connection with `answer`, or not at all; and does not read."""

    def __init__(self, answer: bytes) -> None:
        self._answer = answer
        self._held: list[socket.socket] = []
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                connection, _ = self._listener.accept()
                self._held.append(connection)
                connection.sendall(self._answer)

    def close(self) -> None:
        self._listener.close()
        for connection in self._held:
            connection.close()


class Collector(trace_service_pb2_grpc.TraceServiceServicer):
    def __init__(self) -> None:
        self.names: list[str] = []

    def Export(self, request: Any, _: Any) -> Any:
        for resource in request.resource_spans:
            for scope in resource.scope_spans:
                self.names += [span.name for span in scope.spans]
        return collector.ExportTraceServiceResponse()


@pytest.fixture
def hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in (("EVERY_S", 0.02), ("EXPORT_S", 0.2), ("STOP_S", 0.5)):
        monkeypatch.setattr(export, name, value)


@pytest.fixture
def said(caplog: pytest.LogCaptureFixture) -> Callable[[], list[str]]:
    caplog.set_level(logging.DEBUG)
    return lambda: [record.getMessage() for record in caplog.records if record.name.startswith("mesh.")]


def span(name: str) -> SpanRecord:
    made = SpanRecord(name, SpanKind.INTERNAL, time.time_ns(), attributes={"a": 1})
    made.event("moment", time.time_ns())
    made.ended_ns = time.time_ns()
    return made


@contextlib.contextmanager
def bad_collector(kind: str) -> Iterator[int]:
    if kind == "absent":
        with contextlib.closing(Ports()) as ports:
            yield ports.take()
        return
    answer = b"" if kind == "hangs" else b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"
    with contextlib.closing(Listening(answer)) as listening:
        yield listening.port


@pytest.mark.parametrize("kind", ["absent", "hangs", "answers garbage"])
def test_a_bad_collector_costs_its_spans_alone_and_is_told_once(
    kind: str, hasty: None, said: Callable[[], list[str]]
) -> None:
    with bad_collector(kind) as port:
        exporting = SpanExport(f"http://127.0.0.1:{port}", "ingest", "ingest-1")
        one = span("one")
        before_s = time.thread_time()
        for _ in range(SPANS):
            exporting.add(one)
        added_us = (time.thread_time() - before_s) / SPANS * 1e6
        assert added_us < 200, "who adds a span does not wait"
        wait_for(lambda: exporting.failures > 2, "it was tried several times")
        (told,) = said()
        assert (
            f"the collector at http://127.0.0.1:{port} takes no spans, which are dropped until it does:"
            in told
        )
        assert "no reason given" not in told
        before_s = time.monotonic()
        exporting.stop()
        assert time.monotonic() - before_s < 5.0
        assert len(said()) == 1


def test_a_collector_that_comes_back_gets_spans_again_and_that_is_told_once(
    hasty: None, said: Callable[[], list[str]]
) -> None:
    with contextlib.closing(Ports()) as ports:
        port = ports.take()
        exporting = SpanExport(f"http://127.0.0.1:{port}", "ingest", "ingest-1")
        exporting.add(span("lost"))
        wait_for(lambda: said(), "it is away")
        server, found = grpc.server(ThreadPoolExecutor(2)), Collector()
        trace_service_pb2_grpc.add_TraceServiceServicer_to_server(found, server)  # type: ignore[no-untyped-call]
        server.add_insecure_port(f"127.0.0.1:{port}")
        server.start()

        def is_taken() -> bool:
            exporting.add(span("taken"))
            return "taken" in found.names

        wait_for(is_taken, "a span is taken")
        exporting.stop()
        server.stop(None)
    assert [("takes spans again" in line) for line in said()] == [False, True]
