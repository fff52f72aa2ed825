"""Who one is on the page: a guest, or the player whose token the page was given."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, expect

from mesh.auth import SigningKey, mint, parse_signing_keys
from tests.browser.conftest import Visit
from tests.browser.parts import connection, option, own_vote, part, reaction
from tests.browser.stage import Stage, new_stage
from tests.support.mesh_fixture import RunningMesh, running

GUEST = re.compile(r"^guest-[0-9a-f]{16}$")


def test_who_comes_without_a_token_is_a_guest_who_can_vote_and_stays_the_same_one(
    stage: Stage, visit: Visit
) -> None:
    stage.open_poll()
    ann = visit(stage.url)
    expect(part(ann, "actor")).to_have_text(GUEST)
    name = part(ann, "actor").inner_text()
    option(ann, "blue").click()
    expect(own_vote(ann, "counted")).to_be_visible()
    expect(option(ann, "blue")).to_have_attribute("data-votes", "1")
    reaction(ann, "fire").click()
    expect(reaction(ann, "fire")).to_have_attribute("data-total", "1")
    ann.reload()
    expect(part(ann, "actor")).to_have_text(name)
    expect(own_vote(ann, "counted")).to_be_visible()


def test_two_people_are_two_guests(stage: Stage, visit: Visit) -> None:
    ann, bob = visit(stage.url), visit(stage.url)
    for page in (ann, bob):
        expect(part(page, "actor")).to_have_text(GUEST)
    assert part(ann, "actor").inner_text() != part(bob, "actor").inner_text()


def test_a_guest_may_become_another_one_who_has_not_voted_yet(stage: Stage, visit: Visit) -> None:
    stage.open_poll()
    ann = visit(stage.url)
    option(ann, "blue").click()
    expect(own_vote(ann, "counted")).to_be_visible()
    name = part(ann, "actor").inner_text()
    part(ann, "actor").click()
    expect(part(ann, "actor-title")).to_have_text(f"You are {name}")
    part(ann, "actor-other").click()
    expect(part(ann, "actor")).not_to_have_text(name)
    expect(part(ann, "actor")).to_have_text(GUEST)
    expect(own_vote(ann, "none")).to_be_visible()
    option(ann, "blue").click()
    expect(option(ann, "blue")).to_have_attribute("data-votes", "2")


def test_a_token_in_the_address_says_who_one_is_and_leaves_the_address_at_once(
    mesh: RunningMesh, stage: Stage, visit: Visit
) -> None:
    stage.open_poll()
    stage.open_board()
    stage.score("ann", 7)
    token = mesh.viewer("ann")
    page = visit(f"{stage.url}#token={token}")
    expect(part(page, "actor")).to_have_text("ann")
    assert page.url == stage.url
    option(page, "blue").click()
    expect(own_vote(page, "counted")).to_be_visible()
    # Nobody else may vote as ann now: ann has.
    other = visit(f"{stage.url}#token={mesh.viewer('ann')}")
    option(other, "red").click()
    expect(own_vote(other, "refused")).to_contain_text("You have already voted in this poll")
    page.reload()
    expect(part(page, "actor")).to_have_text("ann")
    part(page, "actor").click()
    expect(part(page, "actor-title")).to_have_text("You play as ann")
    expect(part(page, "actor-other")).to_be_hidden()


def test_the_embedding_page_may_hand_in_another_token(mesh: RunningMesh, stage: Stage, visit: Visit) -> None:
    page = visit(stage.url)
    expect(part(page, "actor")).to_have_text(GUEST)
    page.evaluate("token => { location.hash = 'token=' + token }", mesh.viewer("ann"))
    expect(part(page, "actor")).to_have_text("ann")
    assert "token" not in page.url


def test_a_token_that_is_refused_is_told_of_and_one_goes_on_watching(
    mesh: RunningMesh, stage: Stage, visit: Visit
) -> None:
    stage.open_poll()
    expired = mesh.viewer("ann", life_s=-60.0)
    # The edge's UNAUTHENTICATED is HTTP's 401 for a browser, which logs it.
    page = visit(f"{stage.url}#token={expired}", may_lose_connection=True)
    expect(part(page, "notice")).to_contain_text("You are no longer signed in")
    expect(connection(page, "live")).to_be_visible()
    stage.vote("bob", "blue")
    expect(option(page, "blue")).to_have_attribute("data-votes", "1")
    option(page, "blue").click()
    expect(own_vote(page, "refused")).to_contain_text("you can watch but not vote")
    expect(part(page, "actor")).to_have_text("Watching")


def test_a_token_for_other_games_watches_here_and_says_why(
    mesh: RunningMesh, stage: Stage, visit: Visit
) -> None:
    stage.open_poll()
    ann = visit(f"{stage.url}#token={mesh.viewer('ann', games=[stage.game_id, 'other'])}")
    option(ann, "blue").click()
    expect(own_vote(ann, "counted")).to_be_visible()
    bob = visit(f"{stage.url}#token={mesh.viewer('bob', games=['other'])}")
    expect(part(bob, "notice")).to_contain_text("your token is not for this game")
    expect(option(bob, "blue")).to_have_attribute("data-votes", "1")


@pytest.fixture(scope="module")
def platform(
    browser: Browser, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[RunningMesh, SigningKey]]:
    """A mesh that takes the tokens of a platform, in production: and the platform's key."""
    folder: Path = tmp_path_factory.mktemp("platform")
    jwk = mint.ed25519_jwk("platform-1", b"p" * 32)
    keys = folder / "jwks.json"
    keys.write_text(json.dumps({"keys": [mint.public_jwk(jwk)]}))
    (key,) = parse_signing_keys(json.dumps(jwk).encode())
    with running(folder / "home", "--keys", str(keys), "--issuer", "us", "--production") as mesh:
        mesh.owner = lambda: mint.token(
            key, actor_id="studio", now_s=time.time(), life_s=60.0, roles=["owner"], issuer="us"
        )
        yield mesh, key


def test_where_guests_are_not_admitted_one_watches_and_reads_why_and_a_player_votes(
    platform: tuple[RunningMesh, SigningKey], visit: Visit
) -> None:
    mesh, key = platform
    with new_stage(mesh.edge_url, mesh.edge, mesh.mesh) as stage:
        stage.open_poll()
        ann = visit(stage.url)
        expect(part(ann, "notice")).to_contain_text(
            "You can watch, but not vote: guests are not admitted here"
        )
        option(ann, "blue").click()
        expect(own_vote(ann, "refused")).to_contain_text("you can watch but not vote")

        token = mint.token(key, actor_id="bob", now_s=time.time(), life_s=60.0, issuer="us")
        bob = visit(f"{stage.url}#token={token}")
        expect(part(bob, "notice")).to_be_hidden()
        option(bob, "blue").click()
        expect(own_vote(bob, "counted")).to_be_visible()
        expect(option(ann, "blue")).to_have_attribute("data-votes", "1")
