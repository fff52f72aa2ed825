"""What a process holds of the catalog: compact, counted, found by game, and decoded when asked for."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from grandstand.catalog.v1.catalog_pb2 import (
    STAGE_CLOSED,
    STAGE_OPEN,
    STAGE_SEALED,
    STAGE_UNSPECIFIED,
    Board,
    Game,
    Poll,
    Stage,
)
from grandstand.wire.errors import Unknown
from mesh.catalog import view as view_module
from mesh.catalog.view import CatalogView
from mesh.jetstream import subjects


class Bucket:
    """Puts into a view as a watch would."""

    def __init__(self) -> None:
        self.view = CatalogView()
        self._revisions = itertools.count(1)

    def put(self, definition: Game | Poll | Board) -> bool:
        return (
            self.view.put(self.key_of(definition), next(self._revisions), definition.SerializeToString())
            is not None
        )

    def poll(self, game_id: str, poll_id: str, stage: Stage, opened_s: int = 0, spread: int = 1) -> None:
        poll = Poll(game_id=game_id, poll_id=poll_id, stage=stage, spread=spread)
        poll.opened_at.FromSeconds(opened_s)
        self.put(poll)

    def forget(self, key: str) -> bool:
        return self.view.forget(key, next(self._revisions))

    @staticmethod
    def key_of(definition: Game | Poll | Board) -> str:
        if isinstance(definition, Game):
            return subjects.game_key(definition.game_id)
        if isinstance(definition, Poll):
            return subjects.poll_key(definition.game_id, definition.poll_id)
        return subjects.board_key(definition.game_id, definition.board_id)


def test_a_games_opened_topics_are_listed_newest_first_and_again_after_each_change() -> None:
    bucket = Bucket()
    view = bucket.view

    def listed(game_id: str) -> list[str]:
        polls, boards = view.opened(game_id)
        assert not boards
        return [key.rpartition(".")[2] for key in polls]

    assert listed("g") == []
    bucket.poll("g", "old", STAGE_OPEN, 1)
    bucket.poll("g", "new", STAGE_OPEN, 2)
    assert view.is_any_opened("g")
    bucket.poll("g", "claimed", STAGE_UNSPECIFIED, 3)
    bucket.poll("other", "more", STAGE_OPEN, 4, spread=4)
    assert (listed("g"), listed("other")) == (["new", "old"], ["more"])
    assert view.opened("g")[0] is view.opened("g")[0], "not sorted for each reader"
    bucket.poll("g", "claimed", STAGE_OPEN, 3)
    assert listed("g") == ["claimed", "new", "old"]
    assert (view.widest("g"), view.widest("other"), view.widest("none")) == (1, 4, 0)
    assert bucket.forget("poll.g.new")
    assert listed("g") == ["claimed", "old"]
    assert bucket.forget("poll.other.more")
    assert not view.is_any_opened("other")


STAGES = [STAGE_UNSPECIFIED, STAGE_OPEN, STAGE_CLOSED, STAGE_SEALED]


@given(
    st.lists(
        st.tuples(
            st.sampled_from("abcd"),
            st.sampled_from([*STAGES, None, "claim", "claim without its marker"]),
            st.booleans(),
        ),
        max_size=40,
    )
)
@example([("a", STAGE_OPEN, True), ("a", "claim without its marker", True)])
@example([("a", "claim", True), ("a", "claim", True)])
def test_games_are_counted_and_kept_in_order_whatever_comes_and_goes(
    changes: list[tuple[str, Stage | str | None, bool]],
) -> None:
    bucket = Bucket()
    view = bucket.view
    known: dict[str, Stage] = {}
    for game_id, change, asks in changes:
        if change is None:
            assert bucket.forget(f"game.{game_id}") == (known.pop(game_id, None) is not None)
        elif change == "claim":
            stage = known.get(game_id)
            claim = Game(game_id=game_id, pending=Game(game_id=game_id, spread=2))
            if stage is not None:
                claim.stage, claim.spread = stage, 1
            assert not bucket.put(claim), "nothing holds yet"
            assert view.pending(f"game.{game_id}") == claim.pending
        elif change == "claim without its marker":
            seen, was_known = view.changes, known.pop(game_id, None) is not None
            assert not bucket.put(Game(game_id=game_id, pending=Game(game_id=game_id, spread=2)))
            assert view.changed_since(seen) == ({game_id} if was_known else set())
            with pytest.raises(Unknown):
                view.game(game_id)
        else:
            assert isinstance(change, int)
            changed = known.get(game_id) != change
            known[game_id] = change
            assert bucket.put(Game(game_id=game_id, spread=1, stage=change)) == changed
        if asks:
            assert view.game_ids() == sorted(known)
        assert view.games_known == len(view) == len(known)
        assert view.games_live == sum(stage in (STAGE_UNSPECIFIED, STAGE_OPEN) for stage in known.values())
    assert view.game_ids() == sorted(known)
    assert {game.game_id: game.stage for game in view.games()} == known


def test_what_is_asked_for_again_is_the_same_object_and_little_of_it_is_kept(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(view_module, "_DECODED_MAX", 4)
    bucket = Bucket()
    for number in range(20):
        bucket.put(Game(game_id=f"g{number}", spread=1, title=str(number)))
    view = bucket.view
    assert all(view.game(f"g{number}").title == str(number) for number in range(20))
    assert view.game("g3") is view.game("g3")
    assert len(view._decoded) <= 4
    with pytest.raises(Unknown):
        view.game("g20")


def test_who_keeps_what_it_made_of_a_game_is_told_which_have_changed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(view_module, "_CHANGED_MAX", 3)
    bucket = Bucket()
    view = bucket.view
    bucket.put(Game(game_id="a", spread=1))
    seen = view.changes
    assert view.changed_since(seen) == set()
    bucket.put(Game(game_id="b", spread=1))
    bucket.poll("c", "p", STAGE_OPEN)
    bucket.forget("poll.c.p")
    assert view.changed_since(seen) == {"b", "c"}
    bucket.put(Game(game_id="d", spread=1))
    assert view.changed_since(seen) is None, "too long ago"


def test_a_bucket_that_was_made_anew_lacks_everything_and_no_definition_is_forgotten() -> None:
    bucket = Bucket()
    view = bucket.view
    game = Game(game_id="g", spread=1)
    bucket.put(game)
    bucket.put(Game(game_id="g", spread=1, pending=Game(game_id="g", spread=2)))
    bucket.put(Game(game_id="claimed", pending=Game(game_id="claimed", spread=1)))
    assert view.backed() == {"game.g", "game.claimed"}
    view.forget_revisions()
    assert view.backed() == set()
    assert view.unbacked() == [("game.g", game.SerializeToString())]
    assert (view.game("g"), view.revision("game.g"), view.pending("game.g")) == (game, 0, None)
