"""Tests on the oldest and the newest nats-server: `pytestmark = EACH_NATS`, or `@on_each_nats` on one test.

Both need the fixture `nats_version` imported beside them. Servers must be started by the test or by fixtures
of function scope.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from toolbox.local import provision

OLDEST, NEWEST = "oldest", "newest"


@pytest.fixture
def nats_version(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """The newest is what `up` would run: the wheel's, or what NATS_SERVER names."""
    if request.param == OLDEST:
        monkeypatch.setenv("NATS_SERVER", str(provision.nats_server_oldest()))
    return str(request.param)


EACH_NATS = [
    pytest.mark.usefixtures("nats_version"),
    pytest.mark.parametrize("nats_version", [OLDEST, NEWEST], indirect=True),
]


def on_each_nats(test: Callable[..., Any]) -> Callable[..., Any]:
    for mark in EACH_NATS:
        test = mark(test)
    return test
