"""The story of an actor's events, from what was found. Pure.

received ─▶ stored ─▶ folded ─▶ counted ─▶ replaced, surpassed, voided, removed, forgotten
                          └───▶ resent, second, older, sealed, ... (mesh.recount.verdict)
refused, shed              by a gateway or an ingest: nothing of it is in the stream
opened, closed, sealed     of the topics asked about
purged, unread, asked      how far this story reaches
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from grandstand.catalog.v1.catalog_pb2 import Board, Game, Poll
from grandstand.event.v1.event_pb2 import Position
from grandstand.internal.v1.internal_pb2 import Refusal, RefusalsResponse
from grandstand.support.v1.support_pb2 import ExplainResponse, Step
from grandstand.wire import ids
from mesh import limits
from mesh.explain.question import ExplainQuestion, topic_of
from mesh.recount.partition import Turn
from mesh.recount.verdict import DEAD_LETTERS, EventOutcome, EventVerdict

STEPS_MAX = 500
_CODES = {3: "INVALID_ARGUMENT", 4: "DEADLINE_EXCEEDED", 5: "NOT_FOUND", 6: "ALREADY_EXISTS"}
_CODES |= {7: "PERMISSION_DENIED", 8: "RESOURCE_EXHAUSTED", 9: "FAILED_PRECONDITION", 13: "INTERNAL"}
_CODES |= {14: "UNAVAILABLE", 16: "UNAUTHENTICATED"}


@dataclass(slots=True)
class PartitionFacts:
    """What one partition holds of the question."""

    partition: int
    fates: Sequence[EventOutcome] = ()
    turns: Sequence[Turn] = ()
    letters: Mapping[int, Sequence[str]] = field(default_factory=dict)
    """The reasons of dead letters by sequence."""
    ingests: Mapping[int, str] = field(default_factory=dict)
    """Which instance stored a block, by sequence."""
    applied: int | None = None
    """How far Redis has it; None: it is being rebuilt, or Redis does not answer."""
    purged_up_to: int = 0
    """Blocks below are gone; 0: none is."""
    checkpoint: int = 0
    """The checkpoint from which it is known what those came to; 0: there is none."""
    unread: int = 0
    """Blocks that were not read, because time was up."""


@dataclass(slots=True)
class Facts:
    game: Game | None
    topics: list[Poll | Board]
    partitions: list[PartitionFacts] = field(default_factory=list)
    heard: list[RefusalsResponse] = field(default_factory=list)
    """From each ingest and gateway that answered."""


def tell(question: ExplainQuestion, facts: Facts) -> ExplainResponse:
    """Steps by time, and the sentence that answers."""
    steps: list[Step] = []
    asked: list[tuple[PartitionFacts, EventOutcome]] = []
    names = _Names(facts.topics)
    for found in facts.partitions:
        for fate in found.fates:
            if question.asks_of(fate.row):
                asked.append((found, fate))
                steps += _of_event(found, fate, names)
        for turn in found.turns:
            if turn.game_id == question.game_id and turn.topic in ("", question.topic):
                what = turn.topic or f"game {turn.game_id}"
                text = f"{what} was {turn.what} in partition {found.partition}, at {turn.sequence}"
                kind = f"{'topic' if turn.topic else 'game'}_{turn.what}"
                steps.append(_step(kind, turn.stored_at_us, text, topic=turn.topic))
    refusals = [(answer.instance, each) for answer in facts.heard for each in answer.refusals]
    refusals = [(ingest, each) for ingest, each in refusals if _concerns(question, each)]
    steps += [_refused(ingest, each) for ingest, each in refusals]
    sheds = _shed(question, facts.heard)
    steps += sheds
    steps.sort(key=lambda step: step.at.ToMicroseconds())
    response = ExplainResponse(summary=_summary(question, facts, asked, refusals, sheds, names))
    response.steps.extend(steps[-STEPS_MAX:])
    response.steps.extend(_reach(facts))
    return response


class _Names:
    """How votes and scores are called."""

    def __init__(self, topics: Sequence[Poll | Board]) -> None:
        self._polls = {topic_of(each): each for each in topics if isinstance(each, Poll)}

    def of(self, fate: EventOutcome) -> str:
        row = fate.row
        kind = row.topic.partition("/")[0]
        match kind:
            case "poll":
                return f"vote for {self._chosen(fate)} in {row.topic}"
            case "board":
                return f"score of {row.signed} on {row.topic}"
            case "pulse":
                return f"{row.signed} × {row.label} in {row.topic}"
            case "audience":
                return "presence"
        return f"event of {row.topic}"

    def _chosen(self, fate: EventOutcome) -> str:
        poll, bits = self._polls.get(fate.row.topic), fate.row.bits
        places = [at for at in range(64) if bits >> at & 1]
        if poll is None or any(at >= len(poll.options) for at in places):
            return "options " + ", ".join(f"#{at + 1}" for at in places) if places else "no option"
        return ", ".join(poll.options[at].option_id for at in places) or "no option"


def _step(
    kind: str,
    at_us: int,
    text: str,
    *,
    fate: EventOutcome | None = None,
    partition: int = 0,
    topic: str = "",
    ingest: str = "",
) -> Step:
    step = Step(kind=kind, text=text, topic=topic, ingest=ingest)
    if at_us:
        step.at.FromMicroseconds(at_us)
    if fate is not None:
        row = fate.row
        step.topic, step.origin_seq = row.topic, row.seq
        step.origin_id = ids.origin_of(row.origin, producer=row.producer)
        step.position.CopyFrom(Position(partition=partition, sequence=fate.sequence))
    return step


def _of_event(found: PartitionFacts, fate: EventOutcome, names: _Names) -> list[Step]:
    at, partition, row = fate.sequence, found.partition, fate.row
    ingest = found.ingests.get(at, "")
    origin = ids.origin_of(row.origin, producer=row.producer)
    steps = [
        _step(
            "received",
            fate.stamp_us,
            f"{names.of(fate)}, number {row.seq} of origin {origin}: received by {ingest or 'an ingest'}",
            fate=fate,
            partition=partition,
            ingest=ingest,
        )
    ]
    text = f"stored at {at} of partition {partition}, which is the Position that its ack names"
    if fate.stored_at_us - fate.stamp_us > limits.PUBLISH_DEADLINE_S * 1e6:
        text += "; later than an ingest acks, so the client was told nothing, or that it may be stored"
    steps.append(_step("stored", fate.stored_at_us, text, fate=fate, partition=partition))
    if found.applied is None:
        text = f"whether it is folded is not known: partition {partition} is being rebuilt"
        steps.append(_step("not_folded", fate.stored_at_us, text, fate=fate, partition=partition))
    elif found.applied < at:
        text = f"not folded yet: partition {partition} is folded up to {found.applied}, not to {at}"
        steps.append(_step("not_folded", fate.stored_at_us, text, fate=fate, partition=partition))
    else:
        text = f"folded, when the partition's time was {_time(fate.partition_time_us)}"
        steps.append(_step("folded", fate.stored_at_us, text, fate=fate, partition=partition))
    text = why(fate, names, found.letters.get(at, ()))
    steps.append(_step(fate.verdict.value, fate.stored_at_us, text, fate=fate, partition=partition))
    for undone in fate.undone:
        text = f"{names.of(fate)}, stored at {at}, counts no more: {_UNDONE[undone.how]} at {undone.sequence}"
        steps.append(_step(undone.how, undone.stored_at_us, text, fate=fate, partition=partition))
    return steps


_UNDONE = {
    "replaced": "a later one of the actor replaced it, stored",
    "surpassed": "a better score of the actor replaced it, stored",
    "voided": "the actor's votes were voided by an owner, by a control stored",
    "removed": "the actor's score was removed by an owner, by a control stored",
    "forgotten": "the game was forgotten, by a control stored",
}


def why(fate: EventOutcome, names: _Names, letters: Sequence[str]) -> str:
    """Why it counts, or does not."""
    row, other = fate.row, fate.other
    at_other = f", stored at {other}" if other else ", in a block that is purged or was not read"
    match fate.verdict:
        case EventVerdict.COUNTED:
            season = f" in season {fate.season}" if fate.season else ""
            late = "; too late for its moment, so it is in the totals alone" if fate.late else ""
            replaced = f"; it replaces the one stored at {fate.replaced}" if fate.replaced else ""
            return f"counted: {names.of(fate)}{season}{late}{replaced}"
        case EventVerdict.RESENT:
            return f"not counted again: it is a resend of the same number{at_other}"
        case EventVerdict.BEHIND_WINDOW:
            return (
                f"not counted: its number {row.seq} is below what the origin's anti-replay window remembers, "
                "so it is taken for a resend; a client must not have this many numbers unacked"
            )
        case EventVerdict.SECOND:
            return f"not counted: the actor has voted{at_other}, and a vote of this poll is final"
        case EventVerdict.OLDER:
            return f"not counted: a newer one of the same origin stands{at_other}"
        case EventVerdict.NOT_BETTER:
            return f"not counted: the board keeps the best score, and the actor had one as good{at_other}"
        case EventVerdict.BAD_CHOICE:
            return "not counted: it is for no option, for one that the poll has not, or for too many"
        case EventVerdict.SEALED:
            return f"not counted: {row.topic} was sealed before it was stored, and its result is final"
        case EventVerdict.OLD_GENERATION:
            return "not counted: it is of an older generation, a game that had this id before"
        case EventVerdict.UNDEFINED:
            said = f"set aside as a dead letter: {row.topic} was not defined in the partition"
        case EventVerdict.ORIGIN_LEFT:
            said = "set aside as a dead letter: its origin's anti-replay window had left to make room"
        case EventVerdict.FOLD_FAILED:
            said = "set aside as a dead letter: the custom fold failed"
        case EventVerdict.UNDECODABLE:
            said = "set aside as a dead letter: its block could not be folded"
    return f"{said} ({'; '.join(letters)})" if letters else said


def _time(at_us: int) -> str:
    step = Step()
    step.at.FromMicroseconds(at_us)
    return step.at.ToJsonString()


# What ingests say.


def _concerns(question: ExplainQuestion, refusal: Refusal) -> bool:
    if refusal.game_id not in ("", question.game_id):
        return False
    if question.topic and refusal.topic not in ("", question.topic):
        return False
    if not question.origin_id:
        return True
    return refusal.origin_seq == question.origin_seq and refusal.origin_id in ("", question.origin_id)


def _refused(ingest: str, refusal: Refusal) -> Step:
    code = _CODES.get(refusal.code, str(refusal.code))
    text = f"{ingest} refused an event of {refusal.topic or 'no topic'}: {code}, {refusal.message}"
    if refusal.maybe_stored:
        text += "; a copy of it may be stored all the same"
    step = _step("refused", refusal.at_us, text, topic=refusal.topic, ingest=ingest)
    step.origin_id, step.origin_seq = refusal.origin_id, refusal.origin_seq
    return step


def _shed(question: ExplainQuestion, heard: Sequence[RefusalsResponse]) -> list[Step]:
    kind = {"pulse": "reaction", "metric": "measure", "audience": "presence"}.get(
        question.topic.partition("/")[0], ""
    )
    steps = []
    for answer in heard:
        for shed in answer.sheds:
            if shed.game_id != question.game_id or (question.topic and shed.kind != kind):
                continue
            text = (
                f"{answer.instance} shed {shed.count} {shed.kind} event{'' if shed.count == 1 else 's'} from "
                f"{_time(shed.first_us)} on: the mesh was under pressure, or the actor's rate was too high"
            )
            steps.append(_step("shed", shed.last_us, text, ingest=answer.instance))
    return steps


def _reach(facts: Facts) -> list[Step]:
    """How far the story reaches."""
    steps = []
    for found in facts.partitions:
        name = f"partition {found.partition}"
        if found.purged_up_to:
            known = (
                f"what they came to is known from the checkpoint at {found.checkpoint}"
                if found.checkpoint
                else "there is no checkpoint that says what they came to"
            )
            text = f"blocks of {name} below {found.purged_up_to} are purged, and cannot be told of; {known}"
            steps.append(_step("purged", 0, text))
        if found.unread:
            text = f"{found.unread} newer blocks of {name} were not read, because time was up; ask by topic"
            steps.append(_step("unread", 0, text))
    if all(answer.service == "gateway" for answer in facts.heard):
        text = "no ingest answered what it refused lately"
    else:
        since = ", ".join(
            f"{a.instance} (since {_time(a.since_us)})"
            for a in sorted(facts.heard, key=lambda answer: answer.instance)
        )
        text = f"asked what they refused of the actor lately: {since}"
    steps.append(_step("asked", 0, text))
    return steps


def _summary(
    question: ExplainQuestion,
    facts: Facts,
    asked: Sequence[tuple[PartitionFacts, EventOutcome]],
    refusals: Sequence[tuple[str, Refusal]],
    sheds: Sequence[Step],
    names: _Names,
) -> str:
    whose = f"of {question.actor_id} in {question.topic or 'game ' + question.game_id}"
    if facts.game is None:
        whose += ", a game that the catalog does not know"
    counts = [(found, fate) for found, fate in asked if fate.counts]
    folded = [(found, fate) for found, fate in counts if (found.applied or 0) >= fate.sequence]
    if folded:
        found, fate = folded[-1]
        more = f", and {len(folded) - 1} more" if len(folded) > 1 else ""
        return (
            f"It counts: {names.of(fate)} {_of(question)}, stored at {fate.sequence} of partition "
            f"{found.partition}{more}."
        )
    if counts:
        found, fate = counts[-1]
        where = f"{fate.sequence} of partition {found.partition}"
        return f"It is stored at {where} and will count once it is folded."
    if asked:
        found, fate = max(asked, key=lambda each: each[1].stored_at_us)
        if fate.undone:
            undone = fate.undone[-1]
            return f"It counted and counts no more: {_UNDONE[undone.how]} at {undone.sequence}."
        aside = "It is stored and set aside" if fate.verdict in DEAD_LETTERS else "It is stored"
        return f"{aside}, and does not count: {why(fate, names, found.letters.get(fate.sequence, ()))}."
    if refusals:
        ingest, last = max(refusals, key=lambda each: each[1].at_us)
        maybe = ", but a copy may be stored" if last.maybe_stored else ""
        return f"It was refused by {ingest}{maybe}: {last.message}."
    if sheds:
        return f"It was shed: {sheds[-1].text}."
    if any(found.unread for found in facts.partitions):
        return f"Nothing {whose} was found in what could be read in time."
    if any(found.purged_up_to for found in facts.partitions):
        return f"Nothing {whose} is in the stream since the last purge, and nobody remembers a refusal."
    return (
        f"Nothing {whose} was ever stored, and no ingest or gateway remembers a refusal: it did not reach "
        "them, was refused longer ago, or by the edge, which counts what it refuses and remembers nobody."
    )


def _of(question: ExplainQuestion) -> str:
    return f"of {question.actor_id}"
