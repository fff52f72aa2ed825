"""The demo game: keeps the page alive with a poll that never stops, two leaderboards and a small crowd.

A poll is open for POLL_S, its result stands for PAUSE_S, the next one follows. The poll closes
by the server's clock, so it does so also when this process has gone. Nothing is remembered here: a
restart finds the open poll and the place in the list of questions through GetGame.

It goes on while any part of the mesh restarts, and ends at once on SIGTERM or SIGINT.
"""

from __future__ import annotations

import asyncio
import signal
import sys
import time
from random import Random

import grpc

from grandstand.catalog.v1 import catalog_pb2 as catalog
from grandstand.client import Backend, ClientError, Token, open_channel
from toolbox.load import questions
from toolbox.load.fans import Fans

PULSE = "reactions"
KINDS = ("fire", "clap", "wow", "laugh", "heart")
BOARD = "top"
# Starts again every SEASON_S.
SPRINT = "sprint"
SEASON_S = 60
METRIC = "ack-delay"
POLL_S = 120.0
PAUSE_S = 8.0
AGAIN_S = 2.0


class Demo:
    """Runs polls on one game, one after the other."""

    def __init__(self, backend: Backend, fans: Fans, game_id: str) -> None:
        self._backend = backend
        self._fans = fans
        self._game_id = game_id

    async def run(self) -> None:
        """Until cancelled. What the mesh refuses, or does not answer, is said and tried again."""
        while True:
            try:
                await self._one_poll()
            except ClientError as error:
                say(f"{error}; trying again")
                await asyncio.sleep(AGAIN_S)

    async def _one_poll(self) -> None:
        listed = await self._stage()
        mine = [poll for poll in listed.polls if questions.name_in(poll.poll_id)]
        poll = next((poll for poll in mine if poll.stage == catalog.STAGE_OPEN), None)
        if poll is None:
            last = questions.name_in(mine[0].poll_id) if mine else None
            question = questions.after(last)
            poll = await self._backend.open_poll(
                questions.poll_of(question, self._game_id, time.time(), POLL_S)
            )
            say(f"poll {poll.poll_id}: {poll.question}")
        self._fans.ask(poll.poll_id, [option.option_id for option in poll.options])
        closes_in_s = (
            poll.closes_at.ToNanoseconds() / 1e9 - time.time() if poll.HasField("closes_at") else POLL_S
        )
        await asyncio.sleep(max(0.0, closes_in_s))
        self._fans.ask(None, [])
        await asyncio.sleep(PAUSE_S)

    async def _stage(self) -> catalog.GetGameResponse:
        """The game with what the page shows; defines and opens what is missing."""
        try:
            listed = await self._backend.get_game(self._game_id)
        except ClientError as error:
            if error.code is not grpc.StatusCode.NOT_FOUND:
                raise
            listed = catalog.GetGameResponse(
                game=catalog.Game(game_id=self._game_id, title="Grandstand United against Rest of the World")
            )
        if _complete(listed.game):
            await self._backend.define_game(listed.game)
            say(f"game {self._game_id} is defined")
        for board in _boards(self._game_id):
            if not any(board.board_id == there.board_id for there in listed.boards):
                await self._backend.open_board(board)
        return listed


def _complete(game: catalog.Game) -> bool:
    """Adds to the game what the demo needs; true if anything was missing."""
    pulse = next((pulse for pulse in game.pulses if pulse.pulse_id == PULSE), None)
    kinds = [kind for kind in KINDS if pulse is None or kind not in pulse.kinds]
    has_metric = any(metric.metric_id == METRIC for metric in game.metrics)
    if not kinds and has_metric and game.audience:
        return False
    if kinds:
        (pulse or game.pulses.add(pulse_id=PULSE)).kinds.extend(kinds)
    if not has_metric:
        game.metrics.add(metric_id=METRIC, unit="ms")
    game.audience = True
    return True


def _boards(game_id: str) -> list[catalog.Board]:
    """The newest comes first on the page: the one that lasts."""
    mode = catalog.BOARD_MODE_SUM
    sprint = catalog.Board(game_id=game_id, board_id=SPRINT, title="Player of the minute", mode=mode, top=3)
    sprint.season.every.FromSeconds(SEASON_S)
    sprint.season.starts_at.FromSeconds(0)  # on the full minute
    return [sprint, catalog.Board(game_id=game_id, board_id=BOARD, title="Top players", mode=mode, top=10)]


def say(line: str) -> None:
    """One line of the log."""
    print(line, file=sys.stderr, flush=True)


async def run(edge: str, mesh: str, game_id: str, token: Token | None = None) -> None:
    """The demo until SIGTERM or SIGINT."""
    loop = asyncio.get_running_loop()
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    async with open_channel(edge) as edge_channel, open_channel(mesh) as mesh_channel:
        fans = Fans(
            edge_channel,
            game_id,
            pulse_id=PULSE,
            kinds=KINDS,
            board_ids=(BOARD, SPRINT),
            metric_id=METRIC,
            random=Random(),
            token=token,
        )
        demo = Demo(Backend(mesh_channel, token=token, patience_s=5.0), fans, game_id)
        tasks = [asyncio.create_task(demo.run()), asyncio.create_task(fans.run())]
        stopping = asyncio.create_task(stop.wait())
        done, _ = await asyncio.wait([*tasks, stopping], return_when=asyncio.FIRST_COMPLETED)
        for task in (*tasks, stopping):
            task.cancel()
        await asyncio.gather(*tasks, stopping, return_exceptions=True)
        await fans.close()
        for task in done - {stopping}:
            task.result()
