"""notify: what people and programs read of it, on a real mesh. Run in this process: each takes no second."""

from __future__ import annotations

import json
import select
import subprocess
import sys
import uuid
from typing import Any

import pytest
from typer.testing import CliRunner

from tests.support.mesh_fixture import RunningMesh, wait_for
from toolbox.cli.app import build
from toolbox.local.errors import MeshError
from toolbox.local.provision import checkout


class Notify:
    """`./grandstand notify ...` with the mesh's home."""

    def __init__(self, mesh: RunningMesh) -> None:
        self._env = {"GRANDSTAND_HOME": str(mesh.home), "COLUMNS": "160"}
        self.game = f"n-{uuid.uuid4().hex[:12]}"
        done = CliRunner().invoke(build(), ["game", "define", self.game], env=self._env)
        assert done.exit_code == 0, done.output

    def __call__(self, *arguments: str, stdin: str | None = None) -> str:
        done = CliRunner().invoke(build(), ["notify", *arguments], input=stdin, env=self._env)
        if done.exception is not None and not isinstance(done.exception, SystemExit):
            raise done.exception
        assert done.exit_code == 0, done.output
        return done.stdout

    def json(self, *arguments: str) -> Any:
        return json.loads(self(*arguments, "--json"))

    def titles(self, actor: str, *more: str) -> list[str]:
        """In its inbox, newest first."""
        found = self.json("inbox", "--actor", actor, *more)
        return [each["title"] for each in found.get("notifications", ())]


@pytest.fixture
def notify(mesh: RunningMesh) -> Notify:
    return Notify(mesh)


def test_a_notice_is_sent_read_and_acknowledged(notify: Notify) -> None:
    ann, bob = f"ann-{uuid.uuid4().hex[:8]}", f"bob@{uuid.uuid4().hex[:8]}.example"
    of_game = ("--game", notify.game)
    key = ("--key", "seat-1")
    assert notify("send", "You won", "--to", ann, *key, *of_game) == f"Sent to {ann} under key seat-1.\n"
    again = notify("send", "You won", "--to", ann, *key, *of_game)
    assert again == f"Was sent to {ann} before, under key seat-1.\n"
    with pytest.raises(MeshError, match="ALREADY_EXISTS"):
        notify("send", "You lost", "--to", ann, *key, *of_game)
    sent = notify("send", "Both", "--to-file", "-", "--text", "now", *of_game, stdin=f"{ann}\n{bob}\n")
    assert sent.startswith("Sent to 2 actors under key ")
    wait_for(lambda: notify.titles(ann) == ["Both", "You won"], "both are there", within_s=10)
    assert notify.titles(bob) == ["Both"]
    shown = notify("inbox", "--actor", ann)
    assert "Both: now" in shown
    assert shown.count("●") == 2
    assert "2 unread" in shown
    newest = notify.json("inbox", "--actor", ann)["notifications"][0]["notificationId"]
    assert notify("ack", newest, "--actor", ann) == "1 unread.\n"
    assert notify("ack", "--all", "--actor", ann) == "0 unread.\n"
    notify("cancel", "seat-1", *of_game)
    wait_for(lambda: notify.titles(ann) == ["Both"], "it is taken back", within_s=10)
    with pytest.raises(MeshError, match="NOT_FOUND"):
        notify("cancel", "nothing", *of_game)


def test_segments_everyone_and_what_an_actor_does_not_want(notify: Notify) -> None:
    vip, ann = f"vip-{uuid.uuid4().hex[:8]}", f"ann-{uuid.uuid4().hex[:8]}"
    assert notify("segments", "add", vip, ann, "bob") == f"Added to {vip}: 2 actors.\n"
    assert f"{vip}  2 actors" in notify("segments", "list")
    assert notify("segments", "remove", vip, "bob") == f"Taken out of {vip}: 1 actor.\n"
    assert notify("segments", "show", vip) == f"{ann}\n"
    code = f"c{uuid.uuid4().hex[:8]}"
    notify("send", "For few", "--segment", vip, "--code", code)
    wait_for(lambda: "For few" in notify.titles(ann), "the segment is told", within_s=10)
    assert "For few" not in notify.titles("bob")
    wanted = notify(
        "preferences", "--mute", f":{code}", "--quiet", "22:00-07:30", "--zone", "Asia/Tokyo", "--actor", ann
    )
    assert wanted == f"Muted: {code} of every game.\nQuiet from 22:00 to 07:30 in Asia/Tokyo.\n"
    assert "For few" not in notify.titles(ann)
    plain = notify("preferences", "--unmute", f":{code}", "--quiet", "off", "--actor", ann)
    assert plain == "Nothing is muted.\nNo quiet hours.\n"
    notify("segments", "delete", vip)
    with pytest.raises(MeshError, match="NOT_FOUND"):
        notify("segments", "show", vip)
    with pytest.raises(MeshError, match="Mars/Phobos"):
        notify("preferences", "--quiet", "22:00-07:30", "--zone", "Mars/Phobos", "--actor", ann)


def test_rules_are_added_paused_and_seen_in_the_tail(notify: Notify, mesh: RunningMesh) -> None:
    of_game = ("--game", notify.game)
    notify(
        "rules",
        "add",
        "begun",
        "--topic",
        "poll/*",
        "--when",
        "opened",
        "--title",
        "Vote: {question}",
        *of_game,
    )
    notify(
        "rules", "add", "close", "--topic", "poll/*", "--when", "closing-in=10s", "--title", "Soon", *of_game
    )
    assert notify("rules", "pause", "close", *of_game) == f"Rule close of game {notify.game} is paused.\n"
    listed = notify("rules", "list", *of_game)
    assert "close (paused)" in listed
    assert "closing-in=10s" in listed
    with pytest.raises(MeshError, match="its rules: begun, close"):
        notify("rules", "resume", "other", *of_game)
    tail = subprocess.Popen(
        [sys.executable, "-m", "toolbox.cli", "notify", "tail", "--json", *of_game, "--home", str(mesh.home)],
        cwd=checkout(),
        stdout=subprocess.PIPE,
        text=True,
    )
    assert tail.stdout is not None
    try:
        # A tail says nothing when it begins: it does when something is sent.
        while not select.select([tail.stdout], [], [], 0.2)[0]:
            notify("send", "Are you there?", "--viewers", *of_game)
        done = CliRunner().invoke(
            build(),
            ["poll", "open", "mvp", "Who?", "--option", "a", "--option", "b", *of_game],
            env={"GRANDSTAND_HOME": str(mesh.home)},
        )
        assert done.exit_code == 0, done.output
        for line in tail.stdout:
            told = json.loads(line)
            if "firing" in told:
                break
    finally:
        tail.kill()
        tail.communicate()
    assert told["firing"] == {"gameId": notify.game, "ruleId": "begun", "topic": "poll/mvp", "ordinal": "1"}
    assert told["notification"]["title"] == "Vote: Who?"
    assert told["audience"] == {"viewers": True}
