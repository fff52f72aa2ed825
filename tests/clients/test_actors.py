"""Actor ids: which are taken, and that no two share an encoded form."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from grandstand.wire import actors, bounds, ids
from grandstand.wire.errors import Invalid
from mesh.jetstream import subjects
from mesh.redis import layout

PEOPLE_HAVE = [
    *(
        "ann",
        "auth0|5f7c",
        "f:uuid:ann",
        "ann@example.com",
        "Ann B.",
        " ann",
        "ann\u00a0",
        "🦊",
        "é",
        "e\u0301",
    ),
    *(
        "a.b.*.>",
        "!begun",
        "!sealed",
        "!at",
        "!",
        "=",
        "=YQ",
        "YQ",
        "==",
        "{p7}",
        "a/b",
        "a\\b",
        "%2e",
        "a\u2028b",
    ),
    *("a" * 65, "a" * 128, "é" * 64, "🦊" * 32, "x" * 127 + "@", "\u202eann"),
]
ACTORS = st.one_of(
    st.sampled_from(PEOPLE_HAVE),
    st.text(st.characters(codec="utf-8", exclude_categories=["Cc", "Cs"]), min_size=1, max_size=32),
    st.text("ab=!_-YQ", min_size=1, max_size=128),
)


@pytest.mark.parametrize("actor", PEOPLE_HAVE)
def test_what_platforms_call_their_people_is_taken_and_encoded_within_bounds(actor: str) -> None:
    assert actors.check_actor("sub", actor) == actor
    encoded = actors.encode(actor)
    assert re.fullmatch(r"[A-Za-z0-9_=-]+", encoded)
    assert len(encoded) <= actors.ENCODED_CHARACTERS_MAX == 172
    assert subjects.inbox(actor) == f"inbox.{encoded}"
    assert layout.inbox_key(actor) == f"inbox:{{{encoded}}}"


@given(ACTORS, ACTORS)
def test_the_encoded_form_is_of_one_actor_and_leads_back(one: str, other: str) -> None:
    assert actors.decode(actors.encode(one)) == one
    assert (actors.encode(one) == actors.encode(other)) == (one == other)
    # The field of its standing, too, and no mark of the state is an actor's.
    field = layout.standing_field(one).encode()
    assert not field.startswith(b"!")
    assert layout.standing_actor(field) == one
    assert (field == layout.standing_field(other).encode()) == (one == other)


@given(st.from_regex(r"[A-Za-z0-9_-]{1,64}", fullmatch=True))
def test_ids_of_the_old_form_stay_as_they_were_stored(actor: str) -> None:
    assert ids.is_id(actor)
    assert actors.is_surely_actor(actor)
    assert actors.encode(actor) == layout.standing_field(actor) == actor


@given(st.text(max_size=140))
def test_the_quick_check_takes_nothing_that_the_whole_one_refuses(text: str) -> None:
    try:
        actors.check_actor("sub", text)
    except Invalid:
        assert not actors.is_surely_actor(text)
    else:
        assert 1 <= len(text.encode()) <= bounds.ACTOR_ID_BYTES_MAX


@pytest.mark.parametrize(
    ("actor", "why"),
    [
        ("", "sub: is empty; give 1 to 128 bytes"),
        ("a\nb", r"has the character '\n'; an actor id has no control characters"),
        ("\x7f", r"has the character '\x7f'"),
        ("\x85", r"has the character '\x85'"),
        ("\ud83e", r"has the character '\ud83e'"),
        ("a" * 129, "has 129 bytes of UTF-8; at most 128 are allowed; name the actor by another claim"),
        ("🦊" * 33, "has 132 bytes"),
    ],
)
def test_what_is_no_actor_id_is_refused_by_value_bound_and_way_out(actor: str, why: str) -> None:
    with pytest.raises(Invalid) as told:
        actors.check_actor("sub", actor)
    assert why in told.value.message


@pytest.mark.parametrize("encoded", ["", "=", "=YR", "=YQ==", "=YW5u", "a b", "=////", "=gg"])
def test_what_encode_never_makes_is_not_decoded(encoded: str) -> None:
    with pytest.raises(Invalid, match="is no encoded actor id"):
        actors.decode(encoded)


def test_a_line_of_a_log_has_every_actor_in_one_line() -> None:
    assert actors.said("ann") == "ann"
    assert actors.said("auth0|5f7c") == "'auth0|5f7c'"
    assert actors.said("a\u2028b\u202e") == r"'a\u2028b\u202e'"
