"""notify rules: which moments of a game people are told of. They stand in the game's definition."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Annotated, Any

import typer

from toolbox.cli.credentials import TokenOption, owning
from toolbox.cli.home import HomeOption
from toolbox.cli.rpc import GameOption, JsonOption, on_mesh, print_message, seconds_of
from toolbox.local.errors import MeshError
from toolbox.local.running import running_mesh

if TYPE_CHECKING:
    from grandstand.catalog.v1.catalog_pb2 import Rule

WHEN = (
    "reached=N, each=N, lead-changed[=2s], rank-taken=N, opened, closing-in=30s, sealed, season-closed, "
    "game-ended, rate-spike=TIMESxLEAST, audience-peak"
)
_SPIKE = re.compile(r"([0-9]{1,9})x([0-9]{1,18})\Z")
_MOMENTS = ("opened", "sealed", "season-closed", "game-ended", "audience-peak")

RuleArgument = Annotated[str, typer.Argument(metavar="RULE", help="The rule's id.")]


def register(noun: typer.Typer) -> None:
    rules = typer.Typer(help="Say which moments of a game people are told of.", no_args_is_help=True)
    rules.command("list")(list_rules)
    rules.command("add")(add)
    rules.command("pause")(pause)
    rules.command("resume")(resume)
    noun.add_typer(rules, name="rules")


def list_rules(
    game: GameOption = "demo",
    home: HomeOption = None,
    as_json: JsonOption = False,
) -> None:
    """List a game's rules.

    Example: ./grandstand notify rules list --game final
    """
    from toolbox.cli.notice_screens import rules

    listed = on_mesh(running_mesh(home).edge, lambda backend: backend.get_game(game)).game
    if as_json:
        from grandstand.catalog.v1.catalog_pb2 import Game

        print_message(Game(game_id=game, rules=listed.rules), as_json, "")
    else:
        print_message(listed, as_json, rules(listed.rules))


def add(
    rule: RuleArgument,
    when: Annotated[str, typer.Option(metavar="WHEN", help=f"One of {WHEN}.")],
    title: Annotated[
        str, typer.Option(help="What is told; {leader}, {value} and others stand for what was found.")
    ],
    topic: Annotated[
        str,
        typer.Option(metavar="TOPIC", help="Such as poll/mvp, or poll/* for each one.", show_default="none"),
    ] = "",
    text: Annotated[str, typer.Option(help="What is told below the title.")] = "",
    code: Annotated[str, typer.Option(help="For programs and mutes.", show_default="the rule's id")] = "",
    urgent: Annotated[bool, typer.Option("--urgent", help="Also in quiet hours.")] = False,
    expires: Annotated[
        str | None, typer.Option(metavar="DURATION", help="Show it for so long.", show_default="1d")
    ] = None,
    collapse: Annotated[
        bool, typer.Option("--collapse", help="Of a topic's only the newest is shown.")
    ] = False,
    at_most_every: Annotated[
        str | None,
        typer.Option(
            metavar="DURATION", help="At most once in so long.", show_default="as often as it happens"
        ),
    ] = None,
    game: GameOption = "demo",
    home: HomeOption = None,
    token: TokenOption = None,
    as_json: JsonOption = False,
) -> None:
    """Add a rule to a game, or give a rule another notice. A rule cannot be taken away; pause it.

    Example: ./grandstand notify rules add lead --topic poll/* --when lead-changed=2s --title "{leader} leads"
    """
    from grandstand.catalog.v1.catalog_pb2 import Rule

    wanted = Rule(rule_id=rule, topic=topic)
    judge(wanted, when)
    notice = wanted.notice
    notice.title, notice.text, notice.code, notice.urgent, notice.collapse = (
        title,
        text,
        code,
        urgent,
        collapse,
    )
    if expires is not None:
        notice.expires_after.FromMilliseconds(round(seconds_of(expires) * 1e3))
    if at_most_every is not None:
        wanted.at_most_every.FromMilliseconds(round(seconds_of(at_most_every) * 1e3))

    def put(rules: Any) -> None:
        known = next((each for each in rules if each.rule_id == rule), None)
        wanted.paused = known.paused if known is not None else False
        (rules.add() if known is None else known).CopyFrom(wanted)

    defined = _redefine(game, home, token, put)
    print_message(defined, as_json, f"Rule {rule} is in game {game}.")


def pause(
    rule: RuleArgument, game: GameOption = "demo", home: HomeOption = None, token: TokenOption = None
) -> None:
    """Keep a rule from firing.

    Example: ./grandstand notify rules pause lead
    """
    _redefine(game, home, token, lambda rules: _set_paused(rules, rule, game, paused=True))
    typer.echo(f"Rule {rule} of game {game} is paused.")


def resume(
    rule: RuleArgument, game: GameOption = "demo", home: HomeOption = None, token: TokenOption = None
) -> None:
    """Let a paused rule fire again.

    Example: ./grandstand notify rules resume lead
    """
    _redefine(game, home, token, lambda rules: _set_paused(rules, rule, game, paused=False))
    typer.echo(f"Rule {rule} of game {game} fires again.")


def _redefine(game: str, home: Any, token: str | None, change: Any) -> Any:
    """The game as it is defined then; `change` is given its rules. Raises MeshError."""

    async def work(backend: Any) -> Any:
        known = (await backend.get_game(game)).game
        change(known.rules)
        return await backend.define_game(known)

    return on_mesh(running_mesh(home).mesh, work, owning(token, home))


def _set_paused(rules: Any, rule_id: str, game: str, *, paused: bool) -> None:
    for rule in rules:
        if rule.rule_id == rule_id:
            rule.paused = paused
            return
    known = ", ".join(rule.rule_id for rule in rules) or "none"
    raise MeshError(f"game {game} has no rule {rule_id!r}; its rules: {known}")


def judge(rule: Rule, when: str) -> None:
    """Sets what the rule looks for. Raises MeshError."""
    name, _, value = when.partition("=")
    if name in _MOMENTS and not value:
        setattr(rule, name.replace("-", "_"), True)
    elif name in ("reached", "each") and value.isdecimal():
        rule.threshold.at, rule.threshold.each = int(value), name == "each"
    elif name == "lead-changed":
        rule.lead_changed.SetInParent()
        if value:
            rule.lead_changed.hold.FromMilliseconds(round(seconds_of(value) * 1e3))
    elif name == "rank-taken" and value.isdecimal():
        rule.rank_taken.first = int(value)
    elif name == "closing-in" and value:
        rule.closing_in.FromMilliseconds(round(seconds_of(value) * 1e3))
    elif name == "rate-spike" and (found := _SPIKE.match(value)):
        rule.rate_spike.times, rule.rate_spike.at_least = int(found[1]), int(found[2])
    else:
        raise MeshError(f"--when {when!r} is none of {WHEN}")
