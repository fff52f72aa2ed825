"""The page in a real browser, through real Envoy: what a person sees and can do."""

from __future__ import annotations

import re

import pytest
from playwright.sync_api import expect

from tests.browser.conftest import Visit
from tests.browser.parts import connection, option, own_vote, part, poll, reaction
from tests.browser.stage import Stage, new_stage
from tests.support.mesh_fixture import RunningMesh

COUNTED = re.compile(r"^Your vote for “Blue” is counted\. On screen in \d+\sms\.$")


def test_a_vote_in_one_browser_moves_the_bars_in_another(stage: Stage, visit: Visit) -> None:
    stage.open_poll()
    ann, bob = visit(stage.url), visit(stage.url)
    expect(connection(bob, "live")).to_be_visible()
    option(ann, "blue").click()
    expect(option(bob, "blue")).to_have_attribute("data-votes", "1")
    expect(option(bob, "blue")).to_have_attribute("data-percent", "100")
    expect(poll(bob).get_by_test_id("voters")).to_have_text("1 voter")
    option(bob, "red").click()
    for page in (ann, bob):
        expect(option(page, "red")).to_have_attribute("data-percent", "50")
        expect(poll(page).get_by_test_id("voters")).to_have_text("2 voters")


def test_ones_own_vote_is_counted_and_its_latency_shown(stage: Stage, visit: Visit) -> None:
    stage.open_poll()
    ann = visit(stage.url)
    option(ann, "blue").click()
    expect(own_vote(ann, "counted")).to_have_text(COUNTED)
    expect(option(ann, "blue")).to_have_attribute("aria-checked", "true")
    expect(part(ann, "latency")).to_have_text(re.compile(r"\d+ ms$"))


def test_a_second_vote_is_refused_in_words_and_changes_nothing(stage: Stage, visit: Visit) -> None:
    stage.open_poll()
    ann = visit(stage.url)
    option(ann, "blue").click()
    expect(own_vote(ann, "counted")).to_be_visible()
    option(ann, "red").click()
    refused = own_vote(ann, "refused")
    expect(refused).to_contain_text("You have already voted in this poll. Your vote for “Blue” stands.")
    expect(option(ann, "blue")).to_have_attribute("aria-checked", "true")
    expect(option(ann, "red")).to_have_attribute("data-votes", "0")
    expect(connection(ann, "live")).to_be_visible()


def test_a_vote_is_remembered_when_the_page_is_loaded_again(stage: Stage, visit: Visit) -> None:
    stage.open_poll()
    ann = visit(stage.url)
    option(ann, "blue").click()
    expect(own_vote(ann, "counted")).to_be_visible()
    ann.reload()
    expect(own_vote(ann, "counted")).to_have_text("Your vote for “Blue” is counted.")
    expect(option(ann, "blue")).to_have_attribute("aria-checked", "true")


def test_a_changeable_poll_lets_one_change(stage: Stage, visit: Visit) -> None:
    stage.open_poll(changeable=True)
    ann = visit(stage.url)
    option(ann, "red").click()
    expect(own_vote(ann, "counted")).to_be_visible()
    option(ann, "blue").click()
    expect(own_vote(ann, "counted")).to_have_text(COUNTED)
    expect(option(ann, "blue")).to_have_attribute("data-votes", "1")
    expect(option(ann, "red")).to_have_attribute("data-votes", "0")


def test_number_keys_vote(stage: Stage, visit: Visit) -> None:
    stage.open_poll()
    ann = visit(stage.url)
    expect(option(ann, "blue")).to_be_visible()
    ann.keyboard.press("2")
    expect(own_vote(ann, "counted")).to_have_text(COUNTED)


def test_arrows_move_without_voting_and_enter_votes(stage: Stage, visit: Visit) -> None:
    stage.open_poll()
    ann = visit(stage.url)
    option(ann, "red").focus()
    ann.keyboard.press("ArrowDown")
    expect(option(ann, "blue")).to_be_focused()
    expect(own_vote(ann, "none")).to_be_visible()
    ann.keyboard.press("Enter")
    expect(own_vote(ann, "counted")).to_have_text(COUNTED)
    expect(option(ann, "blue")).to_be_focused()


def test_the_whole_page_is_reached_by_tab(stage: Stage, visit: Visit) -> None:
    stage.open_poll()
    ann = visit(stage.url)
    expect(reaction(ann, "clap")).to_be_visible()
    expect(part(ann, "bell")).to_be_visible()
    reached = []
    for _ in range(8):
        ann.keyboard.press("Tab")
        reached.append(
            ann.evaluate(
                "document.activeElement.dataset.testid ?? document.activeElement.className"
                " + (document.activeElement.matches(':focus-visible') ? '' : ' without a visible focus')"
            )
        )
    assert reached == ["skip", "actor", "bell", "theme", "option", *["reaction"] * 3]


