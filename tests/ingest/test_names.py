"""What actors are called, from what is sent to what a board shows."""

from __future__ import annotations

import numpy as np
import pytest

from aggregate.block import BadBlock, DecodedEvents, decode
from aggregate.board import Board
from aggregate.fold import FoldState
from aggregate.origins import Admitted
from gateway.sending import check_event
from grandstand.event.v1.event_pb2 import Event, Score
from grandstand.internal.v1.internal_pb2 import Block
from grandstand.wire.errors import Forbidden, GrandstandError, Invalid
from mesh.auth import Identity
from mesh.catalog.view import CatalogView
from mesh.merge import merge_board
from tests.support import blocks
from tests.support.blocks import GAME, NOW_S, origin, origins_of_tests
from tests.support.intake import IntakeRig, Listener, bearer

ANN = Identity("ann", False, None, NOW_S + 60, name="Ann B.")


def score(seq: int, points: int, actor_id: str = "", name: str = "", origin_id: str = "") -> Event:
    event = Event(game_id=GAME, origin_seq=seq, actor_id=actor_id, origin_id=origin_id)
    event.score.CopyFrom(Score(board_id="top", points=points, name=name))
    return event


def catalog() -> CatalogView:
    view = CatalogView()
    view.put(f"game.{GAME}", 1, blocks.game().SerializeToString())
    view.put(f"board.{GAME}.top", 2, blocks.board(1).SerializeToString())
    view.put(f"poll.{GAME}.mvp", 3, blocks.poll().SerializeToString())
    return view


def taken(identity: Identity, *events: Event) -> tuple[bytes, list[GrandstandError]]:
    """The block, and what was refused."""
    rig, listener = IntakeRig(catalog()), Listener()
    listener.open(identity, actor_id=identity.actor_id, producer=identity.producer)
    rig.take(listener, *events)
    encoded = [batch.encode(int(NOW_S * 1e9)).SerializeToString() for batch in rig.batches()]
    return b"".join(encoded), [error for _, _, error, _ in listener.told]


def shown(block: bytes) -> dict[str, str]:
    """By actor, on the board that folds it."""
    decoded = decode(block)
    events = decoded.content
    assert isinstance(events, DecodedEvents)
    count = events.starts[-1]
    admitted = Admitted(np.ones(count, dtype=np.bool_), np.zeros(count, dtype=np.uint64))
    rows = events.rows(0, admitted, decoded.at_us, stamped_us=decoded.at_us, block_us=decoded.at_us)
    assert rows is not None
    board = Board.from_state(blocks.board(1), FoldState())
    board.fold(rows)
    return {entry.actor_id: entry.name for entry in merge_board([board.partial()]).entries}


def test_an_actor_is_called_what_its_token_claims_and_a_producers_players_what_it_says() -> None:
    block, refused = taken(ANN, score(1, 5))
    assert (shown(block), refused) == ({"ann": "Ann B."}, [])
    server = Identity("server", True, None, NOW_S + 60, name="Server 1")
    block, refused = taken(server, score(1, 5, "bob", "Bob"), score(2, 6, "cy"), score(3, 7))
    assert (shown(block), refused) == ({"bob": "Bob", "cy": "", "server": "Server 1"}, [])
    # As a gateway relays it: it has put there what the token claims.
    relayed = score(1, 5, "ann", "Ann B.", origin(7))
    assert shown(taken(bearer("", producer=True), relayed)[0]) == {"ann": "Ann B."}


def test_nobody_names_itself_and_a_name_is_checked() -> None:
    block, refused = taken(ANN, score(1, 5, name="Admin"))
    assert block == b""
    assert [type(error) for error in refused] == [Forbidden]
    assert "score.name: 'Admin' is given, and only a producer names actors" in refused[0].message
    _, refused = taken(bearer("server", producer=True), score(1, 5, "bob", "bob@example.com"))
    assert [type(error) for error in refused] == [Invalid]
    assert "score.name: 'bob@example.com' is an e-mail address" in refused[0].message


def test_a_gateway_says_what_the_token_claims_and_believes_no_viewer() -> None:
    def sent(identity: Identity, actor_id: str = "", name: str = "") -> str:
        event = score(1, 5, actor_id, name, origin(7, owner=identity.actor_id))
        check_event(event, identity, origins_of_tests(), NOW_S)
        return event.score.name

    server = Identity("server", True, None, NOW_S + 60, name="Server 1")
    assert sent(ANN) == sent(ANN, "ann") == "Ann B."
    assert sent(bearer("ann")) == ""
    with pytest.raises(Forbidden, match="only a producer names actors"):
        sent(ANN, name="Admin")
    assert sent(server, "bob", "Bob") == "Bob"
    assert sent(server, "bob") == ""
    assert sent(server) == "Server 1"


def test_a_block_without_names_has_no_column_of_them_and_one_of_another_length_is_bad() -> None:
    block = Block.FromString(taken(bearer("ann"), score(1, 5))[0])
    assert not block.events.sections[0].names
    block = Block.FromString(taken(ANN, score(1, 5), score(2, 6))[0])
    assert block.events.sections[0].names == "Ann B.\nAnn B."
    block.events.sections[0].names += "\nmore"
    with pytest.raises(BadBlock, match="of 2 rows has names of others"):
        decode(block.SerializeToString())


def test_a_name_counts_among_the_bytes_of_a_block() -> None:
    def size(identity: Identity) -> int:
        rig, listener = IntakeRig(catalog()), Listener()
        listener.open(identity)
        rig.take(listener, score(1, 5))
        (batch,) = rig.batches()
        return batch.bytes

    assert size(ANN) - size(bearer("ann")) == len("Ann B.")
