"""What the results say against what the clients were told. Pure.

Each topic is reckoned from its entries (see `scene` for why their effects can be told apart):

    poll        by actor the vote that must count; each option's votes and weight, and the voters. One that is
                closed is read when it is sealed: what was acked is in the sealed result
    board, sum  the digits of each actor's sum: how often each score was counted; of a board with seasons, of
                the sum over its seasons (see `seasons`): each score is in exactly one of them
    board, best each actor's highest score
    pulse       by kind the total, in whole bursts
    metric      the count, and the least and greatest value
    audience    the number of actors that were ever here

An UNCERTAIN event may have counted once or not at all; so a figure has a least and a most. What lies
below the least is lost, what lies above the most is doubled; REFUSED and VOIDED events add to
neither, so one that counts all the same shows as doubled. `counted` are the acked events of which
the results show the effect, or the effect of what replaced them.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Container, Iterable, Mapping
from dataclasses import dataclass, field, replace

from grandstand.aggregate.v1.aggregate_pb2 import (
    AudienceResult,
    BoardResult,
    MetricResult,
    PulseResult,
    TallyResult,
    TopicState,
)
from grandstand.catalog.v1.catalog_pb2 import STAGE_SEALED
from toolbox.chaos import scene
from toolbox.chaos.entries import Entry, EventStatus

TopicKey = tuple[str, str]
"""(game_id, topic)"""


@dataclass(slots=True)
class Finding:
    """What is wrong with one topic, in events."""

    where: str
    lost: int = 0
    doubled: int = 0
    notes: list[str] = field(default_factory=list)

    def off(self, what: str, found: float, least: float, most: float, unit: int = 1) -> None:
        """Notes a figure outside its bounds. `unit`: how much of the figure one event is at most."""
        if found < least:
            self.lost += -int((found - least) // unit)
            self.notes.append(f"{what} is {found:g}, at least {least:g} were acked")
        elif found > most:
            self.doubled += -int((most - found) // unit)
            self.notes.append(f"{what} is {found:g}, at most {most:g} can be")


@dataclass(frozen=True, slots=True)
class Verdict:
    acked: int
    counted: int
    lost: int
    doubled: int
    uncertain: int
    findings: list[Finding]


def compare(
    entries: Iterable[Entry], states: Mapping[TopicKey, TopicState], partly: Container[TopicKey] = ()
) -> Verdict:
    """`states`: of every topic that entries name; a missing one counts for nothing. `partly`: topics of which
    not all was seen, so that nothing of them is found lost."""
    by_topic: dict[TopicKey, list[Entry]] = defaultdict(list)
    fates: Counter[EventStatus] = Counter()
    for entry in entries:
        by_topic[(entry.game_id, entry.topic)].append(entry)
        fates[entry.fate] += 1
    findings = [
        _compare_topic(
            key, _unsure(told) if key in partly else told, states.get(key, TopicState(topic=key[1]))
        )
        for key, told in sorted(by_topic.items())
    ]
    lost = sum(finding.lost for finding in findings)
    return Verdict(
        acked=fates[EventStatus.ACKED],
        counted=fates[EventStatus.ACKED] - lost,
        lost=lost,
        doubled=sum(finding.doubled for finding in findings),
        uncertain=fates[EventStatus.UNCERTAIN] + fates[EventStatus.SENT],
        findings=[finding for finding in findings if finding.notes],
    )


def _unsure(told: Iterable[Entry]) -> list[Entry]:
    """As if nobody knew what was acked."""
    return [replace(e, fate=EventStatus.UNCERTAIN) if e.fate is EventStatus.ACKED else e for e in told]


def unsealed(states: Mapping[TopicKey, TopicState], closed: Iterable[TopicKey]) -> list[TopicKey]:
    """Which of the topics that were closed are not sealed."""
    return [key for key in closed if states[key].stage != STAGE_SEALED]


def shows_score(board: BoardResult, score: Entry) -> bool:
    """Whether a board that sums includes this score."""
    points = sum(entry.points for entry in board.entries if entry.actor_id == score.actor_id)
    return bool(points // 4**score.order % 4)


def _compare_topic(key: TopicKey, told: list[Entry], state: TopicState) -> Finding:
    game_id, topic = key
    finding = Finding(f"{game_id} {topic}")
    kind, _, name = topic.partition("/")
    match kind:
        case "poll":
            _compare_tally(finding, told, state.tally, replaces=name == scene.CHANGEABLE)
        case "board" if name == scene.BEST:
            _compare_best(finding, told, state.board)
        case "board":
            _compare_sum(finding, told, state.board)
        case "pulse":
            _compare_pulse(finding, told, state.pulse)
        case "metric":
            _compare_metric(finding, told, state.metric)
        case "audience":
            _compare_audience(finding, told, state.audience)
        case _:
            raise ValueError(f"no rule for topic {topic!r}")
    return finding


def _compare_tally(finding: Finding, told: list[Entry], tally: TallyResult, *, replaces: bool) -> None:
    least: Counter[str] = Counter()
    most: Counter[str] = Counter()
    least_weight: Counter[str] = Counter()
    most_weight: Counter[str] = Counter()
    voters_least = voters_most = voided_least = voided_most = 0
    for votes in _by_actor(told).values():
        outcomes = _outcomes(votes, replaces)
        voters_least += all(outcomes)
        voters_most += any(outcomes)
        if any(vote.fate is EventStatus.VOIDED for vote in votes):
            voided_least += not any(outcomes)
            voided_most += not all(outcomes)
        named = [dict.fromkeys(vote.options, int(vote.amount)) if vote else {} for vote in outcomes]
        for option in set().union(*named):
            weights = [options.get(option, 0) for options in named]
            least[option] += all(weights)
            most[option] += any(weights)
            least_weight[option] += min(weights)
            most_weight[option] += max(weights)
    choices = max((len(entry.options) for entry in told), default=1)
    by_option = Finding("")
    for found in tally.options:
        name = found.option_id
        by_option.off(f"votes of {name}", found.votes, least[name], most[name])
    for name in set(least) - {option.option_id for option in tally.options}:
        by_option.off(f"votes of {name}", 0, least[name], most[name])
    voters = Finding("")
    voters.off("voters", tally.voters, voters_least, voters_most)
    voided = Finding("")
    voided.off("voided votes", tally.voided, voided_least, voided_most)
    finding.notes += by_option.notes + voters.notes + voided.notes
    finding.lost = max(voters.lost, -(-by_option.lost // choices))
    # A changed vote that got lost stands where the actor's vote was before: too much there, too little here.
    excess = by_option.doubled - (by_option.lost if replaces else 0)
    finding.doubled = max(voters.doubled, -(-excess // choices), 0)
    if not finding.notes:
        for found in tally.options:
            name = found.option_id
            finding.off(
                f"weight of {name}", found.weight, least_weight[name], most_weight[name], scene.WEIGHT_MAX
            )


def _outcomes(votes: list[Entry], replaces: bool) -> list[Entry | None]:
    """Which of an actor's votes may be the one that counts; None: none at all."""
    acked = [vote for vote in votes if vote.fate is EventStatus.ACKED]
    possible: list[Entry | None] = [
        vote
        for vote in votes
        if vote.fate not in (EventStatus.REFUSED, EventStatus.VOIDED)
        and not any(_outlasts(other, vote, replaces) for other in acked if other is not vote)
    ]
    return possible if acked else [*possible, None]


