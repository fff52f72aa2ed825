"""Small unary methods: one request in, one response out, computed at once. Pure."""

from __future__ import annotations

from collections.abc import Callable

from grandstand.wire.errors import GrandstandError
from mesh.http2.call import Accept, Call, Handler, Metadata
from mesh.http2.errors import UNIMPLEMENTED

Answer = Callable[[bytes, Metadata], bytes]
"""From a request to its response. Raises GrandstandError: the call ends with its code, message and delay."""


def unary(answer: Answer) -> Accept:
    """`answer` is called once the client has sent all; whatever else it raises ends the call INTERNAL."""

    def accept(call: Call) -> Handler:
        return _Unary(call, answer)

    return accept


class _Unary:
    __slots__ = ("_answer", "_call", "_metadata", "_request")

    def __init__(self, call: Call, answer: Answer) -> None:
        self._call = call
        self._answer = answer
        self._metadata = call.metadata
        self._request: bytes | None = None

    def received(self, message: bytes) -> None:
        if self._request is not None:
            self._call.end(UNIMPLEMENTED, "a second request; this method takes one")
        self._request = message

    def half_closed(self) -> None:
        if self._request is None:
            self._call.end(UNIMPLEMENTED, "no request came; this method takes one")
            return
        try:
            response = self._answer(self._request, self._metadata)
        except GrandstandError as error:
            self._call.end(error.code, error.message, error.retry_after_s)
            return
        self._call.send(response)
        self._call.end()

    def writable(self) -> None:
        pass

    def gone(self) -> None:
        pass
