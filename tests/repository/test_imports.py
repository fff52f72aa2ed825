"""Who may import whom, stated once; no cycle of imports; and pure cores are pure, whatever they import.

    toolbox.cli -> toolbox.chaos -> toolbox.local, toolbox.load -> grandstand.client
    toolbox.local -> mesh
    services -> mesh, grandstand.client
    mesh, grandstand.client, grandstand.fold -> grandstand.wire -> generated stubs

An arrow reaches on: who may import a package may import what that one may. bench and tests import anything.
"""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

from toolbox.local.provision import checkout

ROOT = checkout()
ROOTS = (ROOT, ROOT / "clients" / "python")
SERVICES = ("gateway", "ingest", "aggregate", "notify")
IMPORTS: dict[str, tuple[str, ...]] = {
    "grandstand.wire": (),
    "grandstand.client": ("grandstand.wire",),
    "grandstand.fold": ("grandstand.wire",),
    "mesh": ("grandstand.wire", "grandstand.fold"),
    **dict.fromkeys(SERVICES, ("mesh", "grandstand.client")),
    "toolbox.load": ("grandstand.client",),
    "toolbox.local": ("mesh", "grandstand.client"),
    "toolbox.chaos": ("toolbox.local", "toolbox.load"),
    "toolbox.cli": ("toolbox.chaos",),
    "bench": (*SERVICES, "toolbox.cli"),
    "tools": ("toolbox.cli",),
}
CORES = (
    "aggregate.assignment",
    "aggregate.audience",
    "aggregate.audit",
    "aggregate.binding",
    "aggregate.block",
    "aggregate.board",
    "aggregate.cardinality",
    "aggregate.changes",
    "aggregate.closing",
    "aggregate.control_handler",
    "aggregate.custom",
    "aggregate.deadlines",
    "aggregate.definition_merge",
    "aggregate.definitions",
    "aggregate.encoded_partials",
    "aggregate.fold",
    "aggregate.fold_counts",
    "aggregate.keyindex",
    "aggregate.leaders",
    "aggregate.lists",
    "aggregate.manifest",
    "aggregate.page_tokens",
    "aggregate.membership",
    "aggregate.metric",
    "aggregate.origins",
    "aggregate.partition",
    "mesh.jetstream.pull_status",
    "aggregate.pulse",
    "aggregate.results_messages",
    "aggregate.rows",
    "aggregate.rules",
    "aggregate.standings",
    "aggregate.superseded",
    "aggregate.tally",
    "aggregate.topic_table",
    "aggregate.topics",
    "aggregate.waiting_reads",
    "aggregate.watermark",
    "aggregate.window",
    "gateway.cohort",
    "gateway.drain_plan",
    "gateway.frame_counts",
    "gateway.frames",
    "gateway.guest_limits",
    "gateway.guests",
    "gateway.change_times",
    "gateway.game_notices",
    "gateway.inbox_plan",
    "gateway.inbox_view",
    "gateway.known_notices",
    "gateway.origins",
    "gateway.overload",
    "gateway.own_inbox",
    "gateway.own_standing",
    "gateway.personal_mailbox",
    "gateway.presence",
    "gateway.snapshot_topics",
    "gateway.standing_plan",
    "gateway.subscription",
    "gateway.tick_wheel",
    "grandstand.client.attempts",
    "grandstand.client.buffer",
    "grandstand.client.session",
    "grandstand.client.state_cache",
    "grandstand.client.stream_handover",
    "grandstand.client.stream_state",
    "grandstand.fold",
    "grandstand.wire.actors",
    "grandstand.wire.bounds",
    "grandstand.wire.delta.board",
    "grandstand.wire.delta.cursor",
    "grandstand.wire.delta.mismatch",
    "grandstand.wire.delta.pulse",
    "grandstand.wire.delta.tally",
    "grandstand.wire.delta.topic",
    "grandstand.wire.errors",
    "grandstand.wire.ids",
    "grandstand.wire.names",
    "grandstand.wire.topics",
    "ingest.admission",
    "ingest.buckets",
    "ingest.check",
    "ingest.coalesce",
    "ingest.compiled_definitions",
    "ingest.intake",
    "ingest.pressure",
    "ingest.recent_refusals",
    "ingest.republish",
    "ingest.session",
    "mesh.addresses",
    "mesh.auth.access",
    "mesh.auth.audit",
    "mesh.auth.claims",
    "mesh.auth.identity",
    "mesh.auth.keys",
    "mesh.auth.mint",
    "mesh.auth.renewed",
    "mesh.auth.revocations",
    "mesh.auth.strict_json",
    "mesh.auth.token_streams",
    "mesh.auth.verifier",
    "mesh.catalog.freshness",
    "mesh.catalog.markers",
    "mesh.catalog.mesh_clock",
    "mesh.catalog.view",
    "mesh.recently_used",
    "mesh.explain.question",
    "mesh.explain.story",
    "mesh.health.board",
    "mesh.health.check",
    "mesh.health.clock",
    "mesh.health.readiness",
    "mesh.http2.bounds",
    "mesh.http2.broadcast_group",
    "mesh.http2.budget",
    "mesh.http2.call",
    "mesh.http2.calls",
    "mesh.http2.connection",
    "mesh.http2.details",
    "mesh.http2.errors",
    "mesh.http2.few_members",
    "mesh.http2.field_blocks",
    "mesh.http2.frames",
    "mesh.http2.header_blocks",
    "mesh.http2.headers",
    "mesh.http2.health",
    "mesh.http2.keepalive",
    "mesh.http2.many_members",
    "mesh.http2.members",
    "mesh.http2.messages",
    "mesh.http2.receive_half",
    "mesh.http2.resets",
    "mesh.http2.send_buffer",
    "mesh.http2.settings",
    "mesh.http2.stream",
    "mesh.http2.stream_host",
    "mesh.http2.termination_counts",
    "mesh.http2.unary",
    "mesh.http2.write_buffer",
    "mesh.jetstream.acks",
    "mesh.jetstream.in_flight",
    "mesh.jetstream.subjects",
    "mesh.limits",
    "mesh.merge.audience",
    "mesh.merge.board",
    "mesh.merge.custom",
    "mesh.merge.metric",
    "mesh.merge.pulse",
    "mesh.merge.tally",
    "mesh.merge.topic",
    "mesh.recount.blocks",
    "mesh.recount.partition",
    "mesh.recount.restored",
    "mesh.recount.scores",
    "mesh.recount.votes",
    "mesh.recount.windows",
    "mesh.metrics.declarations",
    "mesh.metrics.histogram",
    "mesh.metrics.hottest",
    "mesh.metrics.rpc_counts",
    "mesh.notices.bounds",
    "mesh.notices.checks",
    "mesh.notices.crowds",
    "mesh.notices.inbox",
    "mesh.notices.quiet_hours",
    "mesh.notices.read_marks",
    "mesh.notices.stored",
    "mesh.notices.time_zones",
    "mesh.redis.address",
    "mesh.redis.failover",
    "mesh.redis.layout",
    "mesh.redis.ranking",
    "mesh.redis.share",
    "mesh.results_feed.partition_results",
    "mesh.results_feed.plain_tally",
    "mesh.results_feed.shown",
    "mesh.results_feed.view",
    "mesh.wire_format",
    "mesh.pseudonyms",
    "mesh.rule_kinds",
    "mesh.seasons",
    "mesh.stream_limits",
    "notify.announcer",
    "notify.floors",
    "notify.game_rules",
    "notify.rules.audience_peak",
    "notify.rules.closing_in",
    "notify.rules.match",
    "notify.rules.game_ended",
    "notify.rules.kinds",
    "notify.rules.lead_changed",
    "notify.rules.notice",
    "notify.rules.opened",
    "notify.rules.rank_taken",
    "notify.rules.rate_spike",
    "notify.rules.results",
    "notify.rules.sealed",
    "notify.rules.season_closed",
    "notify.rules.state",
    "notify.rules.threshold",
    "notify.agenda",
    "notify.cursors",
    "notify.orders",
    "notify.schedule",
    "notify.purging",
    "notify.routing",
    "notify.instances",
    "toolbox.chaos.calm",
    "toolbox.chaos.checker",
    "toolbox.chaos.entries",
    "toolbox.chaos.gray",
    "toolbox.chaos.monotone",
    "toolbox.chaos.nats_times",
    "toolbox.chaos.report",
    "toolbox.chaos.scene",
    "toolbox.chaos.stalls",
    "toolbox.chaos.strike",
    "toolbox.local.lifecycle",
)
IO = ("asyncio", "grpc", "nats", "redis")


