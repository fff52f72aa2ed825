"""notify segments: named sets of actors that an operator keeps, to send to."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from toolbox.cli.credentials import TokenOption, operating
from toolbox.cli.home import HomeOption
from toolbox.cli.notice_options import read_actors
from toolbox.cli.rpc import JsonOption, counted, on_notices
from toolbox.local.errors import MeshError
from toolbox.local.running import running_mesh

SegmentArgument = Annotated[str, typer.Argument(metavar="SEGMENT", help="The segment's name.")]
ActorsArgument = Annotated[list[str] | None, typer.Argument(metavar="[ACTOR]...", help="Whom.")]
FromOption = Annotated[
    str | None,
    typer.Option("--from", metavar="FILE", help="The actors in this file, one a line; -: standard input."),
]


def register(noun: typer.Typer) -> None:
    segments = typer.Typer(help="Keep named sets of actors, to send to.", no_args_is_help=True)
    segments.command("list")(list_segments)
    segments.command("show")(show)
    segments.command("add")(add)
    segments.command("remove")(remove)
    segments.command("delete")(delete)
    noun.add_typer(segments, name="segments")


def list_segments(home: HomeOption = None, token: TokenOption = None, as_json: JsonOption = False) -> None:
    """List the segments there are.

    Example: ./grandstand notify segments list
    """

    async def work(notices: Any) -> list[Any]:
        return [segment async for segment in notices.segments()]

    found = on_notices(running_mesh(home).mesh, work, operating(token, home))
    if as_json:
        _print_json({"segments": [{"segment": each.segment, "actors": each.actors} for each in found]})
    for each in [] if as_json else found:
        print(f"{each.segment}  {counted(each.actors, 'actor')}")
    if not found and not as_json:
        print("No segments.")


def show(
    segment: SegmentArgument,
    home: HomeOption = None,
    token: TokenOption = None,
    as_json: JsonOption = False,
) -> None:
    """Print who belongs to a segment, one a line.

    Example: ./grandstand notify segments show vip
    """

    async def work(notices: Any) -> list[str]:
        return [actor async for actor in notices.segment_actors(segment)]

    found = on_notices(running_mesh(home).mesh, work, operating(token, home))
    if as_json:
        _print_json({"segment": segment, "actorIds": found})
    else:
        print("\n".join(found))


def add(
    segment: SegmentArgument,
    actor: ActorsArgument = None,
    file: FromOption = None,
    home: HomeOption = None,
    token: TokenOption = None,
) -> None:
    """Add actors to a segment, and make it if it is not there.

    Example: ./grandstand notify segments add vip ann bob
    """
    actors = _named(actor, file)
    _change(home, token, lambda notices: notices.change_segment(segment, add=actors))
    print(f"Added to {segment}: {counted(len(actors), 'actor')}.")


def remove(
    segment: SegmentArgument,
    actor: ActorsArgument = None,
    file: FromOption = None,
    home: HomeOption = None,
    token: TokenOption = None,
) -> None:
    """Take actors out of a segment.

    Example: ./grandstand notify segments remove vip bob
    """
    actors = _named(actor, file)
    _change(home, token, lambda notices: notices.change_segment(segment, remove=actors))
    print(f"Taken out of {segment}: {counted(len(actors), 'actor')}.")


def delete(segment: SegmentArgument, home: HomeOption = None, token: TokenOption = None) -> None:
    """Take everybody out of a segment.

    Example: ./grandstand notify segments delete vip
    """
    _change(home, token, lambda notices: notices.delete_segment(segment))
    print(f"Deleted: {segment}.")


def _change(home: Path | None, token: str | None, work: Any) -> None:
    on_notices(running_mesh(home).mesh, work, operating(token, home))


def _named(actors: list[str] | None, file: str | None) -> list[str]:
    if bool(actors) == (file is not None):
        raise MeshError("say whom: actors, or --from FILE with one a line")
    return list(actors or []) if file is None else read_actors("--from", file)


def _print_json(found: dict[str, Any]) -> None:
    import json

    print(json.dumps(found))
