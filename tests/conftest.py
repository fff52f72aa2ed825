"""What tests share: one mesh for each run (and for each worker of a parallel run)."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, settings

from tests.support.log_secrets import TokenWatch, leaks

# Some tests fork while others' gRPC threads live in this process; its fork handlers may hang then.
os.environ["GRPC_ENABLE_FORK_SUPPORT"] = "false"


if TYPE_CHECKING:
    from tests.support.mesh_fixture import RunningMesh

# The machine is shared: how long an example takes says nothing of the code.
settings.register_profile(
    "shared", max_examples=30, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
settings.register_profile("quick", settings.get_profile("shared"), max_examples=10)
settings.load_profile("shared")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--slow", action="store_true", help="run also what takes minutes by design")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if not config.getoption("--slow"):
        slow = [item for item in items if item.get_closest_marker("slow")]
        items[:] = [item for item in items if item not in slow]
        config.hook.pytest_deselected(items=slow)


_TOKENS = TokenWatch()


def pytest_sessionstart() -> None:
    logging.getLogger().addHandler(_TOKENS)


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any) -> None:
    """What a worker of a parallel run found in its own lines."""
    _TOKENS.found += getattr(node, "workeroutput", {}).get("logged_tokens", [])


def pytest_sessionfinish(session: pytest.Session) -> None:
    """No log of the whole run holds a token, a password or a key."""
    config: Any = session.config
    if hasattr(config, "workeroutput"):
        config.workeroutput["logged_tokens"] = _TOKENS.found
        return
    if found := [*_TOKENS.found, *leaks(config._tmp_path_factory.getbasetemp())]:
        session.exitstatus = pytest.ExitCode.TESTS_FAILED
        for each in found:
            print(f"\nERROR a secret is logged: {each}")


@pytest.fixture(scope="session")
def mesh(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningMesh]:
    """A mesh of two ingests and two gateways, shared by all tests that leave its processes alone."""
    # Not above: .ci/cores runs tests where what a mesh needs is not installed.
    from tests.support.mesh_fixture import running

    home = tmp_path_factory.mktemp("mesh") / "a home with spaces"
    with running(home, "--ingest", "2", "--gateway", "2") as started:
        yield started
