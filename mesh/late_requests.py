"""A call of grpc.aio whose request does not come ends after REQUEST_PATIENCE_S, as on mesh.http2.

grpc.aio reads a unary request before the handler, and waits for it without bound: a stranger on loopback, or
a caller of the mesh listener, could hold as many calls as it likes for as long as it likes. So the request is
read here, with a bound. A call whose client sends a stream is left to its handler (`SendNoticeToActors` has
bounds of its own).

Rejected: to cancel the call's task, of which grpc tells the client nothing.
"""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from contextlib import aclosing
from typing import Any, TypeAlias, cast

import grpc
import grpc.aio

from mesh.http2.bounds import REQUEST_PATIENCE_S

Handler: TypeAlias = "grpc.RpcMethodHandler[Any, Any]"
Context = grpc.aio.ServicerContext[Any, Any]


class LateRequests(grpc.aio.ServerInterceptor):
    def __init__(self, patience_s: float = REQUEST_PATIENCE_S) -> None:
        self._patience_s = patience_s

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[Handler | None]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> Handler | None:
        handler: Any = await continuation(handler_call_details)
        if handler is None or handler.request_streaming:
            return cast("Handler | None", handler)
        codec = handler.request_deserializer, handler.response_serializer
        if not handler.response_streaming:
            return grpc.stream_unary_rpc_method_handler(self._answering(handler.unary_unary), *codec)
        behaviour = handler.unary_stream
        telling = self._telling if inspect.isasyncgenfunction(behaviour) else self._answering
        return grpc.stream_stream_rpc_method_handler(telling(behaviour), *codec)

    def _answering(self, behaviour: Callable[..., Awaitable[Any]]) -> Any:
        async def answer(_: AsyncIterator[Any], context: Context) -> Any:
            return await behaviour(await self._request(context), context)

        return answer

    def _telling(self, behaviour: Callable[..., AsyncGenerator[Any, None]]) -> Any:
        async def tell(_: AsyncIterator[Any], context: Context) -> AsyncIterator[Any]:
            async with aclosing(behaviour(await self._request(context), context)) as responses:
                async for response in responses:
                    yield response

        return tell

    async def _request(self, context: Context) -> Any:
        try:
            async with asyncio.timeout(self._patience_s):
                request = await context.read()
        except TimeoutError:
            request = grpc.aio.EOF
        if request is grpc.aio.EOF:
            why = f"no request came within {self._patience_s:g} s; send it with the call"
            await context.abort(grpc.StatusCode.DEADLINE_EXCEEDED, why)
        return request