def _outlasts(acked: Entry, vote: Entry, replaces: bool) -> bool:
    """Whether `vote` cannot count beside an acked one of the same actor.

    Where votes may be changed: if it is an older one of the same device, or was stored for certain before the
    other was sent. Devices whose votes were under way at the same time may come in either order. Where the
    first vote is final (an actor votes on one device), the one sent first stands.
    """
    if not replaces:
        return acked.order < vote.order
    if acked.origin == vote.origin:
        return acked.order > vote.order
    return vote.fate is EventStatus.ACKED and vote.acked_at < acked.sent_at


def _compare_sum(finding: Finding, told: list[Entry], board: BoardResult) -> None:
    points = {entry.actor_id: entry.points for entry in board.entries}
    for actor_id, scores in _by_actor(told).items():
        found = points.pop(actor_id, 0)
        for score in scores:
            digit = found // 4**score.order % 4
            least, most = _bounds([score])
            finding.off(f"score {score.order + 1} of {actor_id}: counted times", digit, least, most)
        if found >= 4 ** (scores[-1].order + 1):
            finding.off(f"the sum of {actor_id}", found, 0, 4 ** (scores[-1].order + 1) - 1, found)
    for actor_id in points:
        finding.off(f"the sum of {actor_id}, who did not score,", points[actor_id], 0, 0, points[actor_id])


