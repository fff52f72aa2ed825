"""trace vote: one vote through the mesh, and where its time went."""

from __future__ import annotations

import asyncio
import json
import secrets
import socket
import time
import urllib.request
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any
from urllib.parse import urlsplit

import typer

from toolbox.cli.credentials import TokenOption, acting
from toolbox.cli.home import HomeOption
from toolbox.cli.rpc import GameOption, JsonOption, run_rpc
from toolbox.local import waterfall
from toolbox.local.errors import MeshError
from toolbox.local.running import MeshAddresses, running_mesh

if TYPE_CHECKING:
    from grandstand.client import Token, Viewer
    from grandstand.event.v1.event_pb2 import Position

SEEN_S = 10.0
SPANS_S = 3.0
SPANS_AGAIN_S = 0.05
_WAY_OUT = "./grandstand status tells how the mesh is"


def register(app: typer.Typer) -> None:
    traces = typer.Typer(help="Follow one event through the mesh.", no_args_is_help=True)
    traces.callback()(_one_of_several)
    traces.command()(vote)
    app.add_typer(traces, name="trace")


def _one_of_several() -> None:
    """So that typer keeps the command's name though it is alone."""


@dataclass(frozen=True, slots=True)
class _Ballot:
    game_id: str
    poll_id: str | None
    option_id: str | None
    actor_id: str


@dataclass(slots=True)
class _Sent:
    topic: str
    acked_ns: int
    seen_ns: int


def vote(
    poll: Annotated[
        str | None, typer.Argument(help="The poll's id.", show_default="the first that is open")
    ] = None,
    option: Annotated[
        str | None, typer.Argument(help="The option's id.", show_default="the poll's first")
    ] = None,
    actor: Annotated[
        str | None,
        typer.Option("--actor", metavar="ID", help="Who votes.", show_default="a new one each time"),
    ] = None,
    game: GameOption = "demo",
    home: HomeOption = None,
    token: TokenOption = None,
    as_json: JsonOption = False,
) -> None:
    """Send one vote, watch it come back, and draw where its time went. The vote counts.

    It needs a token that may force a trace: a producer's, an owner's or an operator's.

    Example: ./grandstand trace vote mvp nova
    """
    at = running_mesh(home)
    if at.metrics is None:
        raise MeshError("this mesh says nowhere what it measures: no admin ports, so its spans are not read")
    ballot = _Ballot(game, poll, option, actor or f"trace-{secrets.token_hex(4)}")
    from toolbox.cli.command_trace import SERVICE, command_span

    with command_span("grandstand trace vote", at.otlp, is_kept=True) as span:
        assert span is not None
        sent = run_rpc(_sent(at.edge, acting(token, home), ballot, span))
        span.ended_ns = sent.seen_ns
    own = {"service": SERVICE, "instance": SERVICE} | span.as_json()
    way, spans = _found(at.metrics, own)
    if as_json:
        print(json.dumps(_as_json(span.trace_id, way, spans, sent, own["started_ns"])))
        return
    print(
        f"Vote of {ballot.actor_id} in {sent.topic} of {game}:"
        f" acked after {(sent.acked_ns - span.started_ns) / 1e6:.1f} ms,"
        f" on a screen after {way.total_ms:.1f} ms.\n"
    )
    print("\n".join(waterfall.drawn(way, spans)))
    print(f"\nThe slowest part is {way.slowest.name}: {way.slowest.ms:.1f} of {way.total_ms:.1f} ms.")
    print(f"trace {span.trace_id}{_kept_where(at, span.trace_id)}")


def _as_json(
    trace_id: str, way: waterfall.VotePath, spans: list[Mapping[str, Any]], sent: _Sent, began_ns: int
) -> dict[str, Any]:
    return {
        "trace_id": trace_id,
        "topic": sent.topic,
        "acked_ms": (sent.acked_ns - began_ns) / 1e6,
        "seen_ms": way.total_ms,
        "parts": [{"name": part.name, "ms": part.ms} for part in way.parts],
        "slowest": way.slowest.name,
        "spans": spans,
    }


async def _sent(edge: str, token: Token, ballot: _Ballot, span: Any) -> _Sent:
    from grandstand.client import Viewer, open_channel
    from grandstand.client.credentials import StreamToken, metadata_of
    from grandstand.event.v1.event_pb2 import Event, Vote
    from grandstand.gateway.v1.gateway_pb2 import IssueOriginRequest, SendRequest
    from grandstand.gateway.v1.gateway_pb2_grpc import GatewayServiceStub

    jwt = StreamToken(token).ask()
    topics = f"poll/{ballot.poll_id}" if ballot.poll_id else "poll/*"
    async with open_channel(edge) as channel:
        stub: Any = GatewayServiceStub(channel)
        screen = _Screen(Viewer(channel, ballot.game_id, topics=[topics]))
        watching = asyncio.create_task(screen.watch())
        try:
            async with asyncio.timeout(SEEN_S):
                await screen.until(watching, lambda: bool(screen.shown))
                topic, option_id = _chosen(screen.viewer, ballot)
                issued = await stub.IssueOrigin(IssueOriginRequest(), metadata=metadata_of(jwt))
                event = Event(
                    game_id=ballot.game_id,
                    actor_id=ballot.actor_id,
                    origin_id=issued.origin_id,
                    origin_seq=1,
                    vote=Vote(poll_id=topic.partition("/")[2], option_ids=[option_id]),
                )
                span.started_ns = time.time_ns()
                answer = await stub.Send(SendRequest(event=event), metadata=metadata_of(jwt))
                acked_ns = time.time_ns()
                await screen.until(watching, lambda: screen.seen_ns(answer.positions[0]) > 0)
        except TimeoutError:
            raise MeshError(
                f"the vote was not acked and on a screen within {SEEN_S:g} s; it may be stored; {_WAY_OUT}"
            ) from None
        finally:
            watching.cancel()
            await asyncio.wait([watching])
    return _Sent(topic, acked_ns, screen.seen_ns(answer.positions[0]))


