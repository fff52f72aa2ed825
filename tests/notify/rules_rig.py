"""Results, definitions and a stream for tests of rules."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from grandstand.catalog.v1.catalog_pb2 import (
    BOARD_MODE_SUM,
    STAGE_OPEN,
    STAGE_SEALED,
    Board,
    Game,
    Poll,
    Rule,
    RuleNotice,
    Stage,
)
from grandstand.internal.v1.internal_pb2 import (
    BoardPartial,
    Partial,
    SeasonShare,
    StoredNotice,
    TallyPartial,
)
from mesh.redis.share import Share
from mesh.results_feed.view import GameView
from notify.game_rules import Firing, GameRules
from notify.rules.compiled import Compiled
from notify.rules.kinds import JUDGES
from notify.rules.match import Judged, RuleMatch
from notify.rules.results import Results
from notify.rules.state import BEGINS


def rule(topic: str = "poll/x", *, rule_id: str = "r", since_s: float = 0.0, **fields: Any) -> Rule:
    made = Rule(rule_id=rule_id, topic=topic, notice=RuleNotice(title="{value} {leader}"))
    for name, value in fields.items():
        if name in ("opened", "sealed", "season_closed", "game_ended", "audience_peak", "paused"):
            setattr(made, name, value)
        elif name in ("closing_in", "at_most_every"):
            getattr(made, name).FromNanoseconds(int(value * 1e9))
        else:
            getattr(made, name).CopyFrom(value)
    made.since.FromNanoseconds(int(since_s * 1e9))
    return made


def tally(votes: dict[str, int], sequence: int = 1, partition: int = 0, stage: Stage = STAGE_OPEN) -> Partial:
    made = TallyPartial(option_ids=votes, votes=votes.values(), voters=sum(votes.values()))
    return Partial(topic="poll/x", partition=partition, sequence=sequence, tally=made, stage=stage)


def share(rows: Sequence[tuple[str, int]], number: int = 0, *, sealed: bool = False) -> SeasonShare:
    made = SeasonShare(number=number, actors=len(rows), sealed=sealed)
    for at, (actor_id, points) in enumerate(rows):
        made.actor_ids.append(actor_id)
        made.points.append(points)
        made.reached.append(at)
    return made


def standings(
    rows: Sequence[tuple[str, int]],
    number: int = 0,
    past: SeasonShare | None = None,
    *,
    sequence: int = 1,
    partition: int = 0,
    stage: Stage = STAGE_OPEN,
) -> Partial:
    """Seasons of 100 s, the first from 0 on."""
    made = BoardPartial(mode=BOARD_MODE_SUM, top=10, current=share(rows, number), previous=past)
    if number:
        made.season.every.seconds = 100
        made.season.starts_at.seconds = 0
    return Partial(topic="board/b", partition=partition, sequence=sequence, board=made, stage=stage)


def poll(*, opened_s: float = 0.0, open_for_s: float = 0.0, stage: Stage = STAGE_OPEN) -> Poll:
    made = Poll(game_id="g", poll_id="x", question="Who?", stage=stage)
    for option_id in "abc":
        made.options.add(option_id=option_id, label=option_id.upper())
    made.opened_at.FromNanoseconds(int(opened_s * 1e9))
    if open_for_s:
        made.open_for.FromNanoseconds(int(open_for_s * 1e9))
        made.closes_at.FromNanoseconds(int((opened_s + open_for_s) * 1e9))
    return made


def board() -> Board:
    return Board(game_id="g", board_id="b", title="Best", mode=BOARD_MODE_SUM, stage=STAGE_OPEN, top=10)


class Judging:
    """One rule, judged by itself; what it has found counts at once."""

    def __init__(self, rule: Rule) -> None:
        self.rule = Compiled(rule)
        self.state = BEGINS
        self.definition: Game | Poll | Board | None = board() if rule.topic.startswith("board/") else poll()

    def look(self, *partials: Partial, now_s: float = 0.0) -> Judged:
        stage = min((each.stage for each in partials), default=STAGE_OPEN)
        results = Results(self.rule.rule.topic, self.definition, partials, stage)
        judged = JUDGES[self.rule.kind](self.rule, self.state, results, now_s)
        self.state = judged.state
        return judged

    def found(self, *partials: Partial, now_s: float = 0.0) -> list[RuleMatch]:
        """All that is found now, one after the other."""
        found = []
        while (each := self.look(*partials, now_s=now_s).found) is not None:
            found.append(each)
            assert len(found) < 100, "each firing is stored, and leaves less to find"
        return found


class Stream:
    """The subjects of a stream, whose last sequence a publisher may expect."""

    def __init__(self) -> None:
        self.messages: list[tuple[int, str, StoredNotice]] = []

    def last(self, subject: str) -> tuple[int, StoredNotice] | None:
        found = [(sequence, stored) for sequence, at, stored in self.messages if at == subject]
        return found[-1] if found else None

    def publish(self, firing: Firing) -> int | None:
        """The sequence; None: refused."""
        last = self.last(firing.subject)
        if firing.sequence != (0 if last is None else last[0]):
            return None
        self.messages.append((len(self.messages) + 1, firing.subject, firing.stored))
        return len(self.messages)

    def told(self) -> list[tuple[str, str, int, str]]:
        """Rule, topic, ordinal and title of each notice."""
        return [
            (each.firing.rule_id, each.firing.topic, each.firing.ordinal, each.notice.title)
            for _, _, each in self.messages
            if each.HasField("notice")
        ]


class Notifier:
    """An evaluator of one game without its I/O: it has begun with the last messages of the stream."""

    def __init__(self, stream: Stream, game: Game, definition: Poll | Board, partitions: int = 1) -> None:
        self.stream = stream
        self.view = GameView(list)
        self.view.fold_in(range(partitions))
        self.rules = GameRules(game, self.view, lambda topic: definition)
        self.under_way: list[Firing] = []
        for subject in {subject for _, subject, _ in stream.messages}:
            last = stream.last(subject)
            assert last is not None
            self.rules.adopt(*last)

    def hear(self, partial: Partial) -> None:
        """As the store has it: with all that the partition knows up to its sequence."""
        self.view.take(Share(partial.partition, partial.sequence, {partial.topic: partial}))

    def judge(self, topic: str, now_s: float = 0.0) -> None:
        self.under_way += self.rules.judge(topic, now_s).firings

    def publish(self, *, hears: bool = True) -> None:
        """The oldest firing under way. `hears`: the answer."""
        if not self.under_way:
            return
        firing = self.under_way.pop(0)
        sequence = self.stream.publish(firing)
        if not hears:
            self.rules.failed(firing)
        elif sequence is not None:
            self.rules.stored(firing, sequence)
        elif (last := self.stream.last(firing.subject)) is None:
            self.rules.lost(firing)
        else:
            self.rules.adopt(*last)

    def settle(self, topic: str, now_s: float = 0.0) -> None:
        """Judges and publishes until nothing is found."""
        for _ in range(100):
            self.judge(topic, now_s)
            if not self.under_way:
                return
            while self.under_way:
                self.publish()
        raise AssertionError("it never ends")


SEALED = STAGE_SEALED
