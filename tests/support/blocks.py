"""Makes events, rows and blocks for tests of the cores."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from bench._rows import Row, encode
from grandstand.catalog.v1.catalog_pb2 import (
    STAGE_OPEN,
    Board,
    BoardMode,
    CustomTopic,
    Game,
    Metric,
    Poll,
    PollOption,
    Pulse,
    Stage,
)
from grandstand.internal.v1.internal_pb2 import Block, Control, ForgetGame, RemoveScore, VoidVotes
from mesh.auth.identity import Identity
from mesh.auth.origins import ENTROPY_BYTES, Origins

GAME = "game"
NOW_S = 1_790_000_000


TAG_KEY = bytes(range(32))


def origins_of_tests(**bounds: int) -> Origins:
    """Issues and knows what `origin` makes."""
    return Origins(lambda: (TAG_KEY,), **bounds)


def origin(number: int, *, producer: bool = False, owner: str = "ann", now_s: float = NOW_S) -> str:
    identity = Identity(owner, producer, None, now_s + 3600)
    entropy = number.to_bytes(ENTROPY_BYTES, "big")
    return origins_of_tests().issue(identity, producer=producer, now_s=now_s, at_s=0.0, entropy=entropy)


def poll(
    poll_id: str = "mvp", options: Sequence[str] = "abc", *, changeable: bool = False, **fields: Any
) -> Poll:
    return Poll(
        game_id=GAME,
        poll_id=poll_id,
        question="Who?",
        options=[PollOption(option_id=o, label=o) for o in options],
        changeable=changeable,
        stage=STAGE_OPEN,
        **fields,
    )


def board(mode: BoardMode, top: int = 3, board_id: str = "top", **fields: Any) -> Board:
    return Board(game_id=GAME, board_id=board_id, title="Top", mode=mode, top=top, stage=STAGE_OPEN, **fields)


def control(definition: Poll | Board, stage: Stage = STAGE_OPEN, at_s: float = NOW_S) -> Block:
    block = Block(
        control=Control(poll=definition) if isinstance(definition, Poll) else Control(board=definition)
    )
    (block.control.poll if isinstance(definition, Poll) else block.control.board).stage = stage
    block.stamped_at.FromNanoseconds(int(at_s * 1e9))
    return block


def game(
    *,
    audience: bool = False,
    metrics: Sequence[str] = (),
    customs: Sequence[CustomTopic] = (),
    **fields: Any,
) -> Game:
    """With a pulse `cheer`."""
    return Game(
        game_id=GAME,
        title="Test",
        pulses=[Pulse(pulse_id="cheer", kinds=["fire", "clap"])],
        audience=audience,
        metrics=[Metric(metric_id=metric) for metric in metrics],
        customs=customs,
        **fields,
    )


def game_control(definition: Game, at_s: float = NOW_S) -> Block:
    block = Block(control=Control(game=definition))
    block.stamped_at.FromNanoseconds(int(at_s * 1e9))
    return block


def forget_game(generation: int = 0, at_s: float = NOW_S) -> Block:
    return _correction(Control(forget_game=ForgetGame(game_id=GAME, generation=generation)), at_s)


def void_votes(actor: str, poll_id: str = "mvp", at_s: float = NOW_S) -> Block:
    return _correction(Control(void_votes=VoidVotes(game_id=GAME, poll_id=poll_id, actor_id=actor)), at_s)


def remove_score(actor: str, board_id: str = "top", season: int = 0, at_s: float = NOW_S) -> Block:
    remove = RemoveScore(game_id=GAME, board_id=board_id, actor_id=actor, season=season)
    return _correction(Control(remove_score=remove), at_s)


def _correction(control: Control, at_s: float) -> Block:
    block = Block(control=control)
    block.stamped_at.FromNanoseconds(int(at_s * 1e9))
    return block


def row(topic: str, actor: str, origin_id: str, origin_seq: int, **fields: Any) -> Row:
    """A row of partition 0 and of GAME unless fields say otherwise."""
    given = {
        "partition": 0,
        "game_id": GAME,
        "value": 0,
        "label": "",
        "weight": 0,
        "payload": b"",
        "final": False,
    }
    return Row(
        **{
            **given,
            "topic": topic,
            "actor_id": actor,
            "origin_id": origin_id,
            "origin_seq": origin_seq,
            **fields,
        }
    )


def vote(
    actor: str, options: str, origin_id: str, origin_seq: int, poll_id: str = "mvp", **fields: Any
) -> Row:
    """`options`: letters; the poll's are a, b, c, ..."""
    bits = sum(1 << "abcdefghijklmnopqrstuvwxyz".index(letter) for letter in options)
    return row(f"poll/{poll_id}", actor, origin_id, origin_seq, value=bits, **fields)


def score(
    actor: str, points: int, origin_id: str, origin_seq: int, board_id: str = "top", **fields: Any
) -> Row:
    return row(f"board/{board_id}", actor, origin_id, origin_seq, value=points, **fields)


def reaction(
    kind: str, count: int, origin_id: str, origin_seq: int, pulse_id: str = "cheer", **fields: Any
) -> Row:
    return row(f"pulse/{pulse_id}", "someone", origin_id, origin_seq, value=count, label=kind, **fields)


def block(rows: Iterable[Row], at_s: float = NOW_S) -> Block:
    return encode(rows, int(at_s * 1e9))
