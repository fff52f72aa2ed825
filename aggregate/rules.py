"""Checks the rules of a game's definition; every refusal names the field, the value and the bound. Pure.

Whether a poll or board that a rule names is there is the catalog's to know (`named_topics`).
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import NamedTuple

from google.protobuf.duration_pb2 import Duration

from aggregate import bounds
from grandstand.catalog.v1.catalog_pb2 import STAGE_UNSPECIFIED, Board, Game, Poll, Rule, RuleNotice
from grandstand.wire import ids
from grandstand.wire.errors import Invalid, shown
from mesh import rule_kinds
from mesh.jetstream import subjects
from mesh.notices import bounds as notice_bounds

_CODE = re.compile(rf"[A-Za-z0-9_.-]{{1,{notice_bounds.CODE_CHARACTERS_MAX}}}\Z")
_TRUE = ("opened", "sealed", "season_closed", "game_ended", "audience_peak")


def check_rules(game: Game) -> None:
    """Raises Invalid."""
    if len(game.rules) > bounds.RULES_MAX:
        raise Invalid(f"game.rules: {len(game.rules)} rules; at most {bounds.RULES_MAX} are allowed")
    seen: set[str] = set()
    for at, rule in enumerate(game.rules):
        field = f"game.rules[{at}]"
        ids.check_id(f"{field}.rule_id", rule.rule_id)
        if rule.rule_id in seen:
            raise Invalid(f"game.rules.rule_id: {shown(rule.rule_id)} comes twice; each must be unique")
        seen.add(rule.rule_id)
        _check_when(field, rule)
        _check_topic(f"{field}.topic", rule, game)
        _check_notice(f"{field}.notice", rule.notice, str(rule.WhichOneof("when")))
        if rule.HasField("at_most_every"):
            _check_span(f"{field}.at_most_every", rule.at_most_every, 0, bounds.RULE_AT_MOST_EVERY_MAX_S)


class Named(NamedTuple):
    """A poll or board that a rule names."""

    field: str
    key: str
    """Its key in the catalog."""
    rule: Rule


def named_topics(game: Game, known: Game) -> Iterator[Named]:
    """Of the rules of `game` that are not in `known`."""
    there = {rule.rule_id for rule in known.rules}
    for at, rule in enumerate(game.rules):
        kind, _, name = rule.topic.partition("/")
        if rule.rule_id not in there and name != "*" and kind in rule_kinds.EACH:
            key = (subjects.poll_key if kind == "poll" else subjects.board_key)(game.game_id, name)
            yield Named(f"game.rules[{at}]", key, rule)


def check_named(named: Named, found: Game | Poll | Board | None, generation: int) -> None:
    """`found`: what the catalog has under its key; `generation`: the game's. Raises Invalid."""
    field, _, rule = named
    if (
        not isinstance(found, Poll | Board)
        or found.stage == STAGE_UNSPECIFIED
        or 0 < found.generation < generation
    ):
        kind = rule.topic.partition("/")[0]
        raise Invalid(
            f"{field}.topic: {shown(rule.topic)} is not there; open it first, "
            f"or name {kind}/* for each {kind}, also those that open later"
        )
    if isinstance(found, Board):
        if rule.rank_taken.first > found.top:
            raise Invalid(
                f"{field}.rank_taken.first: is {rule.rank_taken.first}; the board shows {found.top}"
            )
        if rule.season_closed and not found.HasField("season"):
            raise Invalid(f"{field}.topic: {shown(rule.topic)} has no seasons")


