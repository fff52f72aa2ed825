"""game, poll: what can be watched, defined from the command line.

Definitions go to the CatalogService on the mesh listener; results are watched at the edge, as a viewer does.
"""

from __future__ import annotations

import contextlib
import enum
from typing import Annotated, Any

import typer

from toolbox.cli.boards import WritersOption, writers_named
from toolbox.cli.credentials import TokenOption, owning
from toolbox.cli.durations import ForOption, at, ended_at, limit, until
from toolbox.cli.home import HomeOption
from toolbox.cli.lists import list_games, list_polls
from toolbox.cli.rpc import GameOption, JsonOption, counted, on_mesh, print_message, run_rpc, seconds_of
from toolbox.local.errors import MeshError
from toolbox.local.running import running_mesh


class PollVotersChoice(enum.StrEnum):
    ALL = "all"
    PLATFORM = "platform"


def register(app: typer.Typer) -> None:
    for name, help_text, commands in (
        ("game", "Define, list, show, end and delete games.", (define, list_games, show, end, delete)),
        (
            "poll",
            "Open, close, list and watch polls.",
            (open_poll, close_poll, list_polls, void_votes, watch_poll),
        ),
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
    metric: Annotated[
        list[str] | None,
        typer.Option(metavar="ID[=UNIT]", help="A measure to show quantiles of, such as delay=ms."),
    ] = None,
    audience: Annotated[bool, typer.Option("--audience", help="Count who watches.")] = False,
    custom: Annotated[
        list[str] | None,
        typer.Option(
            metavar="ID=FOLD[:CONFIG]", help="A topic of a fold you have installed, such as w=words."
        ),
    ] = None,
    writers: WritersOption = None,
    spread: Annotated[
        int | None, typer.Option(help="Over how many partitions its actors are spread.", show_default="1")
    ] = None,
    retain: Annotated[
        str | None,
        typer.Option(
            "--retain",
            metavar="DURATION",
            help="How long the results of the ended game are kept, 0s to 366d; 25h at least.",
            show_default="1d",
        ),
    ] = None,
    idle: Annotated[
        str | None,
        typer.Option(
            "--idle",
            metavar="DURATION",
            help="End it after so long without an event or an open poll or board, 1h to 366d; 0s: never.",
            show_default="30d",
        ),
    ] = None,
    home: HomeOption = None,
    token: TokenOption = None,
    as_json: JsonOption = False,
) -> None:
    """Define a game, or change its title and add to what it counts.

    Example: ./grandstand game define final --title "The final" --pulse reactions=clap,fire --metric delay=ms
    """
    from grandstand.catalog.v1.catalog_pb2 import CustomTopic, Game, Metric, Pulse

    wanted = Game(game_id=game, title=title, spread=spread or 0, audience=audience)
    by: Any = writers_named(writers)
    for text in pulse or []:
        pulse_id, kinds = _named(text, "--pulse", "ID=KIND,KIND such as reactions=clap,wow")
        wanted.pulses.append(Pulse(pulse_id=pulse_id, kinds=kinds.split(",")))
    for text in metric or []:
        metric_id, _, unit = text.partition("=")
        wanted.metrics.append(Metric(metric_id=metric_id, unit=unit, writers=by))
    for text in custom or []:
        custom_id, value = _named(text, "--custom", "ID=FOLD or ID=FOLD:CONFIG")
        fold, _, config = value.partition(":")
        wanted.customs.append(CustomTopic(custom_id=custom_id, fold=fold, config=config.encode(), writers=by))
    if retain is not None:
        wanted.retain_for.FromNanoseconds(int(seconds_of(retain) * 1e9))
    if idle is not None:
        wanted.idle_for.FromNanoseconds(int(seconds_of(idle) * 1e9))
    defined = on_mesh(running_mesh(home).mesh, lambda backend: _define(backend, wanted), owning(token, home))
    print_message(defined, as_json, f"Game {defined.game_id} is defined.")


async def _define(backend: Any, wanted: Any) -> Any:
    """Adds what is wanted to what is there: a game's definition only grows."""
    import grpc

    from grandstand.catalog.v1.catalog_pb2 import Game
    from grandstand.client import ClientError

    try:
        known = (await backend.get_game(wanted.game_id)).game
    except ClientError as error:
        if error.code is not grpc.StatusCode.NOT_FOUND:
            raise
        known = Game(game_id=wanted.game_id, title=wanted.game_id)
    known.title = wanted.title or known.title
    known.spread = wanted.spread or known.spread
    known.audience = known.audience or wanted.audience
    if wanted.HasField("retain_for"):
        known.retain_for.CopyFrom(wanted.retain_for)
    if wanted.HasField("idle_for"):
        known.idle_for.CopyFrom(wanted.idle_for)
    pulses = {pulse.pulse_id: pulse for pulse in known.pulses}
    for pulse in wanted.pulses:
        if pulse.pulse_id in pulses:
            there = pulses[pulse.pulse_id].kinds
            there.extend(kind for kind in pulse.kinds if kind not in there)
        else:
            known.pulses.append(pulse)
    metrics = {metric.metric_id: metric for metric in known.metrics}
    for metric in wanted.metrics:
        (metrics.get(metric.metric_id) or known.metrics.add()).MergeFrom(metric)
    customs = {custom.custom_id: custom for custom in known.customs}
    for custom in wanted.customs:
        (customs.get(custom.custom_id) or known.customs.add()).MergeFrom(custom)
    return await backend.define_game(known)