def test_a_new_poll_appears_with_a_toast_and_the_old_one_moves_back(stage: Stage, visit: Visit) -> None:
    stage.open_poll()
    ann = visit(stage.url)
    stage.vote("bob", "gold")
    expect(option(ann, "gold")).to_have_attribute("data-votes", "1")
    stage.close_poll()
    expect(poll(ann)).to_have_attribute("data-phase", "closed")
    expect(part(ann, "toast").filter(has_text="Poll closed")).to_be_visible()
    stage.open_poll("next", "And who is next?", {"x": "Xenia", "y": "Yuri"})
    expect(poll(ann, "next").get_by_test_id("question")).to_have_text("And who is next?")
    expect(option(ann, "x", "next")).to_contain_text("Xenia")
    expect(part(ann, "toast").filter(has_text="And who is next?")).to_be_visible()
    expect(poll(ann)).to_have_count(0)
    expect(part(ann, "earlier-poll")).to_contain_text("Gold, 100%")


def test_a_closed_poll_is_sealed_with_its_winner(stage: Stage, visit: Visit) -> None:
    stage.open_poll()
    ann = visit(stage.url)
    stage.vote("bob", "gold")
    stage.close_poll()
    expect(poll(ann)).to_have_attribute("data-phase", "sealed")
    expect(poll(ann).get_by_test_id("poll-phase")).to_have_text("Final result")
    expect(option(ann, "gold")).to_contain_text("Winner")
    expect(option(ann, "gold")).to_have_attribute("aria-disabled", "true")


def test_reactions_by_click_and_by_key_move_the_rate_for_all(stage: Stage, visit: Visit) -> None:
    ann, bob = visit(stage.url), visit(stage.url)
    expect(connection(bob, "live")).to_be_visible()
    reaction(ann, "fire").click()
    ann.keyboard.press("c")
    for kind in ("fire", "clap"):
        expect(reaction(bob, kind)).to_have_attribute("data-total", "1")
    expect(reaction(bob, "fire")).not_to_have_attribute("data-rate", "0")
    expect(reaction(bob, "confetti")).to_contain_text("confetti")


def test_a_leaderboard_is_in_the_order_of_its_points(stage: Stage, visit: Visit) -> None:
    stage.open_board()
    ann = visit(stage.url)
    for actor, points in (("bob", 5), ("cy", 7), ("bob", 4)):
        stage.score(actor, points)
    rows = part(ann, "board-row")
    expect(rows.nth(0)).to_have_attribute("data-points", "9")
    expect(rows).to_have_count(2)
    assert [row.get_attribute("data-actor-id") for row in rows.all()] == ["bob", "cy"]


def test_an_unknown_game_says_so_and_comes_alive_when_it_is_defined(mesh: RunningMesh, visit: Visit) -> None:
    with new_stage(mesh.edge_url, mesh.edge, mesh.mesh, defined=False) as stage:
        ann = visit(stage.url)
        expect(part(ann, "empty")).to_contain_text(f"Game “{stage.game_id}” is not known here")
        stage.define()
        stage.open_poll()
        expect(option(ann, "blue")).to_be_visible()
        expect(part(ann, "empty")).to_be_hidden()


def test_words_from_the_catalog_are_shown_as_text_never_as_markup(stage: Stage, visit: Visit) -> None:
    evil = '<img src=x onerror="document.title=1"><b>bold</b>'
    stage.open_poll(question=evil, options={"a": evil, "b": "B"})
    ann = visit(stage.url)
    expect(poll(ann).get_by_test_id("question")).to_have_text(evil)
    expect(option(ann, "a")).to_contain_text(evil)
    assert ann.locator("main img, main b").count() == 0


@pytest.mark.parametrize("color_scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [320, 390, 768, 1280])
def test_nothing_overflows_sideways(stage: Stage, visit: Visit, width: int, color_scheme: str) -> None:
    long = "Donaudampfschifffahrtsgesellschaftskapitän" * 2
    stage.define(title=long)
    stage.open_poll(question=long, options={"a": long, "b": "B"})
    stage.open_board(title=long)
    stage.score("x" * 64, 2**53 - 1)
    page = visit(stage.url, viewport={"width": width, "height": 800}, color_scheme=color_scheme)
    expect(part(page, "board-row")).to_be_visible()
    expect(option(page, "a")).to_be_visible()
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    for button in part(page, "option").all() + part(page, "reaction").all():
        box = button.bounding_box()
        assert box is not None
        assert box["x"] >= 0, box
        assert box["x"] + box["width"] <= width, box
        assert box["height"] >= 44, box


def test_the_mode_follows_the_system_and_the_persons_choice_is_kept(stage: Stage, visit: Visit) -> None:
    page = visit(stage.url, color_scheme="dark")
    ground = "getComputedStyle(document.documentElement).backgroundColor"
    expect(part(page, "theme")).to_have_attribute("aria-label", "Switch to light mode")
    dark = page.evaluate(ground)
    part(page, "theme").click()
    light = page.evaluate(ground)
    assert light != dark
    page.reload()
    expect(part(page, "theme")).to_have_attribute("aria-label", "Switch to dark mode")
    assert page.evaluate(ground) == light
