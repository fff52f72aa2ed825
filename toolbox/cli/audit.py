"""audit: counts a poll or a board again from the event stream, and compares with what is shown."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Annotated

import typer

from toolbox.cli.explain import Progress, reading_stores
from toolbox.cli.home import HomeOption
from toolbox.cli.rpc import GameOption, JsonOption, counted
from toolbox.local.errors import MeshError

if TYPE_CHECKING:
    from mesh.explain.audit import PartitionAudit
    from mesh.jetstream.bus import Bus
    from mesh.redis.database import Database


def register(app: typer.Typer) -> None:
    noun = typer.Typer(
        help="Count a poll or a board again from the event stream, and compare with what is shown.",
        no_args_is_help=True,
    )
    noun.command("poll")(audit_poll)
    noun.command("board")(audit_board)
    app.add_typer(noun, name="audit")


def audit_poll(
    poll: Annotated[str, typer.Argument(help="The poll's id.")],
    game: GameOption = "demo",
    home: HomeOption = None,
    as_json: JsonOption = False,
) -> None:
    """Count a poll again from the event stream. Ends with 1 if what is shown differs, or cannot be known.

    Example: ./grandstand audit poll mvp
    """
    _audit(game, f"poll/{poll}", home, as_json=as_json)


def audit_board(
    board: Annotated[str, typer.Argument(help="The board's id.")],
    game: GameOption = "demo",
    home: HomeOption = None,
    as_json: JsonOption = False,
) -> None:
    """Count a board again from the event stream. Ends with 1 if what is shown differs, or cannot be known.

    Example: ./grandstand audit board top
    """
    _audit(game, f"board/{board}", home, as_json=as_json)


def _audit(game_id: str, topic: str, home: HomeOption, *, as_json: bool) -> None:
    from grandstand.wire import ids
    from grandstand.wire.errors import GrandstandError

    async def work(bus: Bus, database: Database, progress: Progress) -> list[PartitionAudit]:
        from mesh.explain.audit import Audit

        return await Audit(bus, database, progress).run(game_id, topic)

    try:
        ids.check_id("game", game_id)
        ids.parse_topic(topic)
        audits = reading_stores(home, work, show=not as_json)
    except GrandstandError as error:
        raise MeshError(error.message) from None
    failures = list(failures_of(audits))
    if as_json:
        from mesh.explain import audit

        told = {"topic": topic, "game": game_id, "same": not failures, "partitions": audit.as_json(audits)}
        print(json.dumps(told))
        if failures:
            raise typer.Exit(1)
        return
    for audit_of in audits:
        print(_line(audit_of))
    if failures:
        more = f"; and {len(failures) - 1} more" if len(failures) > 1 else ""
        raise MeshError(f"{topic} of game {game_id}: {failures[0]}{more}")
    print(f"{topic} of game {game_id} is shown as the event stream has it.")


def failures_of(audits: list[PartitionAudit]) -> list[str]:
    found = []
    for audit in audits:
        where = f"partition {audit.partition}"
        if audit.unknown:
            found.append(f"{where} is unknown: {audit.unknown}")
        for each in audit.differences:
            have = "shown" if each.where == "shown" else "in Redis's state"
            found.append(f"{where}, {each.figure}: {each.counted} counted, {each.found} {have}")
    return found


def _line(audit: PartitionAudit) -> str:
    since = f", going on from the checkpoint at {audit.checkpoint}" if audit.checkpoint else ""
    said = f"partition {audit.partition}: {counted(audit.blocks, 'block')} up to {audit.applied}{since}"
    for each in failures_of([audit]):
        said += f"\n  {each}"
    return said
