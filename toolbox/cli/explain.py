"""explain: why an actor's vote counts, or does not."""

from __future__ import annotations

import asyncio
import contextlib
import sys
from collections.abc import Awaitable, Callable, Iterator
from typing import TYPE_CHECKING, Annotated, TypeVar

import typer

from toolbox.cli.home import HomeOption
from toolbox.cli.rpc import GameOption, JsonOption, print_message, seconds_of
from toolbox.local import edge_refusals
from toolbox.local.errors import MeshError
from toolbox.local.running import running_mesh, store_urls
from toolbox.local.store_users import OPERATOR

if TYPE_CHECKING:
    from grandstand.support.v1.support_pb2 import ExplainResponse
    from mesh.jetstream.bus import Bus
    from mesh.redis.database import Database

T = TypeVar("T")

CONNECTED_S = 10.0

Progress = Callable[[int, int], None]


def register(app: typer.Typer) -> None:
    app.command()(explain)


def explain(
    actor: Annotated[str, typer.Option("--actor", metavar="ID", help="Whose events.")],
    game: GameOption = "demo",
    topic: Annotated[
        str | None, typer.Option(metavar="TOPIC", help="Only of this topic, such as poll/mvp.")
    ] = None,
    origin: Annotated[
        str | None, typer.Option(metavar="ORIGIN", help="Only the event of this origin; with --seq.")
    ] = None,
    seq: Annotated[int | None, typer.Option(min=1, metavar="N", help="The event's number.")] = None,
    within: Annotated[
        str, typer.Option(metavar="DURATION", help="Tell what was found by then, and what was not read.")
    ] = "10m",
    home: HomeOption = None,
    as_json: JsonOption = False,
) -> None:
    """Tell what became of what an actor sent: when it was stored, and for what it counts, or why not.

    Example: ./grandstand explain --actor ann --game demo --topic poll/mvp
    """
    from grandstand.wire.errors import Invalid
    from mesh.explain.question import ExplainQuestion

    question = ExplainQuestion(game, actor, topic or "", origin or "", seq or 0)
    try:
        question.check()
    except Invalid as error:
        raise MeshError(error.message) from None
    patience_s = seconds_of(within)

    async def work(bus: Bus, database: Database, progress: Progress) -> ExplainResponse:
        from mesh.explain.explaining import Explainer
        from mesh.redis.results import ResultStore

        give_up_s = asyncio.get_running_loop().time() + patience_s
        return await Explainer(bus, ResultStore(database), progress).explain(question, give_up_s)

    told = reading_stores(home, work, show=not as_json)
    metrics = running_mesh(home).metrics
    if metrics is not None and (refused := asyncio.run(edge_refusals.read(metrics))) is not None:
        told.steps.add(kind="edge", text=str(refused))
    print_message(told, as_json, _lines(told))


def _lines(told: ExplainResponse) -> str:
    lines = []
    for step in told.steps:
        at = step.at.ToJsonString() if step.HasField("at") else ""
        lines.append(f"{at:<27} {step.kind:<12} {step.text}".lstrip() if at else f"{step.kind}: {step.text}")
    return "\n".join([*lines, "", told.summary])


def reading_stores(
    home: HomeOption, work: Callable[[Bus, Database, Progress], Awaitable[T]], *, show: bool
) -> T:
    """Runs `work` with NATS and Redis of the mesh in `home`. Raises MeshError."""
    at = store_urls(home, OPERATOR)

    async def run() -> T:
        from nats.errors import Error as NatsError

        from mesh.jetstream.bus import Bus
        from mesh.redis.database import RedisError, connect
        from mesh.secrecy import without_login

        database, bus = connect(at.redis), None
        try:
            async with asyncio.timeout(CONNECTED_S):
                bus = await Bus.connect(at.nats, "explain")
            with progress_on(show) as progress:
                return await work(bus, database, progress)
        except RedisError as error:
            raise MeshError(f"Redis at {without_login(at.redis)} does not answer ({error})") from None
        except (NatsError, TimeoutError) as error:
            where, why = without_login(at.nats), str(error) or type(error).__name__
            raise MeshError(f"NATS at {where} does not answer ({why}); try again") from None
        finally:
            await database.aclose()
            if bus is not None:
                await bus.close()

    return asyncio.run(run())


@contextlib.contextmanager
def progress_on(show: bool) -> Iterator[Progress]:
    """Blocks read, on stderr where that is a terminal."""
    is_shown = show and sys.stderr.isatty()

    def progress(read: int, left: int) -> None:
        if is_shown:
            sys.stderr.write(f"\rreading: {read:,} blocks, {left:,} to come \x1b[K")
            sys.stderr.flush()

    try:
        yield progress
    finally:
        if is_shown:
            sys.stderr.write("\r\x1b[K")
