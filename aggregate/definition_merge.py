"""How a game's definition may change, and the merge of two versions of it. Pure.

A game's topics only ever get more while the game lives, because partitions hold their state and viewers
their results. New topics are appended and the title may change at any time; every other change is refused
with the name of the topic that cannot be removed or altered.

Rules are added, paused and given another notice; what they look for stays. Folds need not know them
(`without_rules`).

Folds use `merge` alone. The controls of two changes may arrive in any order, and one of the changes may have
been refused in the end: a partition still has every topic of an acked definition.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import TypeVar

from grandstand.catalog.v1.catalog_pb2 import (
    WRITERS_ACTORS,
    WRITERS_PRODUCERS,
    WRITERS_UNSPECIFIED,
    CustomTopic,
    Game,
    Metric,
    Pulse,
    Rule,
    Writers,
)
from grandstand.wire.errors import NotNow

Part = TypeVar("Part", Pulse, Metric, CustomTopic, Rule)


def settled_writers(known: Writers, asked: Writers) -> Writers:
    """`asked` as it is stored. A topic that was defined before there was a choice is for actors, and stays
    unspecified if that, or nothing, is asked; otherwise unspecified becomes producers."""
    if known == WRITERS_UNSPECIFIED:
        return WRITERS_UNSPECIFIED if asked == WRITERS_ACTORS else asked
    return asked or WRITERS_PRODUCERS


def with_writers(known: Game, wanted: Game) -> Game:
    """`wanted`, where each metric and custom topic that is new names its writers."""
    settled = Game()
    settled.CopyFrom(wanted)
    metrics = {metric.metric_id: metric.writers for metric in known.metrics}
    for metric in settled.metrics:
        metric.writers = settled_writers(metrics.get(metric.metric_id, WRITERS_PRODUCERS), metric.writers)
    customs = {custom.custom_id: custom.writers for custom in known.customs}
    for custom in settled.customs:
        custom.writers = settled_writers(customs.get(custom.custom_id, WRITERS_PRODUCERS), custom.writers)
    return settled


def with_rule_times(known: Game, wanted: Game, now_s: float) -> Game:
    """`wanted`, where each rule says since when it is judged. `now_s`: Unix seconds."""
    timed = Game()
    timed.CopyFrom(wanted)
    rules = {rule.rule_id: rule for rule in known.rules}
    for rule in timed.rules:
        before = rules.get(rule.rule_id)
        if before is None or (before.paused and not rule.paused):
            rule.since.FromNanoseconds(int(now_s * 1e9))
        else:
            rule.since.CopyFrom(before.since)
    return timed


def untitled(game: Game) -> Game:
    """What of it folds have to know."""
    folded = without_rules(game)
    for field in ("title", "retain_for", "idle_for"):
        folded.ClearField(field)
    return folded


def without_rules(game: Game) -> Game:
    folded = Game()
    folded.CopyFrom(game)
    folded.ClearField("rules")
    return folded


def check_and_merge(known: Game, wanted: Game, *, has_topics: bool) -> Game:
    """`known` changed to `wanted`, with topics in the order in which they were added; equal to `known` if
    nothing changes. `has_topics`: the game has polls or boards. Raises NotNow for a change that is not
    allowed."""
    name = f"game {known.game_id!r}"
    wanted = with_writers(known, wanted)
    if known.spread != wanted.spread and (has_topics or has_own_topics(known)):
        raise NotNow(
            f"game.spread: is {known.spread} and cannot become {wanted.spread} while {name} has topics"
        )
    _check_stay("game.pulses", name, [p.pulse_id for p in known.pulses], [p.pulse_id for p in wanted.pulses])
    pulses = {pulse.pulse_id: pulse for pulse in wanted.pulses}
    for pulse in known.pulses:
        field = f"game.pulses.kinds of {pulse.pulse_id!r}"
        _check_stay(field, name, pulse.kinds, pulses[pulse.pulse_id].kinds)
    _check_same("game.metrics", name, known.metrics, wanted.metrics, lambda metric: metric.metric_id)
    _check_same("game.customs", name, known.customs, wanted.customs, lambda custom: custom.custom_id)
    _check_same("game.rules", name, known.rules, wanted.rules, lambda rule: rule.rule_id, _looked_for)
    if known.audience and not wanted.audience:
        raise NotNow(f"game.audience: is counted in {name} and cannot be taken away; define it with audience")
    return merge(known, wanted)


def merge(known: Game, newer: Game) -> Game:
    """`newer`, with the topics that only `known` has. Where they differ, `newer` wins."""
    both = Game(
        game_id=newer.game_id,
        title=newer.title,
        spread=newer.spread,
        metrics=_merged(known.metrics, newer.metrics, lambda metric: metric.metric_id),
        customs=_merged(known.customs, newer.customs, lambda custom: custom.custom_id),
        audience=known.audience or newer.audience,
        rules=_merged(known.rules, newer.rules, lambda rule: rule.rule_id),
        stage=max(known.stage, newer.stage),
        generation=max(known.generation, newer.generation),
    )
    if newer.HasField("retain_for"):
        both.retain_for.CopyFrom(newer.retain_for)
    if newer.HasField("idle_for"):
        both.idle_for.CopyFrom(newer.idle_for)
    if newer.HasField("ended_at") or known.HasField("ended_at"):
        both.ended_at.CopyFrom(newer.ended_at if newer.HasField("ended_at") else known.ended_at)
    kinds = {pulse.pulse_id: pulse.kinds for pulse in known.pulses}
    for pulse in _merged(known.pulses, newer.pulses, lambda pulse: pulse.pulse_id):
        both.pulses.add(
            pulse_id=pulse.pulse_id, kinds=list(dict.fromkeys([*kinds.get(pulse.pulse_id, ()), *pulse.kinds]))
        )
    return both


def has_own_topics(game: Game) -> bool:
    """True if the definition contains topics: pulses, metrics, custom topics or the audience."""
    return bool(game.pulses or game.metrics or game.customs or game.audience)


def _merged(known: Iterable[Part], newer: Iterable[Part], name_of: Callable[[Part], str]) -> list[Part]:
    """The known ones first, in their order."""
    found = {name_of(part): part for part in known}
    found.update((name_of(part), part) for part in newer)
    return list(found.values())


def _check_stay(field: str, game: str, known: Sequence[str], wanted: Sequence[str]) -> None:
    for name in known:
        if name not in wanted:
            raise NotNow(
                f"{field}: {name!r} counts in {game} and cannot be taken away; define it with {name!r}"
            )


def _check_same(
    field: str,
    game: str,
    known: Sequence[Part],
    wanted: Sequence[Part],
    name_of: Callable[[Part], str],
    of: Callable[[Part], Part] = lambda part: part,
) -> None:
    """`of`: what of it cannot be altered."""
    _check_stay(field, game, [name_of(part) for part in known], [name_of(part) for part in wanted])
    newer = {name_of(part): part for part in wanted}
    for part in known:
        if of(newer[name_of(part)]) != of(part):
            raise NotNow(
                f"{field}: {name_of(part)!r} counts in {game} and cannot be altered; "
                "leave it as it is, or add another"
            )


def _looked_for(rule: Rule) -> Rule:
    """The rule without what may be altered."""
    fixed = Rule()
    fixed.CopyFrom(rule)
    for field in ("notice", "at_most_every", "paused", "since"):
        fixed.ClearField(field)
    return fixed