def show(
    game: Annotated[str, typer.Argument(help="The game's id.")] = "demo",
    home: HomeOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show a game with its polls and boards.

    Example: ./grandstand game show demo
    """
    from toolbox.cli.views import game_table

    listed = on_mesh(running_mesh(home).edge, lambda backend: backend.get_game(game))
    print_message(listed, as_json, game_table(listed))


def end(
    game: Annotated[str, typer.Argument(help="The game's id.")],
    home: HomeOption = None,
    token: TokenOption = None,
    as_json: JsonOption = False,
) -> None:
    """End a game for good: what it counts stops, its polls and boards close, later events are refused.

    It is forgotten after --retain of its definition, and 25 hours at least; then its id may be used again.

    Example: ./grandstand game end final
    """
    ended = on_mesh(running_mesh(home).mesh, lambda backend: backend.end_game(game), owning(token, home))
    print_message(ended, as_json, f"Game {ended.game_id} ends{ended_at(ended)}.")


def delete(
    game: Annotated[str, typer.Argument(help="The game's id.")],
    home: HomeOption = None,
    token: TokenOption = None,
) -> None:
    """Delete a game that was defined by mistake, if nothing was counted in it; takes some ten seconds.

    Example: ./grandstand game delete finall
    """
    on_mesh(running_mesh(home).mesh, lambda backend: backend.delete_game(game), owning(token, home))
    typer.echo(f"Game {game} is deleted; its id may be used again.")


def open_poll(
    poll: Annotated[str, typer.Argument(help="The poll's id; never used again in the game.")],
    question: Annotated[str, typer.Argument(help="What viewers are asked.")],
    option: Annotated[
        list[str],
        typer.Option(metavar="ID=LABEL", help="An answer, such as nova=Nova; repeat it, 2 to 64 times."),
    ],
    game: GameOption = "demo",
    changeable: Annotated[bool, typer.Option(help="Whether a later vote replaces the earlier one.")] = False,
    choices: Annotated[int, typer.Option(min=1, max=64, help="How many options one vote may name.")] = 1,
    weight_max: Annotated[
        int, typer.Option(min=1, max=1_000, help="How much a vote of your own backend may weigh.")
    ] = 1,
    voters: Annotated[
        PollVotersChoice, typer.Option(help="Whose votes are taken: all, or platform: not those of guests.")
    ] = PollVotersChoice.ALL,
    open_for: ForOption = None,
    home: HomeOption = None,
    token: TokenOption = None,
    as_json: JsonOption = False,
) -> None:
    """Open a poll: from now on votes are admitted.

    Example: ./grandstand poll open mvp "Player of the match?" --option nova=Nova --option juno=Juno --for 2m
    """
    from grandstand.catalog.v1.catalog_pb2 import (
        POLL_VOTERS_PLATFORM,
        POLL_VOTERS_UNSPECIFIED,
        Poll,
        PollOption,
    )

    options = []
    for text in option:
        option_id, _, label = text.partition("=")
        options.append(PollOption(option_id=option_id, label=label or option_id))
    asked = Poll(
        game_id=game,
        poll_id=poll,
        question=question,
        options=options,
        changeable=changeable,
        choices_max=choices,
        weight_max=weight_max,
        voters=POLL_VOTERS_PLATFORM if voters is PollVotersChoice.PLATFORM else POLL_VOTERS_UNSPECIFIED,
    )
    limit(asked, open_for)
    opened = on_mesh(running_mesh(home).mesh, lambda backend: backend.open_poll(asked), owning(token, home))
    print_message(opened, as_json, f"Poll {opened.poll_id} is open{until(opened)}.")


def close_poll(
    poll: Annotated[str, typer.Argument(help="The poll's id.")],
    game: GameOption = "demo",
    home: HomeOption = None,
    token: TokenOption = None,
    as_json: JsonOption = False,
) -> None:
    """Close a poll: votes received before its close count, later ones are refused.

    Example: ./grandstand poll close mvp
    """
    closed = on_mesh(
        running_mesh(home).mesh, lambda backend: backend.close_poll(game, poll), owning(token, home)
    )
    print_message(closed, as_json, f"Poll {closed.poll_id} closes{at(closed)}.")


def void_votes(
    poll: Annotated[str, typer.Argument(help="The poll's id.")],
    actor: Annotated[str, typer.Argument(help="Whose votes.")],
    game: GameOption = "demo",
    home: HomeOption = None,
    token: TokenOption = None,
    as_json: JsonOption = False,
) -> None:
    """Void what an actor voted so far; until the poll is sealed. The actor may vote again.

    Example: ./grandstand poll void mvp ann
    """
    voided, tally = on_mesh(
        running_mesh(home).mesh, lambda backend: _void(backend, game, poll, actor), owning(token, home)
    )
    now = f"{counted(tally.voters, 'voter')}, {tally.voided:,} voided"
    print_message(voided, as_json, f"No vote of {actor} counts in poll {poll} up to now: {now}.")


async def _void(backend: Any, game: str, poll: str, actor: str) -> Any:
    """The answer, and the poll's count with it."""
    voided = await backend.void_votes(game, poll, actor)
    read = await backend.read(game, [f"poll/{poll}"], [voided.applied_at])
    return voided, read.topics[0].tally


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
    from toolbox.cli.views import watch

    topic = f"poll/{poll}" if poll else "poll/*"
    with contextlib.suppress(KeyboardInterrupt):
        run_rpc(watch(running_mesh(home).edge, game, topic, once=once, as_json=as_json))


def _named(text: str, option: str, form: str) -> tuple[str, str]:
    name, separator, value = text.partition("=")
    if not separator:
        raise MeshError(f"{option} {text!r} is not of the form {form}")
    return name, value