def _compare_best(finding: Finding, told: list[Entry], board: BoardResult) -> None:
    points = {entry.actor_id: entry.points for entry in board.entries}
    for actor_id, scores in _by_actor(told).items():
        acked = max((score.amount for score in scores if score.fate is EventStatus.ACKED), default=0)
        most = max((score.amount for score in scores if score.fate is not EventStatus.REFUSED), default=0)
        found = points.pop(actor_id, 0)
        finding.off(f"the best of {actor_id}", found, acked, max(acked, most), max(int(acked), found, 1))
    for actor_id in points:
        finding.off(f"the best of {actor_id}, who did not score,", points[actor_id], 0, 0, points[actor_id])


def _compare_pulse(finding: Finding, told: list[Entry], pulse: PulseResult) -> None:
    totals = {rate.kind: rate.total for rate in pulse.kinds}
    bursts: dict[str, list[Entry]] = defaultdict(list)
    for entry in told:
        bursts[entry.label].append(entry)
    for kind, sent in sorted(bursts.items()):
        size = int(sent[0].amount)
        least, most = _bounds(sent)
        finding.off(f"the total of {kind}", totals.pop(kind, 0), least * size, most * size, size)
    for kind, total in totals.items():
        finding.off(f"the total of {kind}, which nobody sent,", total, 0, 0, total)


def _compare_metric(finding: Finding, told: list[Entry], metric: MetricResult) -> None:
    finding.off("the count", metric.count, *_bounds(told))
    acked = [entry.amount for entry in told if entry.fate is EventStatus.ACKED]
    if acked and metric.count and not finding.notes:
        possible = [entry.amount for entry in told if entry.fate is not EventStatus.REFUSED]
        for what, found, bounds in (
            ("the least value", metric.min, (min(possible), min(acked))),
            ("the greatest value", metric.max, (max(acked), max(possible))),
        ):
            finding.off(what, found, *bounds, unit=2**53)


def _compare_audience(finding: Finding, told: list[Entry], audience: AudienceResult) -> None:
    acked = {entry.actor_id for entry in told if entry.fate is EventStatus.ACKED}
    possible = {entry.actor_id for entry in told if entry.fate is not EventStatus.REFUSED}
    finding.off("the uniques", audience.uniques, len(acked), len(possible))


def _bounds(sent: Iterable[Entry]) -> tuple[int, int]:
    """How many of these counted at least and at most."""
    fates = Counter(entry.fate for entry in sent)
    return fates[EventStatus.ACKED], fates[EventStatus.ACKED] + fates[EventStatus.UNCERTAIN] + fates[
        EventStatus.SENT
    ]


def _by_actor(told: Iterable[Entry]) -> dict[str, list[Entry]]:
    """The entries of each actor, those of one device in the order it sent them."""
    found: dict[str, list[Entry]] = defaultdict(list)
    for entry in told:
        found[entry.actor_id].append(entry)
    for entries in found.values():
        entries.sort(key=lambda entry: entry.order)
    return found
