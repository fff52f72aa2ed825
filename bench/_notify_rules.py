"""What it costs to judge a result by the rules of its game, in one process and without any I/O.

A game has a rule of each kind. Each result is a new share of a poll, a board, a pulse or the audience in
turn, as a flush of the fold brings it: a vote, a score, a reaction, a viewer more. Taking it into the view of
results, as gateways do, is not counted; judging it is, with the firings that it finds, which are taken as
stored at once. Of ROUNDS the cheapest counts: what else runs on the machine makes the same work dearer
(caches, clock rates), never cheaper.
"""

from __future__ import annotations

import time
from random import Random

from google.protobuf.duration_pb2 import Duration

from grandstand.catalog.v1.catalog_pb2 import (
    BOARD_MODE_SUM,
    STAGE_OPEN,
    Board,
    Game,
    LeadChange,
    Poll,
    Pulse,
    RankTaken,
    RateSpike,
    Rule,
    RuleNotice,
    Threshold,
)
from grandstand.internal.v1.internal_pb2 import Partial
from mesh import limits
from mesh.redis.share import Share
from mesh.results_feed.view import GameView
from notify.game_rules import GameRules

RESULTS = 20_000
ROUNDS = 5
_OPTIONS = 4
_TOP = 100
_KINDS = ("clap", "fire")
_BEGINS_S = 1_790_000_000.0
_RESULT_EVERY_S = 0.025
_WARM_UP = 1_000
_PANES, _AUDIENCE_PANES = limits.PULSE_PANES_KEPT[1], 10


def us_per_result(results: int = RESULTS) -> float:
    """Mean CPU time for a result, in microseconds, of the cheapest round of `results` results."""
    random = Random(1)
    game = _game()
    view = GameView()
    view.fold_in([0])
    poll = Poll(game_id=game.game_id, poll_id="p", question="Who?", stage=STAGE_OPEN)
    board = Board(game_id=game.game_id, board_id="b", title="Best", mode=BOARD_MODE_SUM, stage=STAGE_OPEN)
    definitions: dict[str, Poll | Board] = {"poll/p": poll, "board/b": board}
    rules = GameRules(game, view, lambda topic: definitions.get(topic))
    partials = _partials(game.game_id)
    spent_ns, sequence = [0] * ROUNDS, 0
    for number in range(_WARM_UP + results):
        now_s = _BEGINS_S + number * _RESULT_EVERY_S
        partial = partials[number % len(partials)]
        _change(partial, random, now_s)
        partial.sequence = number + 1
        fresh = Partial()
        fresh.CopyFrom(partial)
        view.take(Share(0, fresh.sequence, {fresh.topic: fresh}))
        began_ns = time.thread_time_ns()
        for firing in rules.judge(fresh.topic, now_s).firings:
            sequence += 1
            rules.stored(firing, sequence)
        if number >= _WARM_UP:
            spent_ns[(number - _WARM_UP) * ROUNDS // results] += time.thread_time_ns() - began_ns
    return round(min(spent_ns) * ROUNDS / results / 1e3, 2)


def _game() -> Game:
    game = Game(game_id="bench", title="Benchmark", audience=True)
    game.pulses.append(Pulse(pulse_id="cheers", kinds=_KINDS))
    notice = RuleNotice(title="{topic}: {value} {leader}")
    every = (
        ("poll/*", {"threshold": Threshold(at=1_000, each=True)}),
        ("poll/*", {"lead_changed": LeadChange()}),
        ("poll/*", {"opened": True}),
        ("poll/*", {"closing_in": Duration(seconds=30)}),
        ("poll/*", {"sealed": True}),
        ("board/*", {"rank_taken": RankTaken(first=10)}),
        ("board/*", {"season_closed": True}),
        ("pulse/cheers", {"rate_spike": RateSpike(times=4, at_least=1_000)}),
        ("audience", {"audience_peak": True}),
        ("", {"game_ended": True}),
    )
    for number, (topic, when) in enumerate(every):
        game.rules.append(Rule(rule_id=f"r{number}", topic=topic, notice=notice, **when))  # type: ignore[arg-type]
    return game


def _partials(game_id: str) -> list[Partial]:
    """One of each topic, as full as a lively game has it."""
    poll = Partial(game_id=game_id, topic="poll/p", stage=STAGE_OPEN)
    poll.tally.option_ids.extend(f"option-{n}" for n in range(_OPTIONS))
    poll.tally.votes.extend([0] * _OPTIONS)
    board = Partial(game_id=game_id, topic="board/b", stage=STAGE_OPEN)
    board.board.mode, board.board.top = BOARD_MODE_SUM, _TOP
    for n in range(_TOP):
        board.board.current.actor_ids.append(f"actor-{n}")
        board.board.current.points.append(100_000 - n * 500)
        board.board.current.reached.append(n)
    board.board.current.actors = _TOP
    pulse = Partial(game_id=game_id, topic="pulse/cheers", stage=STAGE_OPEN)
    pulse.pulse.kinds.extend(_KINDS)
    for width_s, kept in limits.PULSE_PANES_KEPT.items():
        for pane in range(kept, 0, -1):
            starts_at_s = int(_BEGINS_S) // width_s * width_s - pane * width_s
            pulse.pulse.panes.add(width_s=width_s, starts_at_s=starts_at_s, counts=[width_s] * len(_KINDS))
    audience = Partial(game_id=game_id, topic="audience", stage=STAGE_OPEN)
    audience.audience.pane_starts_at_s.extend(int(_BEGINS_S) + 5 * n for n in range(_AUDIENCE_PANES))
    audience.audience.last_seen.extend([10] * _AUDIENCE_PANES)
    return [poll, board, pulse, audience]


def _change(partial: Partial, random: Random, now_s: float) -> None:
    match partial.topic:
        case "poll/p":
            partial.tally.votes[random.randrange(_OPTIONS)] += 1
            partial.tally.voters += 1
        case "board/b":
            # Who scored moves up by some places.
            share = partial.board.current
            at = random.randrange(1, _TOP)
            points = share.points[at] + random.randrange(2_000)
            actor_id = share.actor_ids[at]
            rows = sorted(
                [
                    (points if name == actor_id else old, name)
                    for name, old in zip(share.actor_ids, share.points, strict=True)
                ],
                reverse=True,
            )
            share.points[:] = [value for value, _ in rows]
            share.actor_ids[:] = [name for _, name in rows]
        case "pulse/cheers":
            pane = partial.pulse.panes[_PANES - 1]
            if pane.starts_at_s != int(now_s):
                del partial.pulse.panes[0]
                newest = partial.pulse.panes.add(width_s=1, starts_at_s=int(now_s), counts=[0] * len(_KINDS))
                partial.pulse.panes.insert(_PANES - 1, newest)
                del partial.pulse.panes[-1]
            partial.pulse.panes[_PANES - 1].counts[random.randrange(len(_KINDS))] += 1
        case "audience":
            partial.audience.uniques += 1
            partial.audience.last_seen[-1] += 1
