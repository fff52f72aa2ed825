"""Where the page's parts are found: by the hooks it keeps for tests (data-testid), never by its looks."""

from __future__ import annotations

from playwright.sync_api import Locator, Page


def part(page: Page, name: str) -> Locator:
    return page.get_by_test_id(name)


def connection(page: Page, state: str) -> Locator:
    """The connection indicator in this state."""
    return page.locator(f'[data-testid="connection"][data-state="{state}"]')


def poll(page: Page, poll_id: str = "mvp") -> Locator:
    return page.locator(f'[data-testid="poll"][data-poll-id="{poll_id}"]')


def option(page: Page, option_id: str, poll_id: str = "mvp") -> Locator:
    return poll(page, poll_id).locator(f'[data-testid="option"][data-option-id="{option_id}"]')


def own_vote(page: Page, state: str, poll_id: str = "mvp") -> Locator:
    """The words about the person's own vote, in this state."""
    return poll(page, poll_id).locator(f'[data-testid="own-vote"][data-state="{state}"]')


def reaction(page: Page, kind: str) -> Locator:
    return page.locator(f'[data-testid="reaction"][data-kind="{kind}"]')


def bell(page: Page, unread: int) -> Locator:
    """The bell that says how many notifications are unread."""
    return page.locator(f'[data-testid="bell"][data-unread="{unread}"]')
