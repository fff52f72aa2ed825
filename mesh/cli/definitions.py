"""game, poll, board: what can be watched, defined from the command line.

Definitions go to the CatalogService on the mesh listener; results are watched at the edge, as a viewer does.
"""

from __future__ import annotations

import contextlib
import json
from typing import Annotated, Any

import typer

from mesh.cli.running import HomeOption, running_mesh
from mesh.cli.speaking import GameOption, JsonOption, as_dict, on_mesh, seconds_of, spoken
from mesh.supervisor.errors import MeshError

MODES = ("best", "last", "sum", "lowest")

ForOption = Annotated[
    str | None,
    typer.Option(
        "--for", metavar="DURATION", help="Open for this long, 1s to 24h.", show_default="until closed"
    ),
]


def register(app: typer.Typer) -> None:
    for name, help_text, commands in (
        ("game", "Define and show games.", (define, show)),
        ("poll", "Open, close and watch polls.", (open_poll, close_poll, watch_poll)),
        ("board", "Open and close leaderboards, and see who leads.", (open_board, close_board, top_of_board)),
    ):
        noun = typer.Typer(help=help_text, no_args_is_help=True)
        for command in commands:
            noun.command(command.__name__.split("_")[0])(command)
        app.add_typer(noun, name=name)


def define(
    game: Annotated[str, typer.Argument(help="The game's id.")],
    title: Annotated[str, typer.Option(help="What viewers read.", show_default="the id")] = "",
    pulse: Annotated[
        list[str] | None,
        typer.Option(
            metavar="ID=KIND,KIND", help="Reactions to count, such as cheers=clap,wow (repeatable)."
        ),
    ] = None,
    spread: Annotated[int, typer.Option(help="Over how many partitions its actors are spread.")] = 1,
    home: HomeOption = None,
    as_json: JsonOption = False,
) -> None:
    """Define a game, or replace its title and pulses.

    Example: ./grandstand game define final --title "The final" --pulse reactions=clap,fire,wow
    """
    from grandstand.catalog.v1.catalog_pb2 import Game, Pulse

    pulses = []
    for text in pulse or []:
        pulse_id, separator, kinds = text.partition("=")
        if not separator:
            raise MeshError(f"--pulse {text!r} is not of the form ID=KIND,KIND such as reactions=clap,wow")
        pulses.append(Pulse(pulse_id=pulse_id, kinds=kinds.split(",")))
    asked = Game(game_id=game, title=title or game, spread=spread, pulses=pulses)
    defined = on_mesh(running_mesh(home).mesh, lambda backend: backend.define_game(asked))
    _say(defined, as_json, f"Game {defined.game_id} is defined.")


