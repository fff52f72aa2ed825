"""Names that others see: what is taken, and what becomes of what a token claims."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from grandstand.wire import bounds, names
from grandstand.wire.errors import Invalid

TEXT = st.one_of(
    st.text(max_size=80),
    st.text(st.sampled_from("ab @.\u202e\u200d\u200b\n\u2028🦊é\u3164"), max_size=150),
    st.emails(),
)


@given(TEXT)
def test_what_is_left_of_a_claim_is_a_name_that_a_producer_may_give(claim: str) -> None:
    name = names.cleaned(claim)
    if name:
        assert names.check_name("name", name) == name
        assert names.cleaned(name) == name
        assert "\n" not in name


@given(TEXT)
def test_a_name_that_a_producer_may_give_is_taken_from_a_token_as_it_is(text: str) -> None:
    try:
        names.check_name("name", text)
    except Invalid:
        return
    assert names.cleaned(text) == text
    assert len(text) <= bounds.NAME_CHARACTERS_MAX
    assert len(text.encode()) <= bounds.NAME_BYTES_MAX


@given(st.emails(), st.text(max_size=10), st.text(max_size=10))
def test_no_address_is_a_name(address: str, before: str, after: str) -> None:
    assert names.cleaned(address) == ""
    assert address not in names.cleaned(f"{before} {address} {after}")
    with pytest.raises(Invalid):
        names.check_name("name", address)


@pytest.mark.parametrize(
    ("claim", "name"),
    [
        ("Ann B.", "Ann B."),
        ("  Ann\n", "Ann"),
        ("A\u202enn\u2066", "Ann"),
        ("👩\u200d🚀 Zoë", "👩\u200d🚀 Zoë"),
        ("علی\u200cرضا", "علی\u200cرضا"),
        ("x" * 100, "x" * 64),
        ("🦊" * 50, "🦊" * 32),
        ("@ann", "@ann"),
        ("ann@example.com", ""),
        ("Ann <ann@example.com>", ""),
        ("ann＠example.com", ""),
        ("x" * 60 + " ann@example.com", ""),
        ("\u200d", ""),
        ("\u3164", ""),
        (" ", ""),
        ("", ""),
        (None, ""),
        (7, ""),
        (["Ann"], ""),
        ("\ud800Ann", "Ann"),
    ],
)
def test_a_claim_is_cleaned(claim: Any, name: str) -> None:
    assert names.cleaned(claim) == name


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("x" * 65, "has 65 characters in 65 bytes; at most 64 in 128 are allowed"),
        ("🦊" * 33, "has 33 characters in 132 bytes"),
        ("A\u202enn", r"has the character '\u202e', which does not show"),
        ("A\nnn", r"has the character '\n'"),
        (" Ann", "has a space at an end"),
        ("\u00a0", "has a space at an end"),
        ("ann@example.com", "is an e-mail address; others would see it: give a name"),
    ],
)
def test_a_producers_name_is_refused_by_value_bound_and_way_out(name: str, why: str) -> None:
    with pytest.raises(Invalid) as told:
        names.check_name("score.name", name)
    assert told.value.message.startswith("score.name: ")
    assert why in told.value.message
