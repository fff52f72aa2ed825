"""Notices that are sent, scheduled and fired while the mesh is struck: each reaches its actors once.

Until the load ends a notice is sent every EVERY_S: to an actor, to a list, to a game's viewers, to everyone,
or to one actor a few seconds later; one in three twice at once, under the same key, as by a caller that did
not wait for the answer. The games have rules, whose firings are due when the results say so (`rules`). ACTORS
watch their inboxes in a game of their own: who watches is counted in the others.

At the end the inboxes are listed, until everything that is due is there or SEEN_WITHIN_S are over. What came
under two ids, in a list or a stream, is doubled.

Bound: OWN_MAX and CROWD_MAX notices of a run, so that no inbox is full; then no more are sent.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Sequence
from random import Random
from typing import Any

import grpc.aio

from grandstand.aggregate.v1.aggregate_pb2 import TopicState
from grandstand.catalog.v1.catalog_pb2 import STAGE_SEALED, Game, Rule, RuleNotice, Threshold
from grandstand.client import Backend, ClientError, Notices, Viewer
from grandstand.notify.v1.notify_pb2 import Audience, Notice
from toolbox.chaos import scene
from toolbox.chaos.checker import TopicKey
from toolbox.chaos.notice_book import NoticeBook
from toolbox.chaos.scene import GameScene
from toolbox.chaos.stage import Mesh
from toolbox.local.development import actor_token

EVERY_S = 0.6
LATER_MAX_S = 4.0
SEEN_WITHIN_S = 30.0
OWN_MAX, CROWD_MAX = 150, 60
RULED_POLLS_MAX = 100
"""A game with more of them that close has no rule for that: its viewers' crowd would be full."""
ACTORS = ("told-1", "told-2", "told-3")
GAME = "told"
INBOX = "inbox"
CODE = "chaos"
THRESHOLDS = (10, 40, 160)
"""Voters of the final poll."""
_LOOK_S = 0.5
_PAGE = 100
_MIX = {"one": 0.35, "list": 0.2, "viewers": 0.15, "everyone": 0.1, "later": 0.2}
_TWICE = 1 / 3

assert max(OWN_MAX, CROWD_MAX + RULED_POLLS_MAX) < 200, "what an inbox holds, and what a crowd"


def rules(game: GameScene) -> list[Rule]:
    """Each of their firings has a title of its own in the game."""
    final = f"poll/{scene.FINAL}"
    found = [
        Rule(
            rule_id=f"reached-{at}", topic=final, threshold=Threshold(at=at), notice=_notice(f"reached {at}")
        )
        for at in THRESHOLDS
    ]
    if len(game.closings) <= RULED_POLLS_MAX:
        found.append(Rule(rule_id="sealed", topic="poll/*", sealed=True, notice=_notice("sealed")))
    return found


def with_rules(game: GameScene) -> Game:
    definition = game.game()
    definition.rules.extend(rules(game))
    return definition


def _notice(what: str) -> RuleNotice:
    return RuleNotice(title=f"{what} {{topic}}", code=CODE)


def fired(game: GameScene, states: dict[TopicKey, TopicState]) -> dict[str, str]:
    """The titles of the firings that are due by these results, each with why."""
    found = {}
    for rule in rules(game):
        for (game_id, topic), state in states.items():
            if game_id != game.game_id or not topic.startswith("poll/"):
                continue
            title = rule.notice.title.replace("{topic}", topic)
            if rule.sealed and state.stage == STAGE_SEALED:
                found[title] = f"{game_id} {topic} is sealed"
            elif topic == rule.topic and state.tally.voters >= rule.threshold.at:
                found[title] = f"{game_id} {topic} has {state.tally.voters} voters"
    return found