class _Screen:
    """What a viewer is shown, and when."""

    def __init__(self, viewer: Viewer) -> None:
        self.viewer = viewer
        self.shown: list[tuple[int, dict[int, int]]] = []
        """After each message: Unix nanoseconds, and by partition the sequence that is shown."""
        self._news = asyncio.Event()

    async def watch(self) -> None:
        async for _ in self.viewer:
            applied = {each.partition: each.sequence for each in self.viewer.cache.applied()}
            self.shown.append((time.time_ns(), applied))
            self._news.set()

    async def until(self, watching: asyncio.Task[None], is_so: Callable[[], bool]) -> None:
        """Raises MeshError when the stream ends before it is."""
        while not is_so():
            self._news.clear()
            news = asyncio.create_task(self._news.wait())
            await asyncio.wait({news, watching}, return_when=asyncio.FIRST_COMPLETED)
            news.cancel()
            if watching.done():
                watching.result()
                raise MeshError("the game ended before the vote was on a screen")

    def seen_ns(self, position: Position) -> int:
        """When it was first shown; 0 if it is not."""
        return next((at for at, by in self.shown if by.get(position.partition, 0) >= position.sequence), 0)


def _chosen(viewer: Viewer, ballot: _Ballot) -> tuple[str, str]:
    """The topic and the option. Raises MeshError."""
    from grandstand.catalog.v1.catalog_pb2 import STAGE_OPEN

    for topic, state in sorted(viewer.states.items()):
        if state.stage == STAGE_OPEN and state.WhichOneof("value") == "tally":
            return topic, ballot.option_id or state.tally.options[0].option_id
    which = f"poll {ballot.poll_id!r} is not open" if ballot.poll_id else "no poll is open"
    raise MeshError(
        f"{which} in game {ballot.game_id!r}; ./grandstand poll list shows polls, poll open opens one"
    )


def _found(metrics: str, own: Mapping[str, Any]) -> tuple[waterfall.VotePath, list[Mapping[str, Any]]]:
    """The way of the vote, once all of its spans have ended. Raises MeshError."""
    url = f"{metrics.removesuffix('/metrics')}/spans"
    give_up_at = time.monotonic() + SPANS_S
    while True:
        page = _page(url)
        spans = [own, *waterfall.of_trace(page["processes"], own["trace_id"])]
        way = waterfall.path_of_vote(spans, "the edge and the way to the screen")
        if way is not None:
            return way, spans
        if time.monotonic() > give_up_at:
            break
        time.sleep(SPANS_AGAIN_S)
    if len(spans) == 1:
        raise MeshError(
            "the vote counts, but no service kept a span of it: its token may not force a trace; give the"
            " --token of a producer, an owner or an operator"
        )
    there = ", ".join(sorted({str(span["service"]) for span in spans}))
    silent = f"; no answer from {', '.join(page['silent'])}" if page["silent"] else ""
    raise MeshError(
        f"the vote counts, but its trace is not whole: spans of {there} alone{silent}; {_WAY_OUT}"
    )


def _page(url: str) -> dict[str, Any]:
    try:
        with urllib.request.urlopen(url, timeout=SPANS_S) as answer:
            found: dict[str, Any] = json.load(answer)
            return found
    except (OSError, ValueError) as error:
        raise MeshError(
            f"the vote counts, but its spans cannot be read at {url}: {error}; {_WAY_OUT}"
        ) from None


def _kept_where(at: MeshAddresses, trace_id: str) -> str:
    if at.otlp is None:
        return (
            ": of the services' own memory, without Envoy's part in it; up --traces starts a collector with"
            " a UI, up --otlp URL takes yours"
        )
    place = urlsplit(at.otlp)
    try:
        with socket.create_connection((place.hostname or "", place.port or 4317), timeout=1.0):
            pass
    except OSError as error:
        return (
            f": the collector at {at.otlp} does not answer ({error}), spans are dropped; start it again, or"
            " restart with up --traces"
        )
    return f": {at.traces_ui}/traces/detail/{trace_id}" if at.traces_ui else f": at {at.otlp}"
