"""Notices on the page: toasts, the bell with its unread count, and the list that reads them."""

from __future__ import annotations

import uuid

from google.protobuf.duration_pb2 import Duration
from playwright.sync_api import expect

from grandstand.catalog.v1.catalog_pb2 import LeadChange, Rule, RuleNotice, Threshold
from tests.browser.conftest import Visit
from tests.browser.parts import bell, connection, option, part
from tests.browser.stage import Stage
from tests.support.mesh_fixture import RunningMesh


def test_a_notice_to_the_viewers_is_shown_to_each_once_and_read_by_who_opens_the_list(
    stage: Stage, visit: Visit
) -> None:
    ann, bob = visit(stage.url), visit(stage.url)
    for page in (ann, bob):
        expect(bell(page, 0)).to_be_visible()
    stage.tell("A goal", "<b>One</b> to nil")
    for page in (ann, bob):
        expect(bell(page, 1)).to_have_attribute("aria-label", "Notifications, 1 unread")
        expect(part(page, "toast")).to_have_text(["A goal<b>One</b> to nil"])
    assert part(ann, "toasts").get_attribute("role") == "status"
    part(ann, "bell").click()
    expect(part(ann, "notification")).to_have_text(["New A goal<b>One</b> to niljust now"])
    expect(bell(ann, 0)).to_have_attribute("aria-label", "Notifications")
    expect(part(ann, "notification")).to_have_attribute("data-fresh", "")
    # What comes while the list is open is in it at once, and read with it.
    stage.tell("Another goal")
    expect(part(ann, "notification")).to_have_count(2)
    expect(part(ann, "notification").first).to_contain_text("Another goal")
    expect(bell(bob, 2)).to_be_visible()
    expect(bell(ann, 0)).to_be_attached()
    ann.reload()
    expect(bell(ann, 0)).to_be_visible()
    part(ann, "bell").click()
    expect(part(ann, "notification")).to_have_count(2)
    expect(ann.locator("[data-fresh]")).to_have_count(0)
    expect(part(ann, "toast")).to_have_count(0)


def test_anothers_vote_that_changes_the_lead_is_told_on_the_page(stage: Stage, visit: Visit) -> None:
    at_once = LeadChange(hold=Duration(seconds=0))
    rules = [
        Rule(
            rule_id="lead",
            topic="poll/*",
            lead_changed=at_once,
            notice=RuleNotice(title="{leader} leads now"),
        ),
        Rule(
            rule_id="first",
            topic="poll/*",
            threshold=Threshold(at=1),
            notice=RuleNotice(title="A first vote"),
        ),
    ]
    stage.define(rules=rules)
    stage.open_poll()
    ann, bob = visit(stage.url), visit(stage.url)
    option(ann, "red").click()
    expect(part(ann, "toast").filter(has_text="A first vote")).to_be_visible()
    stage.vote("cy", "blue")
    option(bob, "blue").click()
    for page in (ann, bob):
        expect(part(page, "toast").filter(has_text="Blue leads now")).to_have_count(1)
        expect(bell(page, 2)).to_be_visible()


def test_who_was_offline_finds_what_was_told_meanwhile(stage: Stage, visit: Visit, mesh: RunningMesh) -> None:
    actor = f"p-{uuid.uuid4().hex[:8]}"
    stage.tell("You were outbid", actor_id=actor)
    stage.tell("Everybody watching: a goal")
    ann = visit(f"{stage.url}#token={mesh.viewer(actor)}")
    expect(bell(ann, 2)).to_be_visible()
    expect(connection(ann, "live")).to_be_visible()
    expect(part(ann, "toast")).to_have_count(0)
    part(ann, "bell").click()
    expect(part(ann, "notification")).to_contain_text(["Everybody watching: a goal", "You were outbid"])
    expect(bell(ann, 0)).to_be_attached()


def test_earlier_notices_are_shown_a_page_at_a_time(stage: Stage, visit: Visit, mesh: RunningMesh) -> None:
    actor = f"p-{uuid.uuid4().hex[:8]}"
    for n in range(45):
        stage.tell(f"Notice {n}", actor_id=actor if n % 2 else "")
    ann = visit(f"{stage.url}#token={mesh.viewer(actor)}")
    expect(bell(ann, 45)).to_be_visible()
    part(ann, "bell").click()
    expect(part(ann, "notification")).to_have_count(20)
    expect(bell(ann, 0)).to_be_attached()
    part(ann, "inbox-more").focus()
    ann.keyboard.press("Enter")
    expect(part(ann, "notification")).to_have_count(40)
    expect(part(ann, "inbox-status")).to_have_text("20 earlier ones are shown.")
    expect(part(ann, "inbox-more")).to_be_focused()
    # What comes meanwhile pushes none of them out.
    stage.tell("Notice 45")
    expect(part(ann, "notification")).to_have_count(41)
    ann.keyboard.press("Enter")
    expect(part(ann, "notification")).to_contain_text([f"Notice {n}" for n in reversed(range(46))])
    expect(part(ann, "inbox-more")).to_be_hidden()
    expect(ann.locator("#inbox-lists")).to_be_focused()
    ann.keyboard.press("Escape")
    part(ann, "bell").click()
    expect(part(ann, "notification")).to_have_count(20)


def test_the_list_is_opened_and_closed_by_keys_and_another_actor_has_another_list(
    stage: Stage, visit: Visit, mesh: RunningMesh
) -> None:
    actor = f"p-{uuid.uuid4().hex[:8]}"
    stage.tell("For you alone", actor_id=actor)
    ann = visit(stage.url)
    expect(bell(ann, 0)).to_be_visible()
    ann.evaluate("token => { location.hash = `#token=${token}` }", mesh.viewer(actor))
    expect(bell(ann, 1)).to_be_visible()
    part(ann, "bell").focus()
    ann.keyboard.press("Enter")
    expect(part(ann, "inbox")).to_be_visible()
    expect(part(ann, "inbox-close")).to_be_focused()
    ann.keyboard.press("Tab")
    expect(ann.locator("#inbox-lists")).to_be_focused()
    ann.keyboard.press("Escape")
    expect(part(ann, "inbox")).to_be_hidden()
    expect(part(ann, "bell")).to_be_focused()