@cache
def modules() -> dict[str, Path]:
    """Every module that is ours, by its dotted name."""
    found = {}
    for root in ROOTS:
        for package in (*IMPORTS, "tests"):
            for path in (root / package.replace(".", "/")).rglob("*.py"):
                name = ".".join(path.relative_to(root).with_suffix("").parts)
                found[name.removesuffix(".__init__")] = path
    return found


def imported(path: Path) -> Iterator[str]:
    """What of ours a file imports, wherever in it."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.module, f"{path}: relative import"
            assert node.level == 0, f"{path}: relative import"
            names = [f"{node.module}.{alias.name}" for alias in node.names]
            names = [name if name in modules() else node.module for name in names]
        else:
            continue
        yield from (name for name in names if name in modules())


def package_of(module: str) -> str:
    return next(p for p in (*IMPORTS, "tests") if module == p or module.startswith(f"{p}."))


def reach(package: str) -> set[str]:
    below = set(IMPORTS[package])
    return below.union(*(reach(each) for each in below)) | {package}


@pytest.mark.parametrize("package", IMPORTS)
def test_imports_go_the_stated_way_only(package: str) -> None:
    allowed = reach(package)
    wrong = [
        f"{module} imports {target}"
        for module, path in modules().items()
        if package_of(module) == package
        for target in imported(path)
        if package_of(target) not in allowed
    ]
    assert not wrong


def test_no_files_import_each_other_in_a_circle() -> None:
    graph = {
        module: set(imported(path)) - {module}
        for module, path in modules().items()
        if package_of(module) != "tests"
    }
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        pytest.fail(" -> ".join(error.args[1]))


def test_cores_load_no_io_through_whatever_they_import() -> None:
    """In one process, core after core: the first that loads one is named."""
    program = (
        "import importlib, sys\n"
        "io, cores = sys.argv[1].split(','), sys.argv[2:]\n"
        "for core in cores:\n"
        "    importlib.import_module(core)\n"
        "    found = [name for name in io if name in sys.modules]\n"
        "    if found: sys.exit(f'{core} loads {found}')\n"
    )
    ended = subprocess.run(
        [sys.executable, "-c", program, ",".join(IO), *CORES], cwd=ROOT, capture_output=True, text=True
    )
    assert (ended.returncode, ended.stderr) == (0, "")


def test_each_core_is_there() -> None:
    assert set(CORES) <= set(modules())
