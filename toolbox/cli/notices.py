"""notify: what people are told, sent, read and acknowledged from the command line.

Notices are sent on the mesh listener, by an owner or an operator; an inbox is read at the edge, as its actor
does.
"""

from __future__ import annotations

import secrets
from datetime import datetime
from typing import TYPE_CHECKING, Annotated, Any

import typer

from toolbox.cli import notice_inbox, notice_rules, notice_segments
from toolbox.cli.credentials import TokenOption, operating, owning
from toolbox.cli.durations import day_and_clock
from toolbox.cli.home import HomeOption
from toolbox.cli.notice_options import only_one, read_actors, schedule
from toolbox.cli.notice_tail import tail
from toolbox.cli.rpc import JsonOption, counted, on_notices, print_message, seconds_of
from toolbox.local.errors import MeshError
from toolbox.local.running import running_mesh

if TYPE_CHECKING:
    from grandstand.client import Token

_KEY_BYTES = 8
_PERHAPS_STORED = ("UNAVAILABLE", "DEADLINE_EXCEEDED", "CANCELLED", "INTERNAL", "UNKNOWN")


def register(app: typer.Typer) -> None:
    noun = typer.Typer(help="Tell people what matters to them, and read what they were told.")
    noun.command("send")(send)
    noun.command("cancel")(cancel)
    noun.command("tail")(tail)
    for module in (notice_inbox, notice_rules, notice_segments):
        module.register(noun)
    app.add_typer(noun, name="notify", no_args_is_help=True)


GameOrNoneOption = Annotated[
    str | None,
    typer.Option(
        "--game", metavar="ID", help="The game it is about.", show_default="demo; none for many games' people"
    ),
]


def send(
    title: Annotated[str, typer.Argument(help="What is shown first.")],
    to: Annotated[
        list[str] | None, typer.Option(metavar="ACTOR", help="To this actor; repeat it for several.")
    ] = None,
    to_file: Annotated[
        str | None,
        typer.Option(metavar="FILE", help="To the actors in this file, one a line; -: standard input."),
    ] = None,
    segment: Annotated[
        str | None, typer.Option(metavar="NAME", help="To who belongs to this segment when it is read.")
    ] = None,
    viewers: Annotated[bool, typer.Option("--viewers", help="To who watches the game.")] = False,
    everyone: Annotated[bool, typer.Option("--everyone", help="To everyone.")] = False,
    text: Annotated[str, typer.Option(help="What is shown below the title.")] = "",
    code: Annotated[str, typer.Option(help="What kind of notice it is, for programs and mutes.")] = "notice",
    data: Annotated[str, typer.Option(metavar="JSON", help="For programs, up to 1 KiB.")] = "",
    key: Annotated[
        str | None,
        typer.Option(
            help="Its name: the same notice under the same key is sent once.", show_default="a new one"
        ),
    ] = None,
    urgent: Annotated[bool, typer.Option("--urgent", help="Also in quiet hours.")] = False,
    expires: Annotated[
        str | None,
        typer.Option(metavar="DURATION", help="Show it for so long, 1m to 90d.", show_default="7d"),
    ] = None,
    collapse: Annotated[
        str, typer.Option(metavar="KEY", help="Of unread notices with this key only the newest is shown.")
    ] = "",
    at: Annotated[
        str | None,
        typer.Option(metavar="TIME", help="Due then: 2026-12-24T20:00, 20:00, or +10m.", show_default="now"),
    ] = None,
    zone: Annotated[
        str | None,
        typer.Option(
            metavar="ZONE",
            help="Whose clocks --at means, such as Europe/Berlin.",
            show_default="this machine's",
        ),
    ] = None,
    every: Annotated[
        str | None, typer.Option(metavar="1d|1w|1mo", help="Again after this many days, weeks or months.")
    ] = None,
    times: Annotated[int | None, typer.Option(help="How often in all, 2 to 1000.")] = None,
    game: GameOrNoneOption = None,
    home: HomeOption = None,
    token: TokenOption = None,
    as_json: JsonOption = False,
) -> None:
    """Send a notice: to actors, a segment, a game's viewers, or everyone; now or later.

    One that failed although it may be stored names the --key to send it again with.

    Example: ./grandstand notify send "Half-time" --text "Back at 20:05" --viewers --code break --expires 15m
    """
    from grandstand.notify.v1.notify_pb2 import PRIORITY_URGENT, Notice

    whom = only_one(
        to=bool(to),
        to_file=to_file is not None,
        segment=segment is not None,
        viewers=viewers,
        everyone=everyone,
    )
    actors = list(to or []) if to_file is None else read_actors("--to-file", to_file)
    to_many_games = whom in ("segment", "everyone")
    notice = Notice(
        key=secrets.token_hex(_KEY_BYTES) if key is None else key,
        game_id=("" if to_many_games else "demo") if game is None else game,
        code=code,
        title=title,
        text=text,
        data=data,
        collapse_key=collapse,
        schedule=schedule(at, zone, every, times, datetime.now().astimezone()),
    )
    if urgent:
        notice.priority = PRIORITY_URGENT
    if expires is not None:
        notice.expires_after.FromMilliseconds(round(seconds_of(expires) * 1e3))
    if segment is not None:
        notice.audience.segment = segment
    elif viewers:
        notice.audience.viewers = True
    elif everyone:
        notice.audience.everyone = True
    elif whom == "to" and len(actors) == 1:
        notice.audience.actor_id, actors = actors[0], []
    shown = operating(token, home) if to_many_games or not notice.game_id else owning(token, home)
    answer = _send(running_mesh(home).mesh, shown, notice, actors)
    if as_json:
        print_message(answer, as_json, "")
        return
    print_message(answer, as_json, _said(answer, notice, actors))


