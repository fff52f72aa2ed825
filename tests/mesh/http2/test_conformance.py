"""RFC 9113 and RFC 7541: what a server makes of what it receives, over its socket, one connection a case.

The cases follow the list of the public suite h2spec (github.com/summerwind/h2spec) and its sections, which
are those of RFC 7540. The suite itself was run against the engine, see docs/threat-model.md: of its 147 cases
five have another outcome. Two of 5.3.1, as priorities are deprecated, and three whose client uses a dynamic
table ("generic 5 a table of size 128", twice, and 6.10, which repeats a field by its index), as our SETTINGS
leave none. Requests are plain HTTP, like the suite's; test_violations.py has gRPC calls, without sockets.
"""

from __future__ import annotations

import hpack
import pytest

from mesh.http2 import frames as f
from tests.support.games import run
from tests.support.http2_peer import data
from tests.support.http2_service import ECHO, Echo, serving
from tests.support.http2_wire import (
    HANDSHAKE,
    Case,
    Expected,
    alive,
    answered,
    content,
    done,
    goaway,
    play,
    pong,
    reset,
    settled,
)

Field = tuple[str, str]

_ENCODER = hpack.Encoder()
_ENCODER.header_table_size = 0
_ENCODER.encode([])
STREAMS_MAX = 3


def block(*fields: Field) -> bytes:
    """Without a dynamic table: it means the same wherever it stands."""
    return _ENCODER.encode(fields)


def request(method: str = "GET", *more: Field) -> tuple[Field, ...]:
    return ((":method", method), (":scheme", "http"), (":path", "/"), (":authority", "test"), *more)


GET, POST, MORE = block(*request()), block(*request("POST")), block(("x-dummy", "x" * 3_000))
LAST, ALL = f.END_STREAM, f.END_HEADERS
PRIORITY = b"\0\0\0\0\xff"


def headers(part: bytes = GET, stream: int = 1, flags: int = LAST | ALL) -> bytes:
    return f.frame(f.HEADERS, flags, stream, part)


def opened(part: bytes = POST, stream: int = 1) -> bytes:
    return headers(part, stream, ALL)


def continuation(part: bytes = MORE, stream: int = 1, flags: int = ALL) -> bytes:
    return f.frame(f.CONTINUATION, flags, stream, part)


PREFACES: dict[str, Case] = {
    "3.5 a preface is answered with SETTINGS": (f.PREFACE + f.settings({}), settled(1)),
    "3.5 no preface": (b"INVALID CONNECTION PREFACE\r\n\r\n", goaway(f.PROTOCOL_ERROR)),
    "3.5 HTTP/1.1 with an upgrade to h2c": (
        b"GET / HTTP/1.1\r\nHost: t\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n",
        goaway(f.PROTOCOL_ERROR),
    ),
}


def ending(expected: Expected, sent: dict[str, bytes]) -> dict[str, Case]:
    return {name: (what, expected) for name, what in sent.items()}


