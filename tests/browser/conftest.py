"""A real headless Chromium, and people in it: each has a browser context, so a name, of their own.

Whatever a test does, its pages must log no error and ask no other server for anything; both are
checked when the test ends.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any, Protocol
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import Browser, ConsoleMessage, Page, Request

from tests.browser.chromium import PATIENCE_MS, chromium
from tests.browser.stage import Stage, new_stage
from tests.support.mesh_fixture import RunningMesh


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """For one module: while it lives, no other test could run an event loop of its own."""
    with chromium() as browser:
        yield browser


@pytest.fixture
def stage(mesh: RunningMesh) -> Iterator[Stage]:
    """A game of this test's own on the shared mesh."""
    with new_stage(mesh.edge_url, mesh.edge, mesh.mesh) as stage:
        yield stage


class Visit(Protocol):
    def __call__(self, url: str, *, may_lose_connection: bool = False, **options: Any) -> Page: ...


@pytest.fixture
def visit(browser: Browser) -> Iterator[Visit]:
    """Opens a page as a new person: `visit(url)`; context options (viewport, color_scheme) by name.

    `may_lose_connection=True` forgives the browser's own words for a request that failed.
    """
    complaints: list[str] = []
    with ExitStack() as contexts:

        def open_page(url: str, *, may_lose_connection: bool = False, **options: Any) -> Page:
            context = browser.new_context(**options)
            contexts.callback(context.close)
            context.set_default_timeout(PATIENCE_MS)
            page = context.new_page()
            own = urlsplit(url).netloc

            def on_console(message: ConsoleMessage) -> None:
                lost = may_lose_connection and "Failed to load resource" in message.text
                if message.type in ("error", "warning") and not lost:
                    complaints.append(f"console {message.type}: {message.text}")

            def on_request(request: Request) -> None:
                if urlsplit(request.url).netloc != own:
                    complaints.append(f"asked another server: {request.url}")

            page.on("console", on_console)
            page.on("pageerror", lambda error: complaints.append(f"error: {error}"))
            page.on("request", on_request)
            page.goto(url)
            return page

        yield open_page
    assert complaints == []
