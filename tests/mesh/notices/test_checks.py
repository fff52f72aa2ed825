"""Which notices and preferences are taken, and what is said of the others."""

from __future__ import annotations

import contextlib
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from grandstand.notify.v1.notify_pb2 import Audience, Mute, Notice, Preferences
from grandstand.wire.errors import Invalid
from mesh.notices import bounds
from mesh.notices.checks import check_audience, check_notice, check_preferences


def notice(**changed: object) -> Notice:
    found = Notice(key="k", game_id="g", code="lead.changed", title="Ann leads")
    life_s = changed.pop("life_s", None)
    for name, value in changed.items():
        setattr(found, name, value)
    if isinstance(life_s, int):
        found.expires_after.FromSeconds(life_s)
    return found


@pytest.mark.parametrize(
    ("changed", "why"),
    [
        ({"key": ""}, "notice.key: is empty; give 1 to 128 characters"),
        ({"key": "k" * 129}, "has 129 characters; at most 128 are allowed"),
        ({"key": "a\nb"}, "notice.key: 'a\\nb' has a character that does not print"),
        ({"game_id": "a.b"}, "notice.game_id: 'a.b' has the character '.'"),
        ({"code": ""}, "notice.code: '' is no code"),
        ({"code": ".a"}, "no dot at either end"),
        ({"code": "a."}, "no dot at either end"),
        ({"code": "a\n"}, "is no code"),
        ({"code": "c" * 65}, "1 to 64"),
        ({"title": " "}, "notice.title: is empty"),
        ({"title": "t" * 201}, "has 201 characters"),
        ({"title": "a\nb"}, "notice.title: 'a\\nb' has the character '\\n'; no controls are allowed"),
        ({"title": "a\u202eb"}, "notice.title: 'a\\u202eb' has the character '\\u202e'"),
        ({"text": "t" * 1_001}, "notice.text: 'tttt"),
        ({"text": "a\x00b"}, "notice.text: 'a\\x00b' has the character '\\x00'"),
        ({"data": "{"}, "notice.data: '{' is not JSON: Expecting property name"),
        ({"data": "NaN"}, "it has the number NaN"),
        ({"data": "[" * 1_024}, "notice.data: '["),
        ({"data": "x" * 2**20}, "notice.data: has 1048576 bytes of UTF-8; at most 1024 are allowed"),
        ({"text": "é" * 1_000, "data": '"%s"' % ("x" * 60)}, "have 2071 bytes of UTF-8 together"),
        ({"priority": 7}, "notice.priority: 7 is unknown"),
        ({"life_s": 59}, "notice.expires_after: 59 s; 60 to 7776000 s (90 days) are allowed"),
        ({"life_s": 90 * 86_400 + 1}, "notice.expires_after"),
        ({"life_s": -60}, "notice.expires_after"),
        ({"collapse_key": "k" * 65}, "notice.collapse_key"),
    ],
)
def test_a_notice_out_of_bounds_is_refused_by_field_value_and_bound(
    changed: dict[str, object], why: str
) -> None:
    with pytest.raises(Invalid) as told:
        check_notice(notice(**changed))
    assert why in told.value.message
    assert len(told.value.message) < 500


@given(
    st.text(st.characters(codec="utf-8"), max_size=300),
    st.recursive(st.none() | st.booleans() | st.floats(allow_nan=False) | st.text(), st.lists, max_leaves=8),
)
def test_a_notice_that_is_taken_is_no_larger_than_its_bound(text: str, value: object) -> None:
    given_notice = notice(title=text[:50], text=text, data=json.dumps(value, allow_nan=False))
    with contextlib.suppress(Invalid):
        check_notice(given_notice)
        said = (given_notice.title, given_notice.text, given_notice.data)
        assert sum(len(part.encode()) for part in said) <= bounds.SAID_BYTES_MAX
        assert given_notice.ByteSize() < bounds.NOTIFICATION_BYTES_MAX


@pytest.mark.parametrize(
    "title", ["👨\u200d👩\u200d👧", "می\u200cخواهم", "\u200fشلום", "🏴\U000e0067\U000e0062\U000e007f", "é"]
)
def test_a_title_may_have_what_scripts_and_emoji_need(title: str) -> None:
    check_notice(notice(title=title, text=f"{title}\n{title}"))


def test_the_greatest_notice_is_taken() -> None:
    check_notice(
        notice(
            key="k" * 128,
            code="c" * 64,
            title="t" * 200,
            text="a\nb" + "x" * 820,
            data='"%s"' % ("d" * 1_022),
            collapse_key="c" * 64,
            life_s=90 * 86_400,
        )
    )


@pytest.mark.parametrize(
    ("audience", "game_id", "why"),
    [
        (Audience(), "g", "notice.audience: is not set; name an actor"),
        (Audience(actor_id="a\n"), "g", "notice.audience.actor_id"),
        (Audience(segment="a.b"), "g", "notice.audience.segment"),
        (Audience(viewers=False), "g", "notice.audience.viewers: is false"),
        (Audience(viewers=True), "", "notice.game_id: is empty; viewers are those of a game"),
        (Audience(everyone=False), "g", "notice.audience.everyone: is false"),
    ],
)
def test_an_audience_that_is_none_is_refused(audience: Audience, game_id: str, why: str) -> None:
    with pytest.raises(Invalid) as told:
        check_audience(Notice(game_id=game_id, audience=audience))
    assert why in told.value.message


def test_an_audience_that_is_one_is_taken() -> None:
    for audience in (
        Audience(actor_id="auth0|ann"),
        Audience(segment="vips"),
        Audience(viewers=True),
        Audience(everyone=True),
    ):
        check_audience(Notice(game_id="g", audience=audience))


@pytest.mark.parametrize(
    ("preferences", "why"),
    [
        (Preferences(mutes=[Mute(code="c")] * 65), "preferences.mutes: 65 are given; at most 64 are allowed"),
        (Preferences(mutes=[Mute()]), "preferences.mutes[0]: is empty; give a game_id, a code, or both"),
        (Preferences(mutes=[Mute(game_id="a b")]), "preferences.mutes[0].game_id"),
        (Preferences(mutes=[Mute(game_id="g", code="a b")]), "preferences.mutes[0].code"),
        (Preferences(quiet_hours={"until": "07:00"}), "quiet_hours.from: '' is no time of day"),
    ],
)
def test_preferences_that_mean_nothing_are_refused(preferences: Preferences, why: str) -> None:
    check_preferences(Preferences(mutes=[Mute(game_id="g"), Mute(code="c")]))
    with pytest.raises(Invalid) as told:
        check_preferences(preferences)
    assert why in told.value.message
