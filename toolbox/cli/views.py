"""Results in a terminal: a poll's bars, a board's ranks, a game's definitions."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Sequence

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from grandstand.access.v1.access_pb2 import Revocation
from grandstand.aggregate.v1.aggregate_pb2 import TopicState
from grandstand.catalog.v1 import catalog_pb2 as catalog
from grandstand.client import Backend, ClientError, Viewer, open_channel
from toolbox.cli.board_screens import board_parts
from toolbox.cli.rpc import as_dict, counted

BAR_WIDTH = 40
_STAGES = {catalog.STAGE_OPEN: "open", catalog.STAGE_CLOSED: "closed", catalog.STAGE_SEALED: "final"}
_STAGE_STYLES = {"open": "green", "closed": "yellow", "final": "dim"}


class Definitions:
    """Questions, labels and titles, by topic; asked for again when an unknown topic turns up."""

    def __init__(self, backend: Backend, game_id: str) -> None:
        self._backend = backend
        self._game_id = game_id
        self._known: dict[str, catalog.Poll | catalog.Board] = {}

    async def learn(self) -> None:
        listed = await self._backend.get_game(self._game_id)
        self._known = {
            **{f"poll/{poll.poll_id}": poll for poll in listed.polls},
            **{f"board/{board.board_id}": board for board in listed.boards},
        }

    def lacks(self, topic: str) -> bool:
        return topic not in self._known

    def heading(self, state: TopicState) -> Text:
        found = self._known.get(state.topic)
        text = state.topic
        if isinstance(found, catalog.Poll):
            text = found.question
        elif isinstance(found, catalog.Board):
            text = found.title
        stage = _STAGES.get(state.stage, "")
        return Text.assemble((text, "bold"), "  ", (stage, _STAGE_STYLES.get(stage, "")))

    def label(self, topic: str, option_id: str) -> str:
        found = self._known.get(topic)
        if isinstance(found, catalog.Poll):
            return next((o.label for o in found.options if o.option_id == option_id), option_id)
        return option_id


async def watch(edge: str, game_id: str, pattern: str, *, once: bool, as_json: bool) -> None:
    """Shows the topics that match, and goes on unless `once`. Raises ClientError."""
    console = Console(highlight=False)
    async with open_channel(edge) as channel:
        backend = Backend(channel)
        definitions = Definitions(backend, game_id)
        await definitions.learn()
        # A pattern of one topic that does not exist is an error; Subscribe would wait for it to open.
        if once or "*" not in pattern:
            states = list((await backend.read(game_id, [pattern])).topics)
            if once:
                _show_once(console, definitions, _chosen(states, pattern), as_json)
                return
        viewer = Viewer(channel, game_id, topics=[pattern])
        with contextlib.ExitStack() as stack:
            live = None
            if not as_json and console.is_terminal:
                live = stack.enter_context(Live(console=console, auto_refresh=False))
            shown: dict[str, bytes] = {}
            async for _ in viewer:
                states = list(viewer.states.values())
                if any(definitions.lacks(state.topic) for state in states):
                    with contextlib.suppress(ClientError):
                        await definitions.learn()
                states = _chosen(states, pattern)
                changed = [s for s in states if shown.get(s.topic) != _value(s)]
                shown = {s.topic: _value(s) for s in states}
                if live is not None:
                    live.update(_group(definitions, states), refresh=True)
                elif changed:
                    _show_once(console, definitions, changed, as_json)


def _chosen(states: list[TopicState], pattern: str) -> list[TopicState]:
    """Of many polls those that are open; all when none is."""
    if "*" not in pattern:
        return states
    return [state for state in states if state.stage == catalog.STAGE_OPEN] or states


def _value(state: TopicState) -> bytes:
    """What a person would see of it: the cursor apart."""
    shown = TopicState()
    shown.CopyFrom(state)
    shown.ClearField("cursor")
    return shown.SerializeToString(deterministic=True)


def _show_once(console: Console, definitions: Definitions, states: list[TopicState], as_json: bool) -> None:
    if as_json:
        for state in states:
            print(json.dumps(as_dict(state)), flush=True)
    else:
        console.print(_group(definitions, states))


def _group(definitions: Definitions, states: list[TopicState]) -> RenderableType:
    if not states:
        return Text("Nothing to show yet.", style="dim")
    return Group(*(part for state in states for part in _parts(definitions, state)))


def _parts(definitions: Definitions, state: TopicState) -> list[RenderableType]:
    if state.WhichOneof("value") == "board":
        return [definitions.heading(state), *board_parts(state.board)]
    table = Table.grid(padding=(0, 2))
    total = sum(option.votes for option in state.tally.options)
    for option in state.tally.options:
        share = option.votes / total if total else 0.0
        table.add_row(
            definitions.label(state.topic, option.option_id),
            ProgressBar(total=1.0, completed=share, width=BAR_WIDTH),
            Text(f"{share:4.0%}", justify="right"),
            Text(f"{option.votes:,}", justify="right"),
        )
    voters = state.tally.voters
    note = counted(voters, "voter")
    if state.tally.guest_voters:
        note += f", {counted(state.tally.guest_voters, 'of them guest')}"
    if state.tally.voided:
        note += f", {state.tally.voided:,} voided"
    return [definitions.heading(state), table, Text(note + "\n", style="dim")]


def game_table(listed: catalog.GetGameResponse) -> RenderableType:
    """A game with its polls and boards."""
    game = listed.game
    parts: list[RenderableType] = [Text.assemble((game.title, "bold"), f"  {game.game_id}")]
    parts.extend(Text(f"pulse {p.pulse_id}: {', '.join(p.kinds)}", style="dim") for p in game.pulses)
    parts.extend(
        Text(f"metric {m.metric_id}{f' in {m.unit}' * bool(m.unit)}, from {_writers(m)}", style="dim")
        for m in game.metrics
    )
    parts.extend(
        Text(f"custom {c.custom_id}: {c.fold}, from {_writers(c)}", style="dim") for c in game.customs
    )
    if game.audience:
        parts.append(Text("audience", style="dim"))
    if listed.polls or listed.boards:
        parts.append(topics_table([*listed.polls, *listed.boards]))
    if listed.more:
        parts.append(Text("There are more: grandstand poll list, board list.", style="dim"))
    return Group(*parts)


def topics_table(topics: Sequence[catalog.Poll | catalog.Board]) -> Table:
    table = _table("topic", "stage", "asks", "options")
    for each in topics:
        if isinstance(each, catalog.Poll):
            topic, text = f"poll/{each.poll_id}", each.question
            options = ", ".join(option.option_id for option in each.options)
        else:
            topic, text, options = f"board/{each.board_id}", each.title, _rules(each)
        table.add_row(Text(topic), _stage(each.stage), Text(text), Text(options))
    return table


def games_table(games: Sequence[catalog.Game]) -> Table:
    table = _table("game", "stage", "title", "counts")
    for game in games:
        counts = [f"pulse {pulse.pulse_id}" for pulse in game.pulses]
        counts += [f"metric {metric.metric_id}" for metric in game.metrics]
        counts += [f"custom {custom.custom_id}" for custom in game.customs]
        counts += ["audience"] * game.audience
        stage = game.stage or catalog.STAGE_OPEN
        table.add_row(Text(game.game_id), _stage(stage), Text(game.title), Text(", ".join(counts)))
    return table


def revocations_table(revocations: Sequence[Revocation]) -> Table:
    table = _table("tokens", "issued before", "revoked at", "kept until")
    for each in revocations:
        which = each.WhichOneof("tokens")
        whose = f"of {each.actor_id}" if which == "actor_id" else f"with jti {each.token_id}"
        times = (each.issued_before, each.revoked_at, each.kept_until)
        told = [time.ToJsonString() if time.seconds else "" for time in times]
        table.add_row(Text("of everybody" if which == "all" else whose), *told)
    return table


def _table(*columns: str) -> Table:
    table = Table(box=None, header_style="dim")
    for column in columns:
        table.add_column(column)
    return table


def _stage(stage: catalog.Stage) -> Text:
    name = _STAGES.get(stage, "?")
    return Text(name, style=_STAGE_STYLES.get(name, ""))


def _rules(board: catalog.Board) -> str:
    return f"top {board.top or 10}, {_mode(board)}, from {_writers(board)}{_seasons(board)}"


def _writers(topic: catalog.Board | catalog.Metric | catalog.CustomTopic) -> str:
    return "producers" if topic.writers == catalog.WRITERS_PRODUCERS else "actors"


def _mode(board: catalog.Board) -> str:
    return catalog.BoardMode.Name(board.mode).removeprefix("BOARD_MODE_").lower()


def _seasons(board: catalog.Board) -> str:
    return f", a season every {board.season.every.ToTimedelta()}" if board.HasField("season") else ""
