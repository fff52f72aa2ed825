"""grpc.health.v1.Health: what Envoy and the supervisor call (grpc/doc/health-checking.md). Pure.

Bound: WATCHES_MAX watches, RESOURCE_EXHAUSTED beyond. A watch sends every change; to a slow
client it sends the newest status when the client reads again.
"""

from __future__ import annotations

from google.protobuf.message import DecodeError
from grpc_health.v1.health_pb2 import HealthCheckRequest, HealthCheckResponse

from grandstand.wire.errors import Exhausted, Invalid, Unknown, shown
from mesh.http2.call import Accept, Call, Handler, Metadata
from mesh.http2.errors import UNIMPLEMENTED
from mesh.http2.unary import unary

WATCHES_MAX = 1_000
CHECK = "/grpc.health.v1.Health/Check"
WATCH = "/grpc.health.v1.Health/Watch"

_SERVING = HealthCheckResponse.SERVING
_NOT_SERVING = HealthCheckResponse.NOT_SERVING
_SERVICE_UNKNOWN = HealthCheckResponse.SERVICE_UNKNOWN


class Health:
    """Which services serve; "" is the process."""

    def __init__(self) -> None:
        self._serving: dict[str, bool] = {}
        self._watches: set[_HealthWatch] = set()

    def set(self, service: str, serving: bool) -> None:
        self._serving[service] = serving
        self._notify()

    def all_not_serving(self) -> None:
        self._serving = dict.fromkeys(self._serving, False)
        self._notify()

    def methods(self) -> dict[str, Accept]:
        return {CHECK: unary(self._check), WATCH: self._watch}

    def status(self, service: str) -> int:
        """A HealthCheckResponse.ServingStatus."""
        serving = self._serving.get(service)
        if serving is None:
            return int(_SERVICE_UNKNOWN)
        return int(_SERVING if serving else _NOT_SERVING)

    def _notify(self) -> None:
        for watch in list(self._watches):
            watch.send_change()

    def _check(self, request: bytes, _: Metadata) -> bytes:
        service = _service(request)
        status = self.status(service)
        if status == _SERVICE_UNKNOWN:
            raise Unknown(f"service: {shown(service)} is not served here")
        return _response(status)

    def _watch(self, call: Call) -> Handler:
        if len(self._watches) >= WATCHES_MAX:
            raise Exhausted(f"{WATCHES_MAX} health watches are open, the most there may be; use Check")
        watch = _HealthWatch(self, call)
        self._watches.add(watch)
        return watch

    def forget(self, watch: _HealthWatch) -> None:
        self._watches.discard(watch)


class _HealthWatch:
    """One Watch call: sends each change of the status once the request has named the service."""

    def __init__(self, health: Health, call: Call) -> None:
        self._health = health
        self._call = call
        self._service: str | None = None
        self._sent: int | None = None

    def received(self, message: bytes) -> None:
        if self._service is not None:
            self._end(UNIMPLEMENTED, "a second request; Watch takes one")
            return
        try:
            self._service = _service(message)
        except Invalid as error:
            self._end(error.code, error.message)
            return
        self.send_change()

    def send_change(self) -> None:
        if self._service is None or not self._call.is_writable:
            return
        status = self._health.status(self._service)
        if status != self._sent:
            self._sent = status
            self._call.send(_response(status))

    def half_closed(self) -> None:
        if self._service is None:
            self._end(UNIMPLEMENTED, "no request came; Watch takes one")

    def writable(self) -> None:
        self.send_change()

    def gone(self) -> None:
        self._health.forget(self)

    def _end(self, code: int, message: str) -> None:
        self._health.forget(self)
        self._call.end(code, message)


def _service(request: bytes) -> str:
    try:
        return str(HealthCheckRequest.FromString(request).service)
    except DecodeError:
        raise Invalid(f"request: {len(request)} bytes that are no HealthCheckRequest") from None


def _response(status: int) -> bytes:
    return bytes(HealthCheckResponse(status=status).SerializeToString())
