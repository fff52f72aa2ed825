"""What `notify` commands make of their options, and how they show what comes back."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest
from rich.console import Console

from grandstand.catalog.v1.catalog_pb2 import Rule
from grandstand.notify.v1 import notify_pb2 as notify
from toolbox.cli import notice_screens
from toolbox.cli.notice_inbox import mute_of
from toolbox.cli.notice_options import only_one, read_actors, schedule
from toolbox.cli.notice_rules import judge
from toolbox.local.errors import MeshError

NOW = datetime(2026, 11, 30, 12, tzinfo=UTC)


def test_a_schedule_is_a_moment_or_the_time_of_a_zone_and_repeats() -> None:
    assert schedule(None, None, None, None, NOW) is None
    soon = schedule("+90s", None, None, None, NOW)
    assert soon is not None
    assert soon.at.ToDatetime(UTC).isoformat() == "2026-11-30T12:01:30+00:00"
    given = schedule("2026-12-24T20:00+01:00", None, None, None, NOW)
    assert given is not None
    assert given.at.ToJsonString() == "2026-12-24T19:00:00Z"
    weekly = schedule("2026-12-24 20:00", "Europe/Berlin", "2w", 3, NOW)
    assert weekly is not None
    assert (weekly.local_time, weekly.time_zone) == ("2026-12-24T20:00", "Europe/Berlin")
    assert (weekly.repeat.weeks, weekly.repeat.times) == (2, 3)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ((None, "Europe/Berlin", None, None), "--zone Europe/Berlin says when"),
        (("noon", None, None, None), "--at 'noon' is no time"),
        (("20:00", None, "1d", 2), "--every 1d: name the clock"),
        (("20:00", None, None, 2), "--times 2: name the clock"),
        (("+1m", "Europe/Berlin", None, None), "leave out --zone"),
        (("2026-12-24T20:00", "UTC", "1h", 2), "--every '1h' is no interval"),
        (("2026-12-24T20:00", "UTC", "1d", None), "such as --times 10"),
        (("2026-12-24T20:00", "UTC", None, 2), "such as --every 1w"),
    ],
)
def test_a_schedule_that_says_half_is_refused(
    options: tuple[str | None, str | None, str | None, int | None], said: str
) -> None:
    with pytest.raises(MeshError) as refused:
        schedule(*options, NOW)
    assert said in str(refused.value)


def test_to_whom_is_said_once(tmp_path: Path) -> None:
    assert only_one(to=False, to_file=True) == "to_file"
    with pytest.raises(MeshError, match="one of --to, --to-file"):
        only_one(to=False, to_file=False)
    with pytest.raises(MeshError, match="given are --to, --to-file"):
        only_one(to=True, to_file=True)
    file = tmp_path / "actors"
    file.write_text("ann\r\n\n auth0|5f \n")
    assert read_actors("--to-file", str(file)) == ["ann", " auth0|5f "]
    file.write_text("\n")
    with pytest.raises(MeshError, match="names 0 actors; 1 to 100,000"):
        read_actors("--to-file", str(file))
    file.write_bytes(b"\xff")
    with pytest.raises(MeshError, match="is no UTF-8"):
        read_actors("--to-file", str(file))


@pytest.mark.parametrize(
    "when",
    [
        *("reached=100", "each=50", "lead-changed", "lead-changed=2s", "rank-taken=3", "opened"),
        *("closing-in=30s", "sealed", "season-closed", "game-ended", "rate-spike=3x20", "audience-peak"),
    ],
)
def test_a_rule_is_shown_as_it_was_said(when: str) -> None:
    rule = Rule(rule_id="r")
    judge(rule, when)
    assert notice_screens.condition(rule) == when


@pytest.mark.parametrize("when", ["", "reached", "reached=-1", "opened=1", "rate-spike=3", "closing-in"])
def test_a_rule_that_looks_for_nothing_known_is_refused(when: str) -> None:
    with pytest.raises(MeshError, match="is none of reached=N, each=N"):
        judge(Rule(), when)


def test_screens() -> None:
    sent = notify.Notification(notification_id="07", title="Half-time", text="Back at 20:05", code="break")
    screen = Console(width=120)
    with screen.capture() as shown:
        screen.print(notice_screens.inbox([sent, notify.Notification(title="Old", read=True)], 1))
    first, second, unread = (line.rstrip() for line in shown.get().splitlines())
    assert first.startswith("●")
    assert first.endswith("Half-time: Back at 20:05  break  07")
    assert "●" not in second
    assert unread == "1 unread"
    firing = notify.Firing(game_id="final", rule_id="lead", topic="poll/mvp", ordinal=2)
    told = notify.TailNoticesResponse(notification=sent, actors=1_200, firing=firing)
    told.notification.game_id = "final"
    assert notice_screens.told_line(told)[8:] == (
        " final break to 1,200 actors: Half-time | Back at 20:05 (rule lead poll/mvp, firing 2)"
    )
    assert mute_of("--mute", ":tip") == notify.Mute(code="tip")
    with pytest.raises(MeshError, match="not of the form GAME:CODE"):
        mute_of("--mute", "tip")
