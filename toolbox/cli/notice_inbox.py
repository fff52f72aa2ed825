"""notify inbox, ack, preferences: what an actor was told, what it has read, and what it wants to be told."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from toolbox.cli.credentials import TokenOption, reading_as
from toolbox.cli.home import HomeOption
from toolbox.cli.rpc import JsonOption, on_notices, print_message
from toolbox.local.errors import MeshError
from toolbox.local.running import running_mesh

if TYPE_CHECKING:
    from grandstand.notify.v1.notify_pb2 import Mute

ACKNOWLEDGED_PER_CALL = 100

WhoseOption = Annotated[
    str | None,
    typer.Option("--actor", metavar="ID", help="Whose inbox.", show_default="yours, or the token's"),
]


def register(noun: typer.Typer) -> None:
    noun.command("inbox")(inbox)
    noun.command("ack")(acknowledge)
    noun.command("preferences")(preferences)


def inbox(
    actor: WhoseOption = None,
    game: Annotated[
        str,
        typer.Option(
            "--game",
            metavar="ID",
            help="Only what is about this game, with what its viewers were told.",
            show_default="all but what games' viewers were told",
        ),
    ] = "",
    limit: Annotated[int, typer.Option("--limit", min=1, help="Show at most this many.")] = 20,
    after: Annotated[
        str, typer.Option(metavar="CURSOR", help="Only what came after an answer of --json.")
    ] = "",
    home: HomeOption = None,
    token: TokenOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show an actor's inbox, newest first; a mark stands before what is not read.

    Example: ./grandstand notify inbox --actor ann
    """
    from toolbox.cli.notice_screens import inbox as screen

    shown = reading_as(actor, token, home)
    found = on_notices(running_mesh(home).edge, lambda notices: _pages(notices, game, after, limit), shown)
    print_message(found, as_json, screen(found.notifications, found.unread))


async def _pages(notices: Any, game: str, after: str, limit: int) -> Any:
    """The first page's answer, with what further pages hold, up to `limit`."""
    found = await notices.inbox(game, page_size=min(limit, 100), after=after)
    next_page = found.next_page_token
    while next_page and len(found.notifications) < limit:
        page = await notices.inbox(game, page_size=100, page_token=next_page, after=after)
        found.notifications.extend(page.notifications)
        next_page = page.next_page_token
    del found.notifications[limit:]
    found.next_page_token = ""
    return found


def acknowledge(
    notification: Annotated[
        list[str] | None, typer.Argument(metavar="[ID]...", help="What is read, by the ids that inbox shows.")
    ] = None,
    every: Annotated[bool, typer.Option("--all", help="All that is there now.")] = False,
    actor: WhoseOption = None,
    home: HomeOption = None,
    token: TokenOption = None,
    as_json: JsonOption = False,
) -> None:
    """Mark notifications as read; reading twice is reading once.

    Example: ./grandstand notify ack --all --actor ann
    """
    ids = notification or []
    if every == bool(ids):
        raise MeshError("say what is read: ids as ./grandstand notify inbox shows them, or --all")

    async def work(notices: Any) -> Any:
        from grandstand.notify.v1.notify_pb2 import AcknowledgeNoticesResponse

        if every:
            cursor = (await notices.inbox(page_size=1)).cursor
            return AcknowledgeNoticesResponse(unread=await notices.acknowledge(up_to=cursor))
        unread = 0
        for at in range(0, len(ids), ACKNOWLEDGED_PER_CALL):
            unread = await notices.acknowledge(ids[at : at + ACKNOWLEDGED_PER_CALL])
        return AcknowledgeNoticesResponse(unread=unread)

    done = on_notices(running_mesh(home).edge, work, reading_as(actor, token, home))
    print_message(done, as_json, f"{done.unread:,} unread.")


def preferences(
    mute: Annotated[
        list[str] | None,
        typer.Option(
            metavar="[GAME]:[CODE]", help="Show none of these: demo: for a game, :tip for a code, or both."
        ),
    ] = None,
    unmute: Annotated[
        list[str] | None, typer.Option(metavar="[GAME]:[CODE]", help="Show these again.")
    ] = None,
    quiet: Annotated[
        str | None, typer.Option(metavar="FROM-UNTIL|off", help="Quiet hours, such as 22:00-07:30.")
    ] = None,
    zone: Annotated[
        str | None, typer.Option(metavar="ZONE", help="Whose clocks --quiet means, such as Europe/Berlin.")
    ] = None,
    actor: WhoseOption = None,
    home: HomeOption = None,
    token: TokenOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show or change what an actor wants to be told, and when. Urgent notices pass quiet hours.

    Example: ./grandstand notify preferences --mute :tip --quiet 22:00-07:30 --zone Europe/Berlin --actor ann
    """
    from toolbox.cli.notice_screens import preferences as screen

    added = [mute_of("--mute", each) for each in mute or []]
    dropped = [mute_of("--unmute", each) for each in unmute or []]
    if (zone is None) != (quiet in (None, "off")):
        raise MeshError(
            "quiet hours want both: --quiet 22:00-07:30 and --zone Europe/Berlin; --quiet off ends them"
        )

    async def work(notices: Any) -> Any:
        now = await notices.preferences()
        if not (added or dropped or quiet):
            return now
        kept = [each for each in now.mutes if each not in dropped]
        kept += [each for each in added if each not in kept]
        del now.mutes[:]
        now.mutes.extend(kept)
        if quiet == "off":
            now.ClearField("quiet_hours")
        elif quiet is not None:
            start, _, until = quiet.partition("-")
            setattr(now.quiet_hours, "from", start)
            now.quiet_hours.until, now.quiet_hours.time_zone = until, zone
        return await notices.set_preferences(now)

    found = on_notices(running_mesh(home).edge, work, reading_as(actor, token, home))
    print_message(found, as_json, screen(found))


def mute_of(option: str, text: str) -> Mute:
    from grandstand.notify.v1.notify_pb2 import Mute

    game, separator, code = text.partition(":")
    if not separator or not (game or code):
        raise MeshError(
            f"{option} {text!r} is not of the form GAME:CODE; give for example demo:, :tip or demo:tip"
        )
    return Mute(game_id=game, code=code)
