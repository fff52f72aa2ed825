"""The page when a gateway dies under it: it says so, comes back by itself, and never shows less (I5)."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, expect

from tests.browser.conftest import Visit
from tests.browser.parts import connection, option, own_vote
from tests.browser.stage import Stage, new_stage
from tests.support.mesh_fixture import RunningMesh, running

# Writes down every number of votes and every state of the connection that is ever shown: a gateway
# is back so soon that looking now and then would miss what happened between.
WRITE_DOWN = """
() => {
  window.votes = [];
  const states = new Set();
  const read = () => {
    window.votes.push(Number(document.querySelector('[data-option-id="red"]').dataset.votes));
    states.add(document.querySelector('[data-testid="connection"]').dataset.state);
    document.documentElement.dataset.statesSeen = [...states].join(' ');
  };
  new MutationObserver(read).observe(document.body, { subtree: true, childList: true, attributes: true });
}
"""


@pytest.fixture(scope="module")
def fragile_mesh(browser: Browser, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningMesh]:
    """One of each service, to be killed. After `browser`, so that none starts where there is no browser."""
    with running(tmp_path_factory.mktemp("fragile")) as mesh:
        yield mesh


@pytest.fixture
def stage(fragile_mesh: RunningMesh) -> Iterator[Stage]:
    with new_stage(fragile_mesh.edge_url, fragile_mesh.edge, fragile_mesh.mesh) as stage:
        yield stage


def test_i5_the_page_survives_a_gateways_death_and_shows_nothing_older(
    fragile_mesh: RunningMesh, stage: Stage, visit: Visit
) -> None:
    stage.open_poll()
    for n in range(5):
        stage.vote(f"crowd-{n}", "red")
    ann = visit(stage.url, may_lose_connection=True)
    expect(option(ann, "red")).to_have_attribute("data-votes", "5")
    ann.evaluate(WRITE_DOWN)

    pid = fragile_mesh.kill("gateway-1")
    expect(ann.locator("html")).to_have_attribute("data-states-seen", re.compile("reconnecting"))
    fragile_mesh.wait_restarted("gateway-1", pid)
    expect(connection(ann, "live")).to_be_visible()

    option(ann, "red").click()
    expect(own_vote(ann, "counted")).to_be_visible()
    expect(option(ann, "red")).to_have_attribute("data-votes", "6")
    votes = ann.evaluate("window.votes")
    assert votes == sorted(votes), votes


def test_i2_a_vote_sent_while_the_gateway_is_gone_is_counted_once(
    fragile_mesh: RunningMesh, stage: Stage, visit: Visit
) -> None:
    stage.open_poll()
    ann = visit(stage.url, may_lose_connection=True)
    expect(connection(ann, "live")).to_be_visible()
    pid = fragile_mesh.kill("gateway-1")
    option(ann, "blue").click()
    fragile_mesh.wait_restarted("gateway-1", pid)
    expect(own_vote(ann, "counted")).to_be_visible()
    expect(option(ann, "blue")).to_have_attribute("data-votes", "1")