def show(
    game: Annotated[str, typer.Argument(help="The game's id.")] = "demo",
    home: HomeOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show a game with its polls and boards.

    Example: ./grandstand game show demo
    """
    from mesh.cli.showing import game_table

    listed = on_mesh(running_mesh(home).edge, lambda backend: backend.get_game(game))
    _say(listed, as_json, game_table(listed))


def open_poll(
    poll: Annotated[str, typer.Argument(help="The poll's id; never used again in the game.")],
    question: Annotated[str, typer.Argument(help="What viewers are asked.")],
    option: Annotated[
        list[str],
        typer.Option(metavar="ID=LABEL", help="An answer, such as nova=Nova; repeat it, 2 to 64 times."),
    ],
    game: GameOption = "demo",
    changeable: Annotated[bool, typer.Option(help="Whether a later vote replaces the earlier one.")] = False,
    open_for: ForOption = None,
    home: HomeOption = None,
    as_json: JsonOption = False,
) -> None:
    """Open a poll: from now on votes are admitted.

    Example: ./grandstand poll open mvp "Player of the match?" --option nova=Nova --option juno=Juno --for 2m
    """
    from grandstand.catalog.v1.catalog_pb2 import Poll, PollOption

    options = []
    for text in option:
        option_id, _, label = text.partition("=")
        options.append(PollOption(option_id=option_id, label=label or option_id))
    asked = Poll(game_id=game, poll_id=poll, question=question, options=options, changeable=changeable)
    _limit(asked, open_for)
    opened = on_mesh(running_mesh(home).mesh, lambda backend: backend.open_poll(asked))
    _say(opened, as_json, f"Poll {opened.poll_id} is open{_until(opened)}.")


def close_poll(
    poll: Annotated[str, typer.Argument(help="The poll's id.")],
    game: GameOption = "demo",
    home: HomeOption = None,
    as_json: JsonOption = False,
) -> None:
    """Close a poll: votes received before its close count, later ones are refused.

    Example: ./grandstand poll close mvp
    """
    closed = on_mesh(running_mesh(home).mesh, lambda backend: backend.close_poll(game, poll))
    _say(closed, as_json, f"Poll {closed.poll_id} closes{_at(closed)}.")


def watch_poll(
    poll: Annotated[
        str | None, typer.Argument(help="The poll's id.", show_default="all that are open")
    ] = None,
    game: GameOption = "demo",
    once: Annotated[bool, typer.Option("--once", help="Show the result as it stands, and end.")] = False,
    home: HomeOption = None,
    as_json: JsonOption = False,
) -> None:
    """Watch the bars of a poll move; Ctrl-C ends it. With --json one line for each change.

    Example: ./grandstand poll watch mvp
    """
    from mesh.cli.showing import watch

    topic = f"poll/{poll}" if poll else "poll/*"
    with contextlib.suppress(KeyboardInterrupt):
        spoken(watch(running_mesh(home).edge, game, topic, once=once, as_json=as_json))


def open_board(
    board: Annotated[str, typer.Argument(help="The board's id; never used again in the game.")],
    title: Annotated[str, typer.Argument(help="What viewers read.")],
    mode: Annotated[
        str, typer.Option(metavar="|".join(MODES), help="How the scores of one actor combine.")
    ] = "best",
    top: Annotated[int, typer.Option(help="How many entries viewers see, 1 to 100.")] = 10,
    game: GameOption = "demo",
    open_for: ForOption = None,
    home: HomeOption = None,
    as_json: JsonOption = False,
) -> None:
    """Open a leaderboard.

    Example: ./grandstand board open laps "Fastest laps" --mode lowest --top 20
    """
    from grandstand.catalog.v1.catalog_pb2 import Board

    if mode not in MODES:
        raise MeshError(f"--mode {mode!r} is none of {', '.join(MODES)}")
    combined: Any = f"BOARD_MODE_{mode.upper()}"
    asked = Board(game_id=game, board_id=board, title=title, mode=combined, top=top)
    _limit(asked, open_for)
    opened = on_mesh(running_mesh(home).mesh, lambda backend: backend.open_board(asked))
    _say(opened, as_json, f"Board {opened.board_id} is open{_until(opened)}.")


def close_board(
    board: Annotated[str, typer.Argument(help="The board's id.")],
    game: GameOption = "demo",
    home: HomeOption = None,
    as_json: JsonOption = False,
) -> None:
    """Close a leaderboard.

    Example: ./grandstand board close laps
    """
    closed = on_mesh(running_mesh(home).mesh, lambda backend: backend.close_board(game, board))
    _say(closed, as_json, f"Board {closed.board_id} closes{_at(closed)}.")


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
    from mesh.cli.showing import watch

    with contextlib.suppress(KeyboardInterrupt):
        spoken(watch(running_mesh(home).edge, game, f"board/{board}", once=not follow, as_json=as_json))


def _limit(definition: Any, open_for: str | None) -> None:
    if open_for is not None:
        definition.open_for.FromNanoseconds(int(seconds_of(open_for) * 1e9))


def _until(definition: Any) -> str:
    return f" until {_clock(definition)}" if definition.HasField("closes_at") else ""


def _at(definition: Any) -> str:
    return f" at {_clock(definition)}" if definition.HasField("closes_at") else ""


def _clock(definition: Any) -> str:
    from datetime import UTC

    return str(definition.closes_at.ToDatetime(UTC).astimezone().strftime("%H:%M:%S"))


def _say(message: Any, as_json: bool, human: Any) -> None:
    if as_json:
        print(json.dumps(as_dict(message)))
        return
    from rich.console import Console

    Console(highlight=False).print(human, soft_wrap=isinstance(human, str), markup=False)