def _send(address: str, token: Token, notice: Any, actors: list[str]) -> Any:
    """The error of a call that may have stored it names the key to repeat it with."""
    try:
        if actors:
            return on_notices(address, lambda notices: notices.send_to_actors(notice, actors), token)
        return on_notices(address, lambda notices: notices.send(notice), token)
    except MeshError as error:
        if not str(error).startswith(_PERHAPS_STORED):
            raise
        raise MeshError(f"{error} (it may be stored: send it again with --key {notice.key})") from None


def _said(answer: Any, notice: Any, actors: list[str]) -> str:
    whom = {
        "actor_id": notice.audience.actor_id,
        "segment": f"segment {notice.audience.segment}",
        "viewers": f"the viewers of {notice.game_id}",
        "everyone": "everyone",
        None: counted(len(actors), "actor"),
    }[notice.audience.WhichOneof("to")]
    if getattr(answer, "repeated_call", False):
        return f"Was sent to {whom} before, under key {notice.key}."
    if notice.HasField("schedule"):
        of_game = notice.game_id or '""'
        way_back = f"notify cancel {notice.key} --game {of_game}"
        times = notice.schedule.repeat.times
        often = f", the first of {times} times" if times else ""
        return (
            f"Goes to {whom} at {day_and_clock(answer.due_at)}{often}; grandstand {way_back} takes it back."
        )
    return f"Sent to {whom} under key {notice.key}."


def cancel(
    key: Annotated[str, typer.Argument(help="The key that it was sent under.")],
    game: Annotated[
        str, typer.Option("--game", metavar="ID", help='The game it is about; "": none.')
    ] = "demo",
    home: HomeOption = None,
    token: TokenOption = None,
) -> None:
    """Take a notice back: what is due later is not sent, and inboxes show it no longer.

    Example: ./grandstand notify cancel kickoff --game final
    """
    shown = owning(token, home) if game else operating(token, home)
    on_notices(running_mesh(home).mesh, lambda notices: notices.cancel(game, key), shown)
    typer.echo(f"Cancelled: {key}. Who saw it, saw it.")
