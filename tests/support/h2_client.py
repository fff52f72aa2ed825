"""The `h2` library as a client of `mesh.http2.connection`; a test cuts the wire between them as it likes.

h2 judges what it is sent: whatever the server does against RFC 9113 (windows, frame sizes, states of streams,
header blocks) raises in `down`. What lies on the wire in either direction is delivered as far as told.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

import h2.config
import h2.connection
import h2.events as e
from h2.errors import ErrorCodes
from h2.settings import SettingCodes

from mesh.http2 import frames as f
from mesh.http2.call import Accept
from tests.support.http2_peer import PATH, Peer, message, request_fields


@dataclass
class ClientCall:
    id: int
    path: str
    unsent: bytearray
    """Framed messages."""
    is_done_sending: bool = False
    received: bytearray = field(default_factory=bytearray)
    held: int = 0
    """Received bytes that were not acknowledged with WINDOW_UPDATE."""
    headers: dict[str, str] = field(default_factory=dict)
    trailers: dict[str, str] = field(default_factory=dict)
    reset_code: int | None = None
    is_ended: bool = False

    @property
    def is_over(self) -> bool:
        return self.is_ended or self.reset_code is not None

    def messages(self) -> list[bytes]:
        """Raises AssertionError for what are no whole messages."""
        found, at, data = [], 0, bytes(self.received)
        while at < len(data):
            flag, length = f.PREFIX.unpack_from(data, at)
            assert flag == 0
            at += f.PREFIX_BYTES
            found.append(data[at : at + length])
            assert len(found[-1]) == length
            at += length
        return found


class H2Client:
    def __init__(self, accept: Accept, *, message_bytes_max: int = 256 * 1024) -> None:
        self.peer = Peer(accept, message_bytes_max=message_bytes_max)
        self.calls: list[ClientCall] = []
        self.pings_answered = 0
        self.settings_acked = 0
        self.goaways: list[ErrorCodes | int] = []
        self._by_id: dict[int, ClientCall] = {}
        self._up = bytearray()
        self._down = bytearray()
        self._h2 = h2.connection.H2Connection(h2.config.H2Configuration(client_side=True))
        self._h2.initiate_connection()

    # What the client does. What may not be done just now is left.

    def open(self, payloads: list[bytes], path: str = PATH, *more: tuple[str, str]) -> ClientCall:
        number = self._h2.get_next_available_stream_id()
        self._h2.send_headers(number, request_fields(path, *more))
        call = ClientCall(number, path, bytearray(b"".join(map(message, payloads))))
        self.calls.append(call)
        self._by_id[number] = call
        return call

    def write(self, call: ClientCall, size: int, padding: int | None = None) -> int:
        """At most `size` bytes of what is unsent, as windows allow; END_STREAM with the last."""
        if call.is_over or call.is_done_sending:
            return 0
        cost = 0 if padding is None else padding + 1
        window = self._h2.local_flow_control_window(call.id) - cost
        size = min(size, len(call.unsent), window, self._h2.max_outbound_frame_size - cost)
        if size < 0 or (size == 0 and call.unsent):
            return 0
        data = bytes(call.unsent[:size])
        del call.unsent[:size]
        call.is_done_sending = not call.unsent
        self._h2.send_data(call.id, data, end_stream=call.is_done_sending, pad_length=padding)
        return size

    def reset(self, call: ClientCall) -> None:
        if not call.is_over:
            self._h2.reset_stream(call.id, ErrorCodes.CANCEL)
            call.reset_code = ErrorCodes.CANCEL

    def acknowledge(self, call: ClientCall, size: int) -> None:
        size = min(size, call.held)
        if size:
            call.held -= size
            self._h2.acknowledge_received_data(size, call.id)

    def settle(self, window: int, frame_size: int) -> None:
        """Left until its first SETTINGS are acknowledged: h2 takes that for an answer to these."""
        if not self.settings_acked:
            return
        self._h2.update_settings(
            {SettingCodes.INITIAL_WINDOW_SIZE: window, SettingCodes.MAX_FRAME_SIZE: frame_size}
        )

    def ping(self) -> None:
        self._h2.ping(b"question")

    # The wire.

    def up(self, size: int) -> int:
        """Delivers at most `size` bytes to the server, in one piece; how many there were."""
        self._up += self._h2.data_to_send()
        data = bytes(self._up[:size])
        del self._up[:size]
        if data:
            self.peer.server.receive(data, self.peer.now)
        return len(data)

    def down(self, size: int) -> int:
        """The same to the client, once the server has had a turn of its loop."""
        self.peer.turn()
        self._down += self.peer.take()
        data = bytes(self._down[:size])
        del self._down[:size]
        if data:
            for event in self._h2.receive_data(data):
                self._take(event)
        return len(data)

    def exchange(self, of: Callable[[], int] = lambda: 65_536) -> None:
        """Until nothing is on the wire in either direction; `of`: the size of each piece."""
        while self.up(of()) + self.down(of()) or self.peer.server.write_buffer.parts:
            pass

    def to_the_end(self, of: Callable[[], int] = lambda: 65_536) -> None:
        """Reads and writes whatever may be, until nothing moves."""
        moves = True
        while moves:
            self.exchange(of)
            moves = False
            for call in self.calls:
                moves |= bool(call.held)
                self.acknowledge(call, call.held)
                before = call.is_done_sending
                moves |= bool(self.write(call, 1 << 20)) or before != call.is_done_sending

    def _take(self, event: e.Event) -> None:
        if isinstance(event, e.DataReceived):
            call = self._by_id[event.stream_id]
            call.received += event.data
            call.held += event.flow_controlled_length
        elif isinstance(event, e.ResponseReceived):
            self._by_id[event.stream_id].headers = _text(event.headers)
        elif isinstance(event, e.TrailersReceived):
            self._by_id[event.stream_id].trailers = _text(event.headers)
        elif isinstance(event, e.StreamEnded):
            self._by_id[event.stream_id].is_ended = True
        elif isinstance(event, e.StreamReset):
            call = self._by_id[event.stream_id]
            if call.reset_code is None:
                call.reset_code = event.error_code
        elif isinstance(event, e.PingAckReceived):
            self.pings_answered += 1
        elif isinstance(event, e.SettingsAcknowledged):
            self.settings_acked += 1
        elif isinstance(event, e.ConnectionTerminated):
            self.goaways.append(event.error_code)


def _text(fields: Iterable[tuple[bytes | str, bytes | str]]) -> dict[str, str]:
    return {_decoded(name): _decoded(value) for name, value in fields}


def _decoded(text: bytes | str) -> str:
    return text if isinstance(text, str) else text.decode()
