"""The admin page in a real browser, on the mesh listener: what an operator sees and does, and nobody else."""

from __future__ import annotations

import re

from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Page, expect

from tests.browser.conftest import Visit
from tests.browser.parts import part, poll
from tests.browser.stage import Stage
from tests.support.mesh_fixture import RunningMesh, wait_for
from toolbox.local.development import client_operator_token

TITLE = "<script>document.title='mine'</script> مباراة 👩‍👩‍👧 می‌خواهم " + "long" * 30
QUESTION = "Who <b>wins</b>? مَن؟ 🏁"


def sign_in(page: Page, token: str) -> None:
    part(page, "token").fill(token)
    page.keyboard.press("Enter")


def state_of(page: Page, state: str) -> None:
    expect(part(page, "status")).to_have_attribute("data-state", state)


def violations(page: Page) -> str:
    found = Axe().run(page)
    return found.generate_report() if found.violations_count else ""


def test_an_operator_watches_the_mesh_finds_a_game_and_opens_and_closes_a_poll(
    mesh: RunningMesh, stage: Stage, visit: Visit
) -> None:
    stage.define(TITLE)
    url = f"http://{mesh.mesh}/admin/"
    # The browser says of each refused call that a resource was not loaded.
    page = visit(url, may_lose_connection=True, color_scheme="dark")
    state_of(page, "signed-out")
    assert violations(page) == ""
    for token, why in (
        ("not a token", "That is no token"),
        ("x.y.z", "Jwt"),
        (mesh.owner(), "has not the role operator"),
    ):
        sign_in(page, token)
        expect(part(page, "token-error")).to_contain_text(why)
        expect(part(page, "figures")).to_be_hidden()

    sign_in(page, client_operator_token(mesh.home, "ola@example.org")())
    state_of(page, "live")
    for name in ("stored", "folded", "shown"):
        expect(page.locator(f'[data-testid="promise"][data-name="{name}"]')).to_have_attribute(
            "data-ok", "true"
        )
    for instance in ("ingest-2", "gateway-2", "aggregate-1", "notify-1"):
        expect(page.locator(f'tr[data-instance="{instance}"]')).to_have_attribute("data-state", "well")
    expect(page.locator('[data-figure="Stored"]')).to_have_text(re.compile(r"^[\d.,]+/s$"))
    chart = part(page, "rates-chart").get_by_role("img")
    expect(chart).to_have_attribute("data-points", re.compile(r"^[1-9]"))
    part(page, "rates-chart").get_by_text("As a table").click()

    part(page, "search").fill("<SCRIPT>document.title='mine'")
    page.keyboard.press("Enter")
    found = page.locator(f'[data-testid="found"] [data-game-id="{stage.game_id}"]')
    expect(found).to_contain_text("<script>document.title='mine'</script> مباراة")
    found.focus()
    page.keyboard.press("Enter")
    expect(part(page, "game-title")).to_have_text(TITLE.strip())
    expect(part(page, "game-status")).to_have_text(f"{stage.game_id}, live")
    assert page.title() == "Operator · Grandstand"

    form = part(page, "open-poll")
    form.get_by_label("Question").fill(QUESTION)
    form.get_by_label("Options").fill("Only one")
    form.get_by_role("button").click()
    expect(part(page, "opened")).to_contain_text("1 option given")
    form.get_by_label("Options").fill("Red & white\n\n  Blå \n")
    form.get_by_role("button").click()
    card = part(page, "poll")
    expect(card.get_by_role("heading")).to_have_text(QUESTION)
    expect(card).to_have_attribute("data-phase", "open")
    poll_id = card.get_attribute("data-poll-id") or ""
    stage.vote("ann", "o2", poll_id)
    blue = poll(page, poll_id).locator('[data-option-id="o2"]')
    expect(blue).to_have_attribute("data-votes", "1")
    expect(blue).to_contain_text("Blå")
    assert violations(page) == ""
    page.emulate_media(color_scheme="light")
    assert violations(page) == ""

    part(page, "close-poll").click()
    expect(part(page, "confirm")).to_be_visible()
    page.keyboard.press("Escape")
    expect(card).to_have_attribute("data-phase", "open")
    part(page, "close-poll").click()
    part(page, "confirm-yes").click()
    expect(card).to_have_attribute("data-phase", re.compile("closed|sealed"))

    def audited() -> list[str]:
        lines = mesh.log("aggregate-1").splitlines()
        return [line for line in lines if "by 'ola@example.org' (operator)" in line and poll_id in line]

    wait_for(lambda: len(audited()) == 2, "the audit has a line for each")

    assert page.url == url, "no token in the address"
    assert page.evaluate("document.cookie + JSON.stringify(localStorage)").count("ey") == 0
    page.reload()
    state_of(page, "live")
    part(page, "forget").click()
    state_of(page, "signed-out")
    page.reload()
    state_of(page, "signed-out")
    assert page.evaluate("sessionStorage.length") == 0


def test_a_narrow_page_does_not_scroll_sideways_and_says_when_nobody_answers(
    mesh: RunningMesh, visit: Visit
) -> None:
    page = visit(
        f"http://{mesh.mesh}/admin/", may_lose_connection=True, viewport={"width": 360, "height": 700}
    )
    sign_in(page, client_operator_token(mesh.home, "ola")())
    state_of(page, "live")
    assert page.evaluate("document.documentElement.scrollWidth") == 360
    page.context.set_offline(True)
    state_of(page, "stale")
    expect(part(page, "status")).to_contain_text("What is shown is of")
    page.context.set_offline(False)
    state_of(page, "live")
