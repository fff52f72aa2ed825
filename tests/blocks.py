"""Makes events, rows and blocks for tests of the cores."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from grandstand.catalog.v1.catalog_pb2 import STAGE_OPEN, Board, BoardMode, Poll, PollOption, Stage
from grandstand.internal.v1.internal_pb2 import Block, Control
from ingest.check import Row
from ingest.coalesce import encode
from mesh import ids

GAME = "game"
NOW_S = 1_790_000_000


def origin(number: int, *, producer: bool = False) -> str:
    return ids.new_origin(producer=producer, now_s=NOW_S, entropy=number.to_bytes(12, "big"))


def poll(poll_id: str = "mvp", options: Sequence[str] = "abc", *, changeable: bool = False) -> Poll:
    return Poll(
        game_id=GAME,
        poll_id=poll_id,
        question="Who?",
        options=[PollOption(option_id=o, label=o) for o in options],
        changeable=changeable,
        stage=STAGE_OPEN,
    )


def board(mode: BoardMode, top: int = 3, board_id: str = "top") -> Board:
    return Board(game_id=GAME, board_id=board_id, title="Top", mode=mode, top=top, stage=STAGE_OPEN)


def control(definition: Poll | Board, stage: Stage = STAGE_OPEN, at_s: float = NOW_S) -> Block:
    block = Block(
        control=Control(poll=definition) if isinstance(definition, Poll) else Control(board=definition)
    )
    (block.control.poll if isinstance(definition, Poll) else block.control.board).stage = stage
    block.stamped_at.FromNanoseconds(int(at_s * 1e9))
    return block


def vote(
    actor: str, option: str, origin_id: str, origin_seq: int, poll_id: str = "mvp", partition: int = 0
) -> Row:
    return Row(partition, GAME, f"poll/{poll_id}", origin_id, origin_seq, actor, option, 0, False)


def score(actor: str, points: int, origin_id: str, origin_seq: int, board_id: str = "top") -> Row:
    return Row(0, GAME, f"board/{board_id}", origin_id, origin_seq, actor, "", points, False)


def reaction(kind: str, count: int, origin_id: str, origin_seq: int, pulse_id: str = "cheer") -> Row:
    return Row(0, GAME, f"pulse/{pulse_id}", origin_id, origin_seq, "someone", kind, count, False)


def block(rows: Iterable[Row], at_s: float = NOW_S) -> Block:
    return encode(rows, int(at_s * 1e9))
