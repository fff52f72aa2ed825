"""board: leaderboards opened, closed and looked at from the command line."""

from __future__ import annotations

import contextlib
from typing import Annotated, Any

import typer

from toolbox.cli.credentials import TokenOption, owning
from toolbox.cli.durations import ForOption, at, limit, moment, until
from toolbox.cli.home import HomeOption
from toolbox.cli.lists import list_boards
from toolbox.cli.rpc import GameOption, JsonOption, on_mesh, print_message, run_rpc, seconds_of
from toolbox.local.errors import MeshError
from toolbox.local.running import running_mesh

MODES = ("best", "last", "sum", "lowest")
WRITERS = ("producers", "actors")

WritersOption = Annotated[
    str | None,
    typer.Option(
        metavar="|".join(WRITERS),
        help="Whose events are taken: game servers' alone, or every actor's own.",
        show_default="producers",
    ),
]


def register(app: typer.Typer) -> None:
    noun = typer.Typer(help="Open, close and list leaderboards, and see who leads.", no_args_is_help=True)
    noun.command("open")(open_board)
    noun.command("close")(close_board)
    noun.command("list")(list_boards)
    noun.command("remove")(remove_score)
    noun.command("top")(top_of_board)
    noun.command("rank")(rank_on_board)
    app.add_typer(noun, name="board")


def open_board(
    board: Annotated[str, typer.Argument(help="The board's id; never used again in the game.")],
    title: Annotated[str, typer.Argument(help="What viewers read.")],
    mode: Annotated[
        str, typer.Option(metavar="|".join(MODES), help="How the scores of one actor combine.")
    ] = "best",
    top: Annotated[int, typer.Option(help="How many entries viewers see, 1 to 100.")] = 10,
    season: Annotated[
        str | None,
        typer.Option(
            metavar="DURATION", help="Start again this often, 10s to 366d.", show_default="one season"
        ),
    ] = None,
    starts: Annotated[
        str | None,
        typer.Option(
            metavar="TIME",
            help="When season 1 begins: 2026-11-21T00:00, or 00:00 of today.",
            show_default="now",
        ),
    ] = None,
    writers: WritersOption = None,
    least: Annotated[
        int | None, typer.Option("--min", help="The least points of one score.", show_default="-2^53")
    ] = None,
    most: Annotated[
        int | None, typer.Option("--max", help="The most points of one score.", show_default="2^53")
    ] = None,
    game: GameOption = "demo",
    open_for: ForOption = None,
    home: HomeOption = None,
    token: TokenOption = None,
    as_json: JsonOption = False,
) -> None:
    """Open a leaderboard, with --season one that starts again on a schedule.

    Example: ./grandstand board open laps "Fastest laps" --mode lowest --season 1d --starts 00:00
    """
    from grandstand.catalog.v1.catalog_pb2 import Board

    if mode not in MODES:
        raise MeshError(f"--mode {mode!r} is none of {', '.join(MODES)}")
    combined: Any = f"BOARD_MODE_{mode.upper()}"
    asked = Board(
        game_id=game,
        board_id=board,
        title=title,
        mode=combined,
        top=top,
        writers=writers_named(writers),
        points_min=least,
        points_max=most,
    )
    if season is not None:
        asked.season.every.FromMilliseconds(round(seconds_of(season) * 1e3))
    if starts is not None:
        if season is None:
            raise MeshError(f"--starts {starts!r} says when a season begins; give --season too, such as 1d")
        asked.season.starts_at.FromDatetime(moment("--starts", starts))
    limit(asked, open_for)
    opened = on_mesh(running_mesh(home).mesh, lambda backend: backend.open_board(asked), owning(token, home))
    print_message(opened, as_json, f"Board {opened.board_id} is open{until(opened)}.")


def close_board(
    board: Annotated[str, typer.Argument(help="The board's id.")],
    game: GameOption = "demo",
    home: HomeOption = None,
    token: TokenOption = None,
    as_json: JsonOption = False,
) -> None:
    """Close a leaderboard.

    Example: ./grandstand board close laps
    """
    closed = on_mesh(
        running_mesh(home).mesh, lambda backend: backend.close_board(game, board), owning(token, home)
    )
    print_message(closed, as_json, f"Board {closed.board_id} closes{at(closed)}.")


def remove_score(
    board: Annotated[str, typer.Argument(help="The board's id.")],
    actor: Annotated[str, typer.Argument(help="Whose score.")],
    season: Annotated[
        int | None, typer.Option(min=1, help="The number of the season.", show_default="the current one")
    ] = None,
    game: GameOption = "demo",
    home: HomeOption = None,
    token: TokenOption = None,
    as_json: JsonOption = False,
) -> None:
    """Remove an actor's score from a board; until the board, or that season, is sealed. A later one counts.

    Example: ./grandstand board remove laps ann
    """
    removed = on_mesh(
        running_mesh(home).mesh,
        lambda backend: backend.remove_score(game, board, actor, season=season or 0),
        owning(token, home),
    )
    of_season = f" in season {removed.season}" if removed.season else ""
    print_message(removed, as_json, f"No score of {actor} counts on board {board}{of_season} up to now.")


def top_of_board(
    board: Annotated[str, typer.Argument(help="The board's id.")] = "top",
    game: GameOption = "demo",
    follow: Annotated[bool, typer.Option("--watch", help="Go on showing it; Ctrl-C ends it.")] = False,
    home: HomeOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show who leads a board.

    Example: ./grandstand board top top --watch
    """
    from toolbox.cli.views import watch

    with contextlib.suppress(KeyboardInterrupt):
        run_rpc(watch(running_mesh(home).edge, game, f"board/{board}", once=not follow, as_json=as_json))


def rank_on_board(
    board: Annotated[str, typer.Argument(help="The board's id.")],
    actor: Annotated[str, typer.Argument(help="Whose place.")],
    game: GameOption = "demo",
    neighbours: Annotated[
        int, typer.Option(min=0, max=25, help="How many above and below to show, 0 to 25.")
    ] = 3,
    previous: Annotated[bool, typer.Option("--previous", help="In the season before this one.")] = False,
    home: HomeOption = None,
    token: TokenOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show where an actor stands on a board, and who is next to it.

    One that others see under a pseudonym is asked for with an owner's token.

    Example: ./grandstand board rank laps ann --neighbours 5
    """
    from mesh.pseudonyms import may_be_shown
    from toolbox.cli.board_screens import standing

    running = running_mesh(home)
    is_open = token is None and may_be_shown(actor)
    found = on_mesh(
        running.edge if is_open else running.mesh,
        lambda backend: backend.read_standing(
            game, board, actor, neighbours=neighbours, previous_season=previous
        ),
        None if is_open else owning(token, home),
    )
    print_message(found, as_json, standing(f"board/{board}", actor, found))


def writers_named(text: str | None) -> Any:
    """The Writers of the catalog; unspecified if none is named. Raises MeshError."""
    if text is None:
        return None
    if text not in WRITERS:
        raise MeshError(f"--writers {text!r} is none of {', '.join(WRITERS)}")
    return f"WRITERS_{text.upper()}"
