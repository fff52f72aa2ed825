"""Counts the calls of a grpc.aio server as mesh.http2.calls counts those of our engine.

It is the innermost interceptor: the span that the tracing one opens is the running one here.
"""

from __future__ import annotations

import asyncio
import inspect
import time
from collections.abc import Awaitable, Callable
from typing import Any, TypeAlias, cast

import grpc
import grpc.aio
from opentelemetry import trace

from mesh import telemetry
from mesh.metrics.rpc_counts import RpcCounts

_OK, _CANCELLED, _UNKNOWN = 0, 1, 2

Handler: TypeAlias = "grpc.RpcMethodHandler[Any, Any]"
Details = grpc.HandlerCallDetails


class CountCalls(grpc.aio.ServerInterceptor):
    def __init__(self, counts: RpcCounts) -> None:
        self._counts = counts

    async def intercept_service(
        self, continuation: Callable[[Details], Awaitable[Handler | None]], handler_call_details: Details
    ) -> Handler | None:
        handler = await continuation(handler_call_details)
        if handler is None:
            return handler
        path = handler_call_details.method
        for kind in ("unary_unary", "stream_unary", "unary_stream", "stream_stream"):
            behavior = getattr(handler, kind)
            if behavior is not None:
                # A named tuple, as the generated stubs make it.
                replaced: Handler = cast(Any, handler)._replace(**{kind: self._counted(path, behavior)})
                return replaced
        return handler

    def _counted(self, path: str, behavior: Callable[..., Any]) -> Callable[..., Any]:
        """The same, whether it answers once, writes its answers, or yields them."""
        if inspect.isasyncgenfunction(behavior):

            async def yielding(request: Any, context: Any) -> Any:
                call = _CountedCall(self._counts, path, context)
                try:
                    async for response in behavior(request, context):
                        yield response
                except BaseException as error:
                    call.ended(error)
                    raise
                call.ended(None)

            return yielding

        async def answering(request: Any, context: Any) -> Any:
            call = _CountedCall(self._counts, path, context)
            try:
                response = await behavior(request, context)
            except BaseException as error:
                call.ended(error)
                raise
            call.ended(None)
            return response

        return answering


class _CountedCall:
    __slots__ = ("_began_s", "_calls", "_context")

    def __init__(self, counts: RpcCounts, path: str, context: Any) -> None:
        self._calls = counts.open(path)
        self._context = context
        self._began_s = time.monotonic()

    def ended(self, error: BaseException | None) -> None:
        """`error`: what the handler raised. An abort has set the code by then."""
        code = self._context.code() or _OK
        code = int(code if isinstance(code, int) else code.value[0])
        if isinstance(error, asyncio.CancelledError | GeneratorExit):
            code = _CANCELLED
        elif error is not None:
            code = code or _UNKNOWN
        traced = telemetry.traceparent_of(trace.get_current_span()) if telemetry.has_collector() else ""
        self._calls.end(code, time.monotonic() - self._began_s, traced)
