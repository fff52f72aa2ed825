"""Publishes a recording: reads, waits for each event's moment, sends, and keeps the account.

The events go out on one session in the producer role, in the order of the file. At `speed` 1
they keep their distances, at 10 they come ten times as fast, at 0 as fast as the mesh takes them:
the session's credit holds the reader back, so memory does not depend on the file's length (I7).
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial

from grandstand.client import Publisher, Receipt, Refused, SessionLost, Shed, Token, open_channel
from toolbox.load.recording import BadLineError, Line, RecordingReader
from toolbox.load.source import Source, UnreadableError

CLIENT = "grandstand-replay"
CONNECT_S = 10.0
DRAIN_S = 60.0
# Of bad lines and of refused events, this many are shown one by one; all are counted.
SHOWN_MAX = 100
# Lines read without giving the loop a turn.
BURST = 256
REPORT_S = 0.2


@dataclass(slots=True)
class ReplaySummary:
    """The closing account of a replay."""

    file: str
    lines: int = 0
    sent: int = 0
    acked: int = 0
    refused: Counter[str] = field(default_factory=Counter)
    shed: int = 0
    bad: int = 0
    # Lines whose identity came before: resends in the recording.
    repeated: int = 0
    unsettled: int = 0
    # Why it ended before the end of the file.
    ended: str = ""

    def as_json(self) -> dict[str, object]:
        fields = {name: getattr(self, name) for name in self.__dataclass_fields__}
        return {**fields, "refused": dict(self.refused)}


class Replay:
    """One replay. `stop` ends the reading early; what was sent is still settled."""

    def __init__(
        self,
        path: str,
        edge: str,
        *,
        speed: float,
        game_id: str,
        complain: Callable[[str], None],
        token: Token | None = None,
        on_progress: Callable[[ReplaySummary, int | None], None] = lambda *_: None,
    ) -> None:
        self.stop = asyncio.Event()
        self.summary = ReplaySummary(path)
        self._edge = edge
        self._token = token
        self._speed = speed
        self._reader = RecordingReader(game_id)
        self._complain = complain
        self._on_progress = on_progress
        self._complaints: Counter[str] = Counter()
        self._start_s = 0.0

    async def run(self) -> ReplaySummary:
        """Raises OSError when the file cannot be opened, ClientError when no mesh answers."""
        summary = self.summary
        source = Source(summary.file)
        async with open_channel(self._edge) as channel:
            publisher = Publisher(channel, producer=True, client=CLIENT, token=self._token)
            publisher.start()
            reporting: asyncio.Task[None] | None = None
            try:
                await publisher.connected(CONNECT_S)
                reporting = asyncio.create_task(self._report(source.lines_total()))
                sending = asyncio.create_task(self._send_all(source, publisher))
                stopping = asyncio.create_task(self.stop.wait())
                await asyncio.wait([sending, stopping], return_when=asyncio.FIRST_COMPLETED)
                for task in (sending, stopping):
                    task.cancel()
                await asyncio.wait([sending, stopping])
                if not sending.cancelled():
                    sending.result()
                await publisher.drain(DRAIN_S)
            except SessionLost as lost:
                summary.ended = f"the session was lost at line {summary.lines}: {lost}"
            finally:
                await publisher.aclose()
                source.close()
                if reporting is not None:
                    reporting.cancel()
        summary.unsettled = summary.sent - summary.acked - summary.refused.total() - summary.shed
        return summary

    async def _report(self, lines_total: int | None) -> None:
        while True:
            self._on_progress(self.summary, lines_total)
            await asyncio.sleep(REPORT_S)

    async def _send_all(self, source: Source, publisher: Publisher) -> None:
        summary = self.summary
        self._start_s = asyncio.get_running_loop().time()
        try:
            while raw := await source.next():
                summary.lines += 1
                if raw.strip():
                    await self._send(raw, summary.lines, publisher)
                if summary.lines % BURST == 0:
                    await asyncio.sleep(0)
        except UnreadableError as error:
            summary.ended = f"cannot be read after line {summary.lines}: {error}"

    async def _send(self, raw: bytes, number: int, publisher: Publisher) -> None:
        summary = self.summary
        try:
            line = self._reader.read(raw)
        except BadLineError as error:
            summary.bad += 1
            self._say("bad", f"line {number}: {error}")
            return
        if line is None:
            summary.repeated += 1
            return
        await self._wait(line)
        receipt = await publisher.submit(line.event)
        summary.sent += 1
        receipt.add_done_callback(partial(self._settled, number))

    async def _wait(self, line: Line) -> None:
        """Until the line's moment."""
        if not self._speed or line.at_s is None:
            return
        delay_s = self._start_s + line.at_s / self._speed - asyncio.get_running_loop().time()
        if delay_s > 0:
            await asyncio.sleep(delay_s)

    def _settled(self, number: int, receipt: asyncio.Future[Receipt]) -> None:
        error = receipt.exception()
        if error is None:
            self.summary.acked += 1
        elif isinstance(error, Refused):
            self.summary.refused[error.code.name] += 1
            self._say("refused", f"line {number}: {error}")
        elif isinstance(error, Shed):
            self.summary.shed += 1
            self._say("shed", f"line {number}: {error}")

    def _say(self, kind: str, text: str) -> None:
        self._complaints[kind] += 1
        if self._complaints[kind] <= SHOWN_MAX:
            self._complain(text)
        elif self._complaints[kind] == SHOWN_MAX + 1:
            self._complain(f"more than {SHOWN_MAX} lines are {kind}; further ones are only counted")
