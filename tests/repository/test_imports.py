"""tests, bench -> services -> mesh -> generated stubs; cores import no I/O."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

from toolbox.local.provision import checkout

ROOT = checkout()
SERVICES = ("gateway", "ingest", "aggregate", "notify")
CORES = (
    "toolbox/chaos/entries.py",
    "toolbox/chaos/monotone.py",
    "toolbox/chaos/report.py",
    "toolbox/chaos/scene.py",
    "toolbox/chaos/stalls.py",
    "toolbox/chaos/checker.py",
    "mesh/auth/claims.py",
    "mesh/auth/identity.py",
    "mesh/auth/keys.py",
    "mesh/auth/mint.py",
    "mesh/auth/renewed.py",
    "mesh/auth/strict_json.py",
    "mesh/auth/verifier.py",
    "clients/python/grandstand/client/attempts.py",
    "clients/python/grandstand/client/buffer.py",
    "clients/python/grandstand/client/stream_state.py",
    "clients/python/grandstand/client/write_buffer.py",
    "clients/python/grandstand/client/session.py",
    "clients/python/grandstand/wire/errors.py",
    "mesh/http2/bounds.py",
    "mesh/http2/budget.py",
    "mesh/http2/call.py",
    "mesh/http2/calls.py",
    "mesh/http2/connection.py",
    "mesh/http2/termination_counts.py",
    "mesh/http2/errors.py",
    "mesh/http2/frames.py",
    "mesh/http2/details.py",
    "mesh/http2/field_blocks.py",
    "mesh/http2/header_blocks.py",
    "mesh/http2/headers.py",
    "mesh/http2/health.py",
    "mesh/http2/messages.py",
    "mesh/http2/write_buffer.py",
    "mesh/http2/receive_half.py",
    "mesh/http2/resets.py",
    "mesh/http2/broadcast_group.py",
    "mesh/http2/send_buffer.py",
    "mesh/http2/settings.py",
    "mesh/http2/stream.py",
    "mesh/http2/stream_host.py",
    "mesh/http2/unary.py",
    "mesh/http2/keepalive.py",
    "clients/python/grandstand/wire/ids.py",
    "mesh/jetstream/in_flight.py",
    "mesh/redis/layout.py",
    "mesh/limits.py",
    "clients/python/grandstand/fold.py",
    "clients/python/grandstand/wire/delta/board.py",
    "clients/python/grandstand/wire/delta/cursor.py",
    "clients/python/grandstand/wire/delta/mismatch.py",
    "clients/python/grandstand/wire/delta/pulse.py",
    "clients/python/grandstand/wire/delta/tally.py",
    "clients/python/grandstand/wire/delta/topic.py",
    "mesh/merge/topic.py",
    "mesh/merge/tally.py",
    "mesh/merge/board.py",
    "mesh/merge/pulse.py",
    "mesh/merge/audience.py",
    "mesh/merge/metric.py",
    "mesh/merge/custom.py",
    "mesh/seasons.py",
    "mesh/jetstream/acks.py",
    "mesh/jetstream/subjects.py",
    "clients/python/grandstand/wire/topics.py",
    "ingest/admission.py",
    "ingest/check.py",
    "ingest/coalesce.py",
    "ingest/intake.py",
    "ingest/pressure.py",
    "ingest/compiled_definitions.py",
    "ingest/session.py",
    "ingest/republish.py",
    "aggregate/assignment.py",
    "aggregate/membership.py",
    "aggregate/deadlines.py",
    "aggregate/audience.py",
    "aggregate/board.py",
    "aggregate/block.py",
    "aggregate/fold.py",
    "aggregate/definition_merge.py",
    "aggregate/keyindex.py",
    "aggregate/origins.py",
    "aggregate/partition.py",
    "aggregate/changes.py",
    "aggregate/rows.py",
    "aggregate/topics.py",
    "aggregate/leaders.py",
    "aggregate/standings.py",
    "aggregate/cardinality.py",
    "aggregate/closing.py",
    "aggregate/custom.py",
    "aggregate/definitions.py",
    "aggregate/metric.py",
    "aggregate/pulse.py",
    "aggregate/tally.py",
    "aggregate/window.py",
    "gateway/cohort.py",
    "gateway/viewer_limits.py",
    "gateway/frames.py",
    "gateway/guests.py",
    "gateway/overload.py",
    "gateway/inbox_plan.py",
    "gateway/drain_plan.py",
    "gateway/origins.py",
    "gateway/own_inbox.py",
    "gateway/own_standing.py",
    "gateway/personal_mailbox.py",
    "gateway/presence.py",
    "gateway/standing_plan.py",
    "gateway/subscription.py",
    "gateway/view.py",
    "notify/announcer.py",
    "notify/inbox.py",
)
IO = {"asyncio", "grpc", "nats", "redis", "socket", "time", "random"}


def imported(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            yield node.module or ""


def roots(path: Path) -> set[str]:
    return {name.partition(".")[0] for name in imported(path)}


@pytest.mark.parametrize("service", SERVICES)
def test_services_never_import_each_other(service: str) -> None:
    for path in (ROOT / service).rglob("*.py"):
        assert not roots(path) & (set(SERVICES) - {service} | {"bench", "tests"}), path


def test_mesh_never_imports_a_service() -> None:
    for path in (ROOT / "mesh").rglob("*.py"):
        assert not roots(path) & {*SERVICES, "bench", "tests"}, path


@pytest.mark.parametrize("core", CORES)
def test_cores_do_no_io(core: str) -> None:
    assert not roots(ROOT / core) & IO
