"""Notices in a terminal: an inbox, preferences, rules, and what is sent as it happens."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC
from typing import Any

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from grandstand.catalog.v1 import catalog_pb2 as catalog
from grandstand.notify.v1 import notify_pb2 as notify
from toolbox.cli.rpc import counted

_UNREAD = "●"


def inbox(shown: Sequence[notify.Notification], unread: int) -> RenderableType:
    """Newest first; a mark stands before those that are not read."""
    if not shown:
        return Text("Nothing here.", style="dim")
    table = Table.grid(padding=(0, 2))
    for each in shown:
        style = "" if each.read else "bold"
        table.add_row(
            Text("" if each.read else _UNREAD, style="green"),
            Text(_minute(each.sent_at), style="dim"),
            Text(": ".join(filter(None, (each.title, each.text))), style=style),
            Text(" ".join(filter(None, (each.game_id, each.code))), style="dim"),
            Text(each.notification_id, style="dim"),
        )
    return Group(table, Text(f"{unread:,} unread", style="dim"))


def preferences(now: notify.Preferences) -> str:
    lines = [f"Muted: {_mute(mute)}." for mute in now.mutes] or ["Nothing is muted."]
    if now.HasField("quiet_hours"):
        hours = getattr(now.quiet_hours, "from")
        lines.append(f"Quiet from {hours} to {now.quiet_hours.until} in {now.quiet_hours.time_zone}.")
    else:
        lines.append("No quiet hours.")
    return "\n".join(lines)


def rules(found: Sequence[catalog.Rule]) -> RenderableType:
    if not found:
        return Text("No rules.", style="dim")
    table = Table(box=None, header_style="dim")
    for column in ("rule", "topic", "when", "tells"):
        table.add_column(column)
    for rule in found:
        style = "dim" if rule.paused else ""
        name = f"{rule.rule_id} (paused)" if rule.paused else rule.rule_id
        table.add_row(
            *(Text(text, style=style) for text in (name, rule.topic, condition(rule), rule.notice.title))
        )
    return table


def condition(rule: catalog.Rule) -> str:
    """As `rules add --when` takes it."""
    match rule.WhichOneof("when"):
        case "threshold":
            return f"{'each' if rule.threshold.each else 'reached'}={rule.threshold.at}"
        case "lead_changed":
            hold = rule.lead_changed
            return "lead-changed" + (f"={_seconds(hold.hold)}" if hold.HasField("hold") else "")
        case "rank_taken":
            return f"rank-taken={rule.rank_taken.first}"
        case "closing_in":
            return f"closing-in={_seconds(rule.closing_in)}"
        case "rate_spike":
            return f"rate-spike={rule.rate_spike.times}x{rule.rate_spike.at_least}"
        case other:
            return (other or "?").replace("_", "-")


def told_line(told: notify.TailNoticesResponse) -> str:
    """One line of `notify tail`."""
    each = told.notification
    clock = each.sent_at.ToDatetime(UTC).astimezone().strftime("%H:%M:%S")
    parts = [clock, each.game_id or "-", each.code, f"to {_whom(told)}:", each.title]
    if each.text:
        parts.append(f"| {each.text}")
    if told.HasField("firing"):
        firing = told.firing
        topic = f" {firing.topic}" if firing.topic else ""
        parts.append(f"(rule {firing.rule_id}{topic}, firing {firing.ordinal})")
    return " ".join(parts)


def _whom(told: notify.TailNoticesResponse) -> str:
    to: Any = told.audience.WhichOneof("to")
    if to == "actor_id":
        return told.audience.actor_id
    if to == "segment":
        return f"segment {told.audience.segment}"
    return to or counted(told.actors, "actor")


def _mute(mute: notify.Mute) -> str:
    of_game = f"game {mute.game_id}" if mute.game_id else "every game"
    return f"{mute.code} of {of_game}" if mute.code else f"all of {of_game}"


def _minute(timestamp: Any) -> str:
    """Of this year, most likely, by this machine's clock."""
    return str(timestamp.ToDatetime(UTC).astimezone().strftime("%m-%d %H:%M"))


def _seconds(duration: Any) -> str:
    return f"{duration.ToMilliseconds() / 1e3:g}s"
