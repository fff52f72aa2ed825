"""Rewrites the times in what a NATS server sends, so that its clock seems to be off. Pure.

A server whose clock is set stamps what it stores from then on by the new time, and what it stored before
keeps its stamp. So a time is shifted by what was in force at that moment, not by what is in force now: a
message that is read twice has one time, and the fold of a stream stays a function of the stream (I4).

Where a server sends times:

    MSG, HMSG   the reply subject of a message from a consumer, `$JS.ACK.….<time>.<pending>[.<random>]`, in ns
    HMSG        the header `Nats-Time-Stamp` of a direct get, RFC 3339
    MSG         the strings of JetStream's own JSON answers, RFC 3339; the year 1 (never) is left alone

Everything else passes byte for byte. Lengths are those of what is sent on.

Bounds: one message is held back until it is complete, at most the server's max_payload; one entry is kept
for each change of the clock.
"""

from __future__ import annotations

import bisect
import calendar
import re
import time

_TIME = rb"(\d{4})-(\d\d)-(\d\d)T(\d\d):(\d\d):(\d\d)(?:\.(\d{1,9}))?(Z|[+-]\d\d:\d\d)"
_IN_JSON = re.compile(rb'(?<=")' + _TIME + rb'(?=")')
_IN_HEADERS = re.compile(rb"(?<=\r\nNats-Time-Stamp: )" + _TIME)
_API_ANSWER = b'{"type":"io.nats.jetstream.'
_ACK = b"$JS.ACK."
_ACK_TIME = {9: 7, 11: 9, 12: 9}
"""By the number of tokens of an ack subject, which of them is the time: without and with domain and
account."""
_NS = 10**9
_CRLF = b"\r\n"


class ClockShifts:
    """The error of a clock over time."""

    def __init__(self) -> None:
        self._from_ns: list[int] = []
        self._shift_ns: list[int] = []

    def set(self, now_ns: int, shift_ns: int) -> None:
        """From `now_ns` on the clock is `shift_ns` ahead; negative: behind."""
        self._from_ns.append(now_ns)
        self._shift_ns.append(shift_ns)

    def shifted(self, at_ns: int) -> int:
        """What the clock showed at `at_ns`."""
        index = bisect.bisect_right(self._from_ns, at_ns) - 1
        return at_ns + (self._shift_ns[index] if index >= 0 else 0)


class NatsTimes:
    """One connection's bytes from the server to a client."""

    def __init__(self, shifts: ClockShifts) -> None:
        self._shifts = shifts
        self._held = b""

    def feed(self, data: bytes) -> bytes:
        """What to send on now. Raises ValueError for what is not the NATS protocol."""
        data = self._held + data
        sent: list[bytes] = []
        at = 0
        while (end := data.find(_CRLF, at)) >= 0:
            line = data[at:end]
            head, _, _ = line.partition(b" ")
            if head not in (b"MSG", b"HMSG"):
                sent.append(data[at : end + 2])
                at = end + 2
                continue
            words = line.split()
            body_at, size = end + 2, int(words[-1])
            if len(data) < body_at + size + 2:
                break
            body = data[body_at : body_at + size]
            sent.append(self._message(words, body))
            at = body_at + size + 2
        self._held = data[at:]
        return b"".join(sent)

    def _message(self, words: list[bytes], body: bytes) -> bytes:
        sizes = 2 if words[0] == b"HMSG" else 1
        head = words[:-sizes]
        if len(head) == 4:
            head[3] = self._ack_subject(head[3])
        header_size = int(words[-2]) if sizes == 2 else 0
        headers = _IN_HEADERS.sub(self._time, body[:header_size]) if header_size else b""
        payload = body[header_size:]
        if payload.startswith(_API_ANSWER):
            payload = _IN_JSON.sub(self._time, payload)
        lengths = [len(headers)] if sizes == 2 else []
        lengths.append(len(headers) + len(payload))
        return b" ".join([*head, *(b"%d" % n for n in lengths)]) + _CRLF + headers + payload + _CRLF

    def _ack_subject(self, reply: bytes) -> bytes:
        if not reply.startswith(_ACK):
            return reply
        tokens = reply.split(b".")
        index = _ACK_TIME.get(len(tokens))
        if index is None or not tokens[index].isdigit():
            return reply
        tokens[index] = b"%d" % self._shifts.shifted(int(tokens[index]))
        return b".".join(tokens)

    def _time(self, found: re.Match[bytes]) -> bytes:
        year, month, day, hour, minute, second = map(int, found.groups()[:6])
        if year < 1970:
            return found[0]
        fraction, zone = found[7] or b"", found[8]
        offset_s = 0
        if zone != b"Z":
            offset_s = (int(zone[1:3]) * 3600 + int(zone[4:6]) * 60) * (-1 if zone[:1] == b"-" else 1)
        local_s = calendar.timegm((year, month, day, hour, minute, second))
        at_ns = (local_s - offset_s) * _NS + int(fraction.ljust(9, b"0"))
        seconds, ns = divmod(self._shifts.shifted(at_ns) + offset_s * _NS, _NS)
        shown = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(seconds))
        return (shown + f".{ns:09d}".rstrip("0").rstrip(".")).encode() + zone
