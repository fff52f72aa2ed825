"""The page while the gateways are restarted one after the other: it follows, and never shows less (I5)."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, expect

from tests.browser.conftest import Visit
from tests.browser.parts import connection, option, own_vote
from tests.browser.stage import Stage, new_stage
from tests.browser.test_page_recovery import WRITE_DOWN
from tests.support.mesh_fixture import RunningMesh, running
from tests.support.rolling import restarts


@pytest.fixture(scope="module")
def two_gateways(browser: Browser, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningMesh]:
    """After `browser`, so that none starts where there is no browser."""
    with running(tmp_path_factory.mktemp("drained"), "--gateway", "2") as mesh:
        yield mesh


@pytest.fixture
def stage(two_gateways: RunningMesh) -> Iterator[Stage]:
    with new_stage(two_gateways.edge_url, two_gateways.edge, two_gateways.mesh) as stage:
        yield stage


def test_i5_the_page_follows_a_rolling_restart_and_shows_nothing_older(
    two_gateways: RunningMesh, stage: Stage, visit: Visit
) -> None:
    stage.open_poll()
    stage.vote("crowd-0", "red")
    ann = visit(stage.url)
    expect(option(ann, "red")).to_have_attribute("data-votes", "1")
    expect(connection(ann, "live")).to_be_visible()
    ann.evaluate(WRITE_DOWN)

    for number, _ in enumerate(restarts(two_gateways), start=2):
        stage.vote(f"crowd-{number}", "red")
        expect(option(ann, "red")).to_have_attribute("data-votes", str(number))

    option(ann, "red").click()
    expect(own_vote(ann, "counted")).to_be_visible()
    expect(option(ann, "red")).to_have_attribute("data-votes", "4")
    votes = ann.evaluate("window.votes")
    assert votes == sorted(votes), votes
    assert ann.locator("html").get_attribute("data-states-seen") == "live"