CASES: dict[str, Case] = {
    **ending(
        alive,
        {
            "generic 2 PRIORITY on an idle stream": f.frame(f.PRIORITY, 0, 1, PRIORITY),
            "generic 2 RST_STREAM on a half-closed stream": f.settings({f.INITIAL_WINDOW_SIZE: 0})
            + headers()
            + f.rst_stream(1, f.CANCEL),
            "generic 3.4 RST_STREAM": opened() + f.rst_stream(1, f.CANCEL),
            "generic 3.9 WINDOW_UPDATE of the connection": f.window_update(0, 1),
            "4.1 an unknown type": f.frame(0x16, 0, 0, bytes(8)),
            "5.3.1 PRIORITY that depends on itself": f.frame(f.PRIORITY, 0, 1, b"\0\0\0\1\xff"),
            "6.5.2 an unknown setting": f.settings({0xFF: 1}),
            "7 RST_STREAM with an unknown code": opened() + f.rst_stream(1, 0xFF),
        },
    ),
    **ending(
        answered(),
        {
            "generic 3.1 DATA": opened() + data(1, b"test", last=True),
            "generic 3.1 DATA twice": opened() + data(1, b"test") + data(1, b"test", last=True),
            "generic 3.1 DATA with padding": opened() + data(1, b"test", last=True, padding=5),
            "generic 3.2 HEADERS": headers(),
            "generic 3.2 HEADERS with padding": headers(
                b"\x05" + GET + b"\0" * 5, flags=LAST | ALL | f.PADDED
            ),
            "generic 3.2 HEADERS with a priority": headers(
                PRIORITY + GET, flags=LAST | ALL | f.WITH_PRIORITY
            ),
            "generic 3.2 HEADERS with both": headers(
                b"\x05" + PRIORITY + GET + b"\0" * 5, flags=LAST | ALL | f.WITH_PRIORITY | f.PADDED
            ),
            "generic 3.9 WINDOW_UPDATE of a stream": headers() + f.window_update(1, 1),
            "generic 3.10 CONTINUATION": headers(GET[:5], flags=LAST) + continuation(GET[5:]),
            "generic 3.10 CONTINUATION twice": headers(GET[:1], flags=LAST)
            + continuation(GET[1:5], flags=0)
            + continuation(GET[5:]),
            "generic 4 HEAD": headers(block(*request("HEAD"))),
            "generic 4 CONNECT": headers(block((":method", "CONNECT"), (":authority", "test:80"))),
            "generic 4 OPTIONS of *": headers(
                block((":method", "OPTIONS"), (":scheme", "http"), (":path", "*"))
            ),
            "generic 4 POST with trailers": opened(block(*request("POST", ("trailer", "x-test"))))
            + data(1, b"test")
            + headers(block(("x-test", "ok"))),
            "generic 5 a table of size 0": headers(b"\x20" + GET),
            "generic 5 a table of size 0, twice": headers(b"\x20\x20" + GET),
            "4.1 the reserved bit of a stream": opened(stream=1 | 1 << 31)
            + data(1 | 1 << 31, b"", last=True),
            "4.2 DATA of 2^14 octets": opened() + data(1, bytes(2**14), last=True),
            "5.3.1 HEADERS that depend on themselves": headers(
                b"\0\0\0\1\xff" + GET, flags=LAST | ALL | f.WITH_PRIORITY
            ),
            "6.10 CONTINUATION with fields of its own": headers(flags=LAST)
            + continuation(flags=0)
            + continuation(),
        },
    ),
    **ending(
        goaway(f.COMPRESSION_ERROR),
        {
            "generic 5 a table of size 128": headers(b"\x3f\x61" + GET),
            "generic 5 a table of size 128, then 4096": headers(b"\x3f\x61\x3f\xe1\x1f" + GET),
            "4.3 an invalid field block": headers(b"\x00\xff\xff\xff\xff\xff"),
            "4.3 an invalid field block of a stream that is closed": opened()
            + f.rst_stream(1, f.CANCEL)
            + headers(b"\x00\xff\xff\xff\xff\xff"),
            "hpack 6.3 a table larger than our SETTINGS allow": headers(b"\x21" + GET),
            "hpack 4.1 an entry of the table that our SETTINGS left empty": headers(GET + b"\x40\x01a\x01b")
            + headers(GET + b"\xbe", 3),
        },
    ),
    **ending(
        goaway(f.FRAME_SIZE_ERROR),
        {
            "4.2 DATA of more than MAX_FRAME_SIZE": opened() + data(1, bytes(2**14 + 1)),
            "4.2 HEADERS of more than MAX_FRAME_SIZE": headers(GET + block(("x", "~" * 2**14))),
            "4.2 DATA too short for the length of its padding": opened() + f.frame(f.DATA, f.PADDED, 1),
            "4.2 HEADERS too short for the length of their padding": headers(b"", flags=ALL | f.PADDED),
            "4.2 HEADERS too short for their priority": headers(b"\0\0\0\0", flags=ALL | f.WITH_PRIORITY),
            "6.4 RST_STREAM of 3 octets": opened() + f.frame(f.RST_STREAM, 0, 1, bytes(3)),
            "6.5 an ACK of SETTINGS with content": f.frame(f.SETTINGS, f.ACK, 0, b"\0"),
            "6.5 SETTINGS of 3 octets": f.frame(f.SETTINGS, 0, 0, b"\0\3\0"),
            "6.7 PING of 6 octets": f.frame(f.PING, 0, 0, bytes(6)),
            "6.9 WINDOW_UPDATE of 3 octets": f.frame(f.WINDOW_UPDATE, 0, 0, b"\0\0\1"),
        },
    ),
    **ending(
        goaway(f.PROTOCOL_ERROR),
        {
            "4.3 PRIORITY within a field block": headers(flags=LAST)
            + f.frame(f.PRIORITY, 0, 1, PRIORITY)
            + continuation(),
            "4.3 HEADERS of another stream within a field block": headers(flags=LAST)
            + headers(stream=3)
            + continuation(),
            "5.1 idle: DATA": data(1, b"test", last=True),
            "5.1 idle: RST_STREAM": f.rst_stream(1, f.CANCEL),
            "5.1 idle: WINDOW_UPDATE": f.window_update(1, 100),
            "5.1 idle: CONTINUATION": continuation(GET),
            "5.1 idle, of the server: WINDOW_UPDATE": f.window_update(2, 100),
            "5.1 half-closed: CONTINUATION": headers() + continuation(GET),
            "5.1 reset by the client: HEADERS": opened() + f.rst_stream(1, f.CANCEL) + headers(),
            "5.1 reset by the client: CONTINUATION": opened() + f.rst_stream(1, f.CANCEL) + continuation(),
            "5.1.1 an even stream": headers(stream=2),
            "5.1.1 a stream below the one before": headers(stream=5) + headers(stream=3),
            "5.4.1 a connection error": f.frame(f.PING, 0, 3, bytes(8)),
            "5.5 an unknown frame within a field block": headers(flags=LAST)
            + f.frame(0x16, 0, 0, bytes(8))
            + continuation(),
            "6.1 DATA on stream 0": data(0, b"test"),
            "6.1 DATA with more padding than content": opened()
            + f.frame(f.DATA, f.PADDED | LAST, 1, b"\x06Test"),
            "6.2 HEADERS on stream 0": headers(stream=0),
            "6.2 HEADERS with more padding than content": headers(
                bytes([len(GET) + 1]) + GET, flags=LAST | ALL | f.PADDED
            ),
            "6.3 PRIORITY on stream 0": f.frame(f.PRIORITY, 0, 0, PRIORITY),
            "6.4 RST_STREAM on stream 0": f.rst_stream(0, f.CANCEL),
            "6.5 SETTINGS on a stream": f.frame(f.SETTINGS, 0, 1, b"\0\3\0\0\0\x64"),
            "6.7 PING on a stream": f.frame(f.PING, 0, 1, bytes(8)),
            "6.8 GOAWAY on a stream": f.frame(f.GOAWAY, 0, 1, bytes(8)),
            "6.9 WINDOW_UPDATE of the connection by 0": f.window_update(0, 0),
            "6.10 DATA after CONTINUATION without END_HEADERS": headers(POST, flags=0)
            + continuation(flags=0)
            + data(1, b"test", last=True),
            "6.10 CONTINUATION on stream 0": headers(flags=LAST) + continuation(stream=0),
            "6.10 CONTINUATION after HEADERS with END_HEADERS": headers() + continuation(),
            "6.10 CONTINUATION after CONTINUATION with END_HEADERS": headers(flags=LAST)
            + continuation()
            + continuation(),
            "6.10 CONTINUATION after DATA": headers(POST, flags=0)
            + data(1, b"test", last=True)
            + continuation(),
            "8.2 PUSH_PROMISE": f.frame(f.PUSH_PROMISE, ALL, 1, b"\0\0\0\3" + GET),
        },
    ),
    **ending(
        reset(f.STREAM_CLOSED),
        {
            "5.1 half-closed: DATA": f.settings({f.INITIAL_WINDOW_SIZE: 0})
            + headers()
            + data(1, b"test", last=True),
            "5.1 half-closed: HEADERS": f.settings({f.INITIAL_WINDOW_SIZE: 0}) + headers() + headers(),
            "5.1 reset by the client: DATA": opened()
            + f.rst_stream(1, f.CANCEL)
            + data(1, b"test", last=True),
        },
    ),
    **ending(
        reset(f.FRAME_SIZE_ERROR),
        {
            "6.3 PRIORITY of 4 octets": opened() + f.frame(f.PRIORITY, 0, 1, b"\x80\0\0\1"),
        },
    ),
    **ending(
        reset(f.PROTOCOL_ERROR),
        {
            "6.9 WINDOW_UPDATE of a stream by 0": opened() + f.window_update(1, 0),
            "6.9 WINDOW_UPDATE of a half-closed stream by 0": f.settings({f.INITIAL_WINDOW_SIZE: 0})
            + headers()
            + f.window_update(1, 0),
            "8.1 HEADERS in the middle of a request": opened()
            + data(1, b"test")
            + opened(block(("x-test", "ok"))),
            "8.1.2.1 a pseudo-header field in trailers": opened()
            + data(1, b"test")
            + headers(block((":method", "POST"))),
            "8.1.2.6 less DATA than content-length": opened(block(*request("POST", ("content-length", "5"))))
            + data(1, b"test", last=True),
            "8.1.2.6 more DATA than content-length": opened(block(*request("POST", ("content-length", "1"))))
            + data(1, b"test", last=True),
            "8.1.2.6 several DATA, more than content-length": opened(
                block(*request("POST", ("content-length", "5")))
            )
            + data(1, b"test")
            + data(1, b"test", last=True),
            "8.1.2.6 trailers before content-length is reached": opened(
                block(*request("POST", ("content-length", "5")))
            )
            + data(1, b"test")
            + headers(block(("x-test", "ok"))),
            "8.1.2.6 content-length without content": headers(
                block(*request("GET", ("content-length", "1")))
            ),
        },
    ),
    **ending(
        goaway(f.FLOW_CONTROL_ERROR),
        {
            "6.9.1 the connection's window above 2^31 - 1": f.window_update(0, 2**31 - 1) * 2,
        },
    ),
    **ending(
        reset(f.FLOW_CONTROL_ERROR),
        {
            "6.9.1 a stream's window above 2^31 - 1": opened() + f.window_update(1, 2**31 - 1) * 2,
        },
    ),
    "generic 2 WINDOW_UPDATE on a half-closed stream": (
        f.settings({f.INITIAL_WINDOW_SIZE: 0}) + headers() + f.window_update(1, 1),
        content(1),
    ),
    "generic 2 PRIORITY on a half-closed stream": (
        f.settings({f.INITIAL_WINDOW_SIZE: 0})
        + headers()
        + f.frame(f.PRIORITY, 0, 1, PRIORITY)
        + f.window_update(1, 1),
        content(1),
    ),
    "generic 2 PRIORITY on a closed stream": (headers(), done, f.frame(f.PRIORITY, 0, 1, PRIORITY), alive),
    **{
        f"generic 3.3 PRIORITY {name}": (f.frame(f.PRIORITY, 0, stream, payload) + headers(), answered())
        for name, stream, payload in (
            ("of weight 1", 1, b"\0\0\0\0\0"),
            ("of weight 256", 1, b"\0\0\0\0\xff"),
            ("with a dependency", 3, b"\0\0\0\1\0"),
            ("that is exclusive", 1, b"\x80\0\0\0\0"),
            ("on a higher idle stream", 3, PRIORITY),
        )
    },
    "generic 3.5 SETTINGS": (f.settings({f.MAX_CONCURRENT_STREAMS: 100}), settled(2)),
    "generic 3.7 PING": (f.frame(f.PING, 0, 0, b"its data"), pong(b"its data")),
    "generic 3.8 GOAWAY": (
        headers() + f.goaway(0, f.NO_ERROR, ""),
        lambda seen: seen.is_closed and done(seen),
    ),
    **{
        f"generic 5 a field that is {name}": (headers(GET + bytes.fromhex(representation)), answered())
        for name, representation in (
            ("indexed", "ba"),
            ("added to the table, its name indexed", "7a06683273706563"),
            ("added to the table, its name indexed, by Huffman", "7a849c48aca4"),
            ("added to the table", "4006782d7465737406683273706563"),
            ("added to the table, by Huffman", "4085f2b24a84ff849c48aca4"),
            ("not added to the table, its name indexed", "0f2b06683273706563"),
            ("not added to the table, its name indexed, by Huffman", "0f2b849c48aca4"),
            ("not added to the table", "0006782d7465737406683273706563"),
            ("not added to the table, by Huffman", "0085f2b24a84ff849c48aca4"),
            ("never indexed, its name indexed", "1f2b06683273706563"),
            ("never indexed, its name indexed, by Huffman", "1f2b849c48aca4"),
            ("never indexed", "1006782d7465737406683273706563"),
            ("never indexed, by Huffman", "1085f2b24a84ff849c48aca4"),
        )
    },
    "4.1 an undefined flag": (f.frame(f.PING, 0x16, 0, bytes(8)), pong(bytes(8))),
    "4.1 the reserved bit": (
        f.frame(f.PING, 0x16, 1 << 31, bytes(8)),
        pong(bytes(8)),
    ),
    "5.1 closed: DATA": (headers(), done, data(1, b"test", last=True), reset(f.STREAM_CLOSED)),
    "5.1 closed: HEADERS": (headers(), done, headers(), goaway(f.PROTOCOL_ERROR)),
    "5.1 closed: CONTINUATION": (headers(), done, continuation(), goaway(f.PROTOCOL_ERROR)),
    "5.1 closed: WINDOW_UPDATE and RST_STREAM": (
        headers(),
        done,
        f.window_update(1, 1) + f.window_update(1, 0) + f.rst_stream(1, f.CANCEL),
        alive,
    ),
    "5.1.2 more streams than there may be": (
        f.settings({f.INITIAL_WINDOW_SIZE: 0})
        + b"".join(headers(stream=1 + 2 * n) for n in range(STREAMS_MAX + 1)),
        reset(f.REFUSED_STREAM, 1 + 2 * STREAMS_MAX),
    ),
    **{
        f"6.5.2 {name}": (f.settings(values), goaway(code))
        for name, values, code in (
            ("ENABLE_PUSH of 2", {f.ENABLE_PUSH: 2}, f.PROTOCOL_ERROR),
            ("INITIAL_WINDOW_SIZE of 2^31", {f.INITIAL_WINDOW_SIZE: 2**31}, f.FLOW_CONTROL_ERROR),
            ("MAX_FRAME_SIZE below 2^14", {f.MAX_FRAME_SIZE: 2**14 - 1}, f.PROTOCOL_ERROR),
            ("MAX_FRAME_SIZE of 2^24", {f.MAX_FRAME_SIZE: 2**24}, f.PROTOCOL_ERROR),
        )
    },
    "6.5.3 the last of two values counts": (
        f.frame(f.SETTINGS, 0, 0, b"\0\4\0\0\0\x64\0\4\0\0\0\1") + headers(),
        content(1),
    ),
    "6.5.3 SETTINGS are acknowledged": (f.settings({f.ENABLE_PUSH: 0}), settled(2)),
    "6.7 an answer to no PING": (
        f.frame(f.PING, f.ACK, 0, b"invalid\0"),
        lambda seen: alive(seen) and b"invalid\0" not in [each.payload for each in seen.of(f.PING)],
    ),
    "6.9.1 a window of 1": (f.settings({f.INITIAL_WINDOW_SIZE: 1}), settled(2), headers(), content(1)),
    "6.9.2 a new INITIAL_WINDOW_SIZE moves the window of an open stream": (
        f.settings({f.INITIAL_WINDOW_SIZE: 0}),
        settled(2),
        headers(),
        answered(),
        f.settings({f.INITIAL_WINDOW_SIZE: 1}),
        content(1),
    ),
    "6.9.2 a window below 0": (
        f.settings({f.INITIAL_WINDOW_SIZE: 3}) + headers(),
        content(3),
        f.settings({f.INITIAL_WINDOW_SIZE: 2}),
        settled(3),
        f.window_update(1, 2),
        content(3, 1),
    ),
    "7 GOAWAY with an unknown code": (
        f.goaway(0, 0xFF, ""),
        lambda seen: seen.is_closed and not seen.of(f.GOAWAY),
    ),
    **{
        f"8.1.2 {name}": (headers(block(*fields)), reset(f.PROTOCOL_ERROR))
        for name, fields in (
            ("a name in upper case", request("GET", ("X-TEST", "ok"))),
            ("an unknown pseudo-header field", request("GET", (":test", "ok"))),
            ("a pseudo-header field of responses", request("GET", (":status", "200"))),
            ("a pseudo-header field after others", (("x-test", "ok"), *request())),
            ("a field of one connection", request("GET", ("connection", "keep-alive"))),
            ("te other than trailers", request("GET", ("te", "trailers, deflate"))),
            ("an empty :path", (*request()[:2], (":path", ""))),
            ("no :method", request()[1:]),
            ("no :scheme", (request()[0], *request()[2:])),
            ("no :path", (*request()[:2], request()[3])),
            ("two of :method", request("GET", request()[0])),
            ("two of :scheme", request("GET", request()[1])),
            ("two of :path", request("GET", request()[2])),
        )
    },
    **{
        f"hpack {name}": (headers(GET + bytes.fromhex(rest)), goaway(f.COMPRESSION_ERROR))
        for name, rest in (
            ("2.3.3 an index beyond the tables", "c6"),
            ("2.3.3 a literal's index beyond the tables", "7f0700"),
            ("4.2 a table's size after a field", "20"),
            ("5.1 an integer of too many octets", "ff" + "80" * 20 + "00"),
            ("5.1 an integer that is too large", "ffffffffffffff7f"),
            ("5.1 an integer that does not end", "ff80"),
            ("5.2 a string that does not end", "0005ab"),
            ("5.2 padding of more than 7 bits", "0085f2b24a84ff8449509fff"),
            ("5.2 padding by zeros", "0085f2b24a84ff83495090"),
            ("5.2 the symbol EOS", "0085f2b24a84ff874951fffffffa7f"),
            ("6.1 index 0", "80"),
        )
    },
}


async def _played(case: Case) -> None:
    async with serving({ECHO: Echo}, streams_max=STREAMS_MAX) as (_, address):
        await play(address, case)


@pytest.mark.parametrize("name", CASES)
def test_a_settled_connection(name: str) -> None:
    run(_played(HANDSHAKE + CASES[name]))


@pytest.mark.parametrize("name", PREFACES)
def test_a_preface(name: str) -> None:
    run(_played(PREFACES[name]))