class ToldNotices:
    """Of one run. `owner` and `operator` send; `readers`: the inboxes of ACTORS; `viewers` show them."""

    def __init__(
        self,
        seed: int,
        games: Sequence[GameScene],
        owner: Notices,
        operator: Notices,
        readers: dict[str, Notices],
        viewers: dict[str, Viewer],
    ) -> None:
        self.book = NoticeBook()
        self.problems: list[str] = []
        self._random = Random(f"notices {seed}")
        self._games = {game.game_id: game for game in games}
        self._owner = owner
        self._operator = operator
        self._readers = readers
        self._viewers = viewers
        self._number = 0
        self._sent: dict[str, int] = dict.fromkeys(_MIX, 0)
        self._later_s = 0.0
        """When the last scheduled one is due, by the loop's clock."""

    async def run(self, stop: asyncio.Event) -> None:
        """Sends until `stop`, and until all are answered; watches all the while."""
        watching = [asyncio.create_task(self._watch(actor)) for actor in self._viewers]
        try:
            async with asyncio.TaskGroup() as group:
                while not stop.is_set():
                    if (notice := self._next()) is not None:
                        group.create_task(self._send(*notice))
                    with contextlib.suppress(TimeoutError):
                        await asyncio.wait_for(stop.wait(), EVERY_S)
        finally:
            for task in watching:
                task.cancel()

    async def settle(self, states: dict[TopicKey, TopicState]) -> None:
        """Lists the inboxes until everything is there. `states`: the final results."""
        loop = asyncio.get_running_loop()
        for game in self._games.values():
            for title, why in fired(game, states).items():
                self.book.due(title, [game.game_id], why)
        give_up_at = max(loop.time(), self._later_s) + SEEN_WITHIN_S
        while True:
            try:
                for actor, notices in self._readers.items():
                    await self._list(actor, "", notices)
                for game_id in self._games:
                    await self._list(game_id, game_id, self._readers[ACTORS[0]])
            except ClientError as error:
                self.problems.append(f"an inbox could not be listed: {error}")
                return
            if self.book.seen_count == self.book.due_count or loop.time() > give_up_at:
                self.problems += self.book.notes()
                return
            await asyncio.sleep(_LOOK_S)

    async def _watch(self, actor: str) -> None:
        viewer = self._viewers[actor]
        try:
            async for _ in viewer:
                if INBOX in viewer.states:
                    self.book.seen(actor, viewer.states[INBOX].inbox.newest)
        except ClientError as error:
            self.problems.append(f"the inbox of {actor} is not shown any more: {error}")

    async def _list(self, place: str, game_id: str, notices: Notices) -> None:
        page_token = ""
        while True:
            page = await notices.inbox(game_id, page_size=_PAGE, page_token=page_token)
            self.book.seen(place, page.notifications)
            page_token = page.next_page_token
            if not page_token:
                return

    def _next(self) -> tuple[str, Notice, list[str], list[str]] | None:
        """Its sort, the notice, the actors of a list, and in which places it is due."""
        what = self._random.choices(list(_MIX), list(_MIX.values()))[0]
        self._sent[what] += 1
        if self._sent[what] > (CROWD_MAX if what in ("viewers", "everyone") else OWN_MAX // 3):
            return None
        self._number += 1
        game_id = self._random.choice(list(self._games))
        notice = Notice(
            key=f"chaos-{self._number}", game_id=game_id, code=CODE, title=f"{what} {self._number}"
        )
        actors = [self._random.choice(ACTORS)]
        match what:
            case "list":
                actors = self._random.sample(ACTORS, 2)
                return what, notice, actors, actors
            case "viewers":
                notice.audience.viewers = True
                return what, notice, [], [game_id]
            case "everyone":
                notice.game_id = ""
                notice.audience.everyone = True
                return what, notice, [], [*ACTORS]
            case "later":
                later_s = self._random.uniform(1.0, LATER_MAX_S)
                notice.schedule.at.GetCurrentTime()
                notice.schedule.at.FromNanoseconds(notice.schedule.at.ToNanoseconds() + int(later_s * 1e9))
                self._later_s = asyncio.get_running_loop().time() + later_s
        notice.audience.CopyFrom(Audience(actor_id=actors[0]))
        return what, notice, [], actors

    async def _send(self, what: str, notice: Notice, listed: Sequence[str], places: Sequence[str]) -> None:
        self.book.sent(notice.title)
        sender = self._operator if what == "everyone" else self._owner

        async def once() -> Any:
            return await (sender.send_to_actors(notice, listed) if listed else sender.send(notice))

        times = 2 if self._random.random() < _TWICE else 1
        answers = await asyncio.gather(*(once() for _ in range(times)), return_exceptions=True)
        refused = [answer for answer in answers if isinstance(answer, BaseException)]
        if len(refused) < times:
            self.book.due(notice.title, places, f"sent to {what}")
        self.problems += [f"{notice.key} was refused: {each}" for each in refused if not _is_away(each)]


def _is_away(error: BaseException) -> bool:
    """It may be stored or not: the mesh was away for longer than the sender's patience. Or it is not stored,
    and was past when an attempt came through."""
    if not isinstance(error, ClientError):
        return False
    away = ("UNAVAILABLE", "DEADLINE_EXCEEDED", "CANCELLED")
    return error.code.name in away or "is past" in str(error)


async def told_notices(
    seed: int,
    mesh: Mesh,
    games: Sequence[GameScene],
    backend: Backend,
    connect: Callable[[str], Awaitable[grpc.aio.Channel]],
    patience_s: float,
) -> ToldNotices:
    """Defines the game in which inboxes are watched. Raises ClientError."""
    await backend.define_game(Game(game_id=GAME, title="Who is told"))
    inside, edge = await connect(mesh.addresses.mesh), await connect(mesh.addresses.edge)
    tokens = {actor: actor_token(mesh.home, actor) for actor in ACTORS}
    return ToldNotices(
        seed,
        games,
        Notices(inside, token=mesh.owner, patience_s=patience_s),
        Notices(inside, token=mesh.operator, patience_s=patience_s),
        {actor: Notices(edge, token=token, patience_s=patience_s) for actor, token in tokens.items()},
        {actor: Viewer(edge, GAME, topics=[INBOX], token=token) for actor, token in tokens.items()},
    )