def _check_when(field: str, rule: Rule) -> None:
    kind = rule.WhichOneof("when")
    match kind:
        case None:
            raise Invalid(f"{field}.when: is not set; one of {', '.join(rule_kinds.KINDS)} is needed")
        case "threshold":
            if rule.threshold.at < 1:
                raise Invalid(f"{field}.threshold.at: is 0; at least 1 is needed")
        case "lead_changed":
            if rule.lead_changed.HasField("hold"):
                _check_span(f"{field}.lead_changed.hold", rule.lead_changed.hold, 0, bounds.RULE_HOLD_MAX_S)
        case "rank_taken":
            if not 1 <= rule.rank_taken.first <= bounds.RULE_FIRST_MAX:
                raise Invalid(
                    f"{field}.rank_taken.first: is {rule.rank_taken.first}; "
                    f"1 to {bounds.RULE_FIRST_MAX} are allowed"
                )
        case "closing_in":
            _check_span(f"{field}.closing_in", rule.closing_in, 1, bounds.OPEN_FOR_MAX_S)
        case "rate_spike":
            spike = rule.rate_spike
            if not bounds.RULE_TIMES_MIN <= spike.times <= bounds.RULE_TIMES_MAX:
                raise Invalid(
                    f"{field}.rate_spike.times: is {spike.times}; "
                    f"{bounds.RULE_TIMES_MIN} to {bounds.RULE_TIMES_MAX} are allowed"
                )
            if spike.at_least < 1:
                raise Invalid(f"{field}.rate_spike.at_least: is 0; at least 1 is needed")
    if kind in _TRUE and not getattr(rule, str(kind)):
        raise Invalid(f"{field}.{kind}: is false; it must be true")


def _check_topic(field: str, rule: Rule, game: Game) -> None:
    kind = str(rule.WhichOneof("when"))
    judges = rule_kinds.KINDS[kind].topics
    if not judges:
        if rule.topic:
            raise Invalid(f"{field}: is {shown(rule.topic)}; it must be empty for {kind}")
        return
    each = tuple(f"{topic}/*" for topic in judges if topic in rule_kinds.EACH)
    if rule.topic in each:
        return
    try:
        topic = ids.parse_topic(rule.topic)
    except Invalid:
        topic = None
    if topic is None or topic.kind not in judges:
        forms = [name if name == "audience" else f"{name}/<id>" for name in judges]
        raise Invalid(f"{field}: is {shown(rule.topic)}; {kind} judges {', '.join([*forms, *each])}")
    if topic.kind == "pulse" and all(pulse.pulse_id != topic.name for pulse in game.pulses):
        raise Invalid(f"{field}: the game has no pulse {shown(topic.name)}; define it with the rule")
    if topic.kind == "audience" and not game.audience:
        raise Invalid(f"{field}: the game's audience is not counted; define it with audience")


def _check_notice(field: str, notice: RuleNotice, kind: str) -> None:
    if notice.code and not (_CODE.match(notice.code) and notice.code.strip(".") == notice.code):
        raise Invalid(
            f"{field}.code: is {shown(notice.code)}; 1 to {notice_bounds.CODE_CHARACTERS_MAX} of "
            "A-Z a-z 0-9 _ . - are allowed, without a dot at either end"
        )
    ids.check_text(f"{field}.title", notice.title)
    if len(notice.text) > bounds.RULE_TEXT_CHARACTERS_MAX:
        raise Invalid(
            f"{field}.text: has {len(notice.text)} characters; "
            f"at most {bounds.RULE_TEXT_CHARACTERS_MAX} are allowed"
        )
    known = rule_kinds.placeholders(kind)
    for name, template in (("title", notice.title), ("text", notice.text)):
        for placeholder in rule_kinds.PLACEHOLDER.findall(template):
            if placeholder not in known:
                there = ", ".join(f"{{{each}}}" for each in known) or "nothing"
                raise Invalid(
                    f"{field}.{name}: {kind} does not find {shown(f'{{{placeholder}}}')}; it finds {there}"
                )
    if notice.HasField("expires_after"):
        _check_span(
            f"{field}.expires_after",
            notice.expires_after,
            notice_bounds.EXPIRES_AFTER_MIN_S,
            notice_bounds.EXPIRES_AFTER_MAX_S,
        )


def _check_span(field: str, value: Duration, least_s: float, most_s: float) -> None:
    seconds = value.seconds + value.nanos / 1e9
    if not least_s <= seconds <= most_s:
        raise Invalid(f"{field}: is {seconds:.10g} s; {least_s:.10g} to {most_s:.10g} s are allowed")
