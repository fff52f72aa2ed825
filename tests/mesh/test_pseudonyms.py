"""Under which ids others see actors."""

from __future__ import annotations

import re

from hypothesis import given
from hypothesis import strategies as st

from grandstand.wire import ids
from mesh import pseudonyms
from mesh.pseudonyms import UNKEYED, PublicIds, may_be_shown, pseudonym

KEY, OTHER = bytes(range(32)), bytes(32)
ACTORS = st.one_of(
    st.text(st.characters(codec="utf-8", exclude_categories=["Cc", "Cs"]), min_size=1, max_size=32),
    st.from_regex(r"[A-Za-z0-9_-]{1,70}", fullmatch=True),
)


@given(ACTORS)
def test_what_is_shown_is_an_old_clients_id_and_never_what_an_email_may_be(actor: str) -> None:
    (shown,) = PublicIds(lambda: KEY)([actor])
    assert ids.is_id(shown)
    assert (shown == actor) == may_be_shown(actor)
    assert shown in (actor, pseudonym(actor, KEY))


def test_a_pseudonym_is_the_same_everywhere_and_another_under_another_key() -> None:
    # Stored by the clients that saw it: it must not change with a release.
    assert pseudonym("ann@example.com", KEY) == "player-GQR0ZEH5AW"
    assert pseudonym("ann@example.com", KEY) != pseudonym("ann@example.com", OTHER)
    assert len({pseudonym(f"{n}@example.com", KEY) for n in range(10_000)}) == 10_000


def test_nobody_takes_anothers_pseudonym_for_an_id() -> None:
    public = PublicIds(lambda: KEY)
    (taken,) = public(["ann@example.com"])
    assert re.fullmatch(r"player-[0-9A-HJKMNP-TV-Z]{10}", taken)
    assert not {taken, "ann@example.com"} & set(public([taken]))
    assert public(["player-1", "ann@example.com"]) == ["player-1", taken]


def test_without_the_key_nothing_is_shown_and_nothing_remembered() -> None:
    keys = [b""]
    public = PublicIds(lambda: keys[0])
    assert public(["ann@example.com", "ann"]) == ["player", "ann"]
    assert UNKEYED(["auth0|5f7c"]) == ["player"]
    keys[0] = KEY
    assert public(["ann@example.com"]) == [pseudonym("ann@example.com", KEY)]


def test_the_memory_is_bounded() -> None:
    public = PublicIds(lambda: KEY)
    public([f"a{n}" for n in range(pseudonyms.CACHED_MAX + 10)])
    assert len(public._known) <= pseudonyms.CACHED_MAX
