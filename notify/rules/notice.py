"""What is stored of a firing: the rule's notice with what was found, within the bounds of any notice. Pure.

A notice to the viewers of a game names actors as its results do: by their name, or by the id that others may
see. What is too long is cut. Its data is a JSON object of what was found, with ids in place of names.
"""

from __future__ import annotations

import json

from google.protobuf.timestamp_pb2 import Timestamp

from grandstand.catalog.v1.catalog_pb2 import Board, Game, Poll, Rule
from grandstand.internal.v1.internal_pb2 import StoredNotice
from grandstand.notify.v1.notify_pb2 import PRIORITY_NORMAL, PRIORITY_URGENT
from grandstand.wire import bounds as wire_bounds
from mesh import rule_kinds
from mesh.notices import bounds
from mesh.pseudonyms import PublicId
from notify.rules.match import RuleMatch
from notify.rules.results import Who

EXPIRES_AFTER_S = 86_400.0


def stored_notice(
    game: Game,
    rule: Rule,
    topic: str,
    ordinal: int,
    found: RuleMatch | None,
    state: bytes,
    definition: Game | Poll | Board | None,
    public: PublicId,
    now_s: float,
) -> StoredNotice:
    """`state`: encoded. Without `found`, a state alone, which nobody is told."""
    stored = StoredNotice(rule_state=state, generation=game.generation)
    stored.firing.game_id = game.game_id
    stored.firing.rule_id = rule.rule_id
    stored.firing.topic = topic
    stored.firing.ordinal = ordinal
    expires_s = EXPIRES_AFTER_S
    if rule.notice.HasField("expires_after"):
        expires_s = rule.notice.expires_after.ToNanoseconds() / 1e9
    for field, at_s in (
        (stored.sent_at, now_s),
        (stored.due_at, now_s),
        (stored.expires_at, now_s + expires_s),
    ):
        _set(field, at_s)
    if found is None:
        return stored
    notice = stored.notice
    notice.game_id = game.game_id
    if found.actor is not None:
        notice.audience.actor_id = found.actor.id
    else:
        notice.audience.viewers = True
    notice.code = rule.notice.code or rule.rule_id
    values = _values(topic, found, definition, public)
    notice.title = _fill(rule.notice.title, values)[: wire_bounds.TEXT_CHARACTERS_MAX]
    notice.data = _data(topic, found, public)
    room = bounds.SAID_BYTES_MAX - len(notice.data.encode()) - len(notice.title.encode())
    notice.text = _cut(_fill(rule.notice.text, values)[: bounds.TEXT_CHARACTERS_MAX], room)
    notice.priority = PRIORITY_URGENT if rule.notice.urgent else PRIORITY_NORMAL
    notice.expires_after.FromSeconds(int(expires_s))
    if rule.notice.collapse:
        notice.collapse_key = f"rule {rule.rule_id} {topic}"
    return stored


def _set(field: Timestamp, at_s: float) -> None:
    field.FromMicroseconds(int(at_s * 1e6))


def _values(
    topic: str, found: RuleMatch, definition: Game | Poll | Board | None, public: PublicId
) -> dict[str, str]:
    labels: dict[str, str] = {}
    if isinstance(definition, Poll):
        labels = {option.option_id: option.label for option in definition.options}

    def shown(who: Who) -> str:
        if topic.startswith("poll/"):
            return labels.get(who.id, who.id)
        return who.name or public([who.id])[0]

    values = {
        "topic": topic,
        "question": _question(definition) or topic,
        "value": "" if found.value is None else str(found.value),
        "leader": ", ".join(shown(who) for who in found.leader),
        "season": str(found.season or ""),
        "rank": str(found.rank or ""),
    }
    for name, who in (("before", found.before), ("actor", found.actor)):
        values[name] = "" if who is None else shown(who)
    return values


def _question(definition: Game | Poll | Board | None) -> str:
    if isinstance(definition, Poll):
        return definition.question
    return definition.title if isinstance(definition, Board) else ""


def _data(topic: str, found: RuleMatch, public: PublicId) -> str:
    def named(who: Who) -> str:
        return who.id if topic.startswith("poll/") else public([who.id])[0]

    said: dict[str, str | int] = {"topic": topic}
    if found.value is not None:
        said["value"] = found.value
    if len(found.leader) == 1:
        said["leader"] = named(found.leader[0])
    for name, who in (("before", found.before), ("actor", found.actor)):
        if who is not None:
            said[name] = named(who)
    if found.rank is not None:
        said["rank"] = found.rank
    if found.season:
        said["season"] = found.season
    return json.dumps(said, separators=(",", ":"))


def _fill(template: str, values: dict[str, str]) -> str:
    return rule_kinds.PLACEHOLDER.sub(lambda match: values.get(match[1], match[0]), template)


def _cut(text: str, bytes_max: int) -> str:
    return text.encode()[: max(0, bytes_max)].decode(errors="ignore")
