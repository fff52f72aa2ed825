"""What doctor makes of facts: nothing of good ones, and of each bad one its finding."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from toolbox.doctor.facts import (
    CertificateFact,
    DiskFact,
    DoctorFacts,
    MachineFacts,
    MeshFacts,
    NatsFacts,
    PortFact,
    ProcessFact,
    ProgramFact,
    RedisFacts,
    Sample,
    StreamFact,
)
from toolbox.doctor.judge import judge

MIB = 1024**2
MACHINE = MachineFacts(
    programs=(ProgramFact("nats-server", "2.15.1"),),
    ports_taken=(),
    files_max=20_000,
    listen_queue_max=4_096,
    client_ports=(32_768, 60_999),
    memory_bytes=2 * 1024**3,
    disk=DiskFact("/home", 50 * MIB, 100 * MIB),
)
EVENTS = StreamFact(used_bytes=700, max_bytes=1_000, replicas=1, is_on_disk=True, drops_old=False)
NATS = NatsFacts(
    "nats://n:4222",
    "2.15.1",
    round_trip_s=0.01,
    max_payload_bytes=MIB,
    clock_offset_s=0.1,
    events=EVENTS,
)
REDIS = RedisFacts("redis://r:6379", round_trip_s=0.01, used_bytes=10, max_bytes=100)
PROCESS = ProcessFact("ingest-1", "ready", "", "", 0, None, "")
WELL: dict[str, Any] = {"ok": True, "reason": ""}
INGEST_1 = {"service": "ingest", "instance": "ingest-1"}
GATEWAY_1 = {"service": "gateway", "instance": "gateway-1"}


def samples(**values: float) -> tuple[Sample, ...]:
    """Of a mesh that is well, but for these values by the names of metrics without grandstand_."""
    usual = {
        "ingest_event_log_used_bytes": 700.0,
        "ingest_event_log_max_bytes": 1_000.0,
        "ingest_disk_free_bytes": 50.0 * MIB,
        "ingest_disk_size_bytes": 100.0 * MIB,
        "ingest_pressure_ratio": 0.5,
        "clock_offset_seconds": -0.5,
        "aggregate_partition_lag_seconds": 4.0,
        "aggregate_partitions_owned": 16.0,
        "aggregate_dead_letters_total": 0.0,
        "gateway_overload_level": 3.0,
        "dependency_round_trip_seconds_sum": 100.0,
        "dependency_round_trip_seconds_count": 10.0,
    }
    assert values.keys() <= usual.keys() | {"process_open_fds"}
    found = [
        Sample(f"grandstand_{name}", {**INGEST_1, "partition": "3", "dependency": "Redis"}, value)
        for name, value in {**usual, **values}.items()
    ]
    files = (("process_open_fds", values.get("process_open_fds", 10.0)), ("process_max_fds", 100.0))
    return (*found, *(Sample(name, GATEWAY_1, value) for name, value in files))


def mesh(**values: float) -> MeshFacts:
    before = samples(dependency_round_trip_seconds_sum=99.0, dependency_round_trip_seconds_count=0.0)
    return MeshFacts(
        "ready",
        (PROCESS,),
        {"stored": WELL, "folded": WELL, "shown": WELL},
        {"ingest-1": {"state": "serving", "dependencies": [{"name": "disk", "ok": True, "reason": ""}]}},
        now=samples(**values),
        before=before,
    )


GOOD = DoctorFacts(MACHINE, NATS, REDIS, (CertificateFact("the edge", 20.0),), mesh())


def test_of_what_is_well_it_says_nothing_with_or_without_a_mesh() -> None:
    assert judge(GOOD) == []
    assert judge(DoctorFacts(MACHINE)) == []
    assert judge(replace(GOOD, nats=None, redis=None, mesh=None)) == []


def machine(**changes: Any) -> DoctorFacts:
    return replace(GOOD, machine=replace(MACHINE, **changes), mesh=None)


def nats(**changes: Any) -> DoctorFacts:
    return replace(GOOD, nats=replace(NATS, **changes))


def redis(**changes: Any) -> DoctorFacts:
    return replace(GOOD, redis=replace(REDIS, **changes))


def process(**changes: Any) -> DoctorFacts:
    return replace(GOOD, mesh=replace(mesh(), processes=(replace(PROCESS, **changes),)))


def said(**answer: Any) -> DoctorFacts:
    return replace(GOOD, mesh=replace(mesh(), said={"ingest-1": answer}))


def measured(**values: float) -> DoctorFacts:
    return replace(GOOD, mesh=mesh(**values))


CASES: dict[str, tuple[DoctorFacts, str, str, str]] = {
    # name: (facts, id, severity, words of the reason)
    "no program": (
        machine(programs=(ProgramFact("envoy", problem="not there"),)),
        *("program-missing", "error", "not there"),
    ),
    "an old nats-server": (
        machine(programs=(ProgramFact("nats-server", "2.10.0", warning="supported are"),)),
        *("nats-version", "warning", "supported are"),
    ),
    "a port that is taken": (
        machine(ports_taken=(PortFact(8080, "--port", "nginx (pid 1)"),)),
        *("port-taken", "warning", "nginx (pid 1) listens on it"),
    ),
    "few files": (machine(files_max=1_024), "open-files", "warning", "about 409 viewers"),
    "no files": (machine(files_max=256), "open-files", "warning", "about 0 viewers"),
    "a short queue": (machine(listen_queue_max=128), "listen-queue", "warning", "somaxconn is 128"),
    "ports of clients": (machine(client_ports=(1_024, 65_535)), "client-ports", "warning", "1024 to 65535"),
    "little memory": (machine(memory_bytes=512 * MIB), "memory", "warning", "512 MiB"),
    "a disk that fills": (
        machine(disk=DiskFact("/home", 9 * MIB, 100 * MIB)),
        *("disk-filling", "warning", "9 MiB are free of 100"),
    ),
    "a disk that is full": (
        machine(disk=DiskFact("/home", 0, 100 * MIB, "disk full: 0.0 MB")),
        *("disk-full", "error", "disk full: 0.0 MB"),
    ),
    "NATS away": (nats(problem="connection refused"), "dependency-fails", "error", "connection refused"),
    "NATS slow": (nats(round_trip_s=0.3), "dependency-slow", "warning", "0.30 s"),
    "NATS old": (nats(warning="is version 2.10.0"), "nats-version", "warning", "2.10.0"),
    "NATS takes no block": (nats(max_payload_bytes=1_000), "nats-settings", "error", "max_payload is 1000"),
    "NATS's clock": (nats(clock_offset_s=-3.0), "clock-off", "error", "3.0 s apart"),
    "letters": (nats(dead_letters=2), "dead-letters", "warning", "2 blocks"),
    "a full log": (
        nats(events=replace(EVENTS, used_bytes=860)),
        *("event-log-nearly-full", "error", "86%"),
    ),
    "a log in memory": (
        nats(events=replace(EVENTS, is_on_disk=False)),
        *("nats-settings", "error", "in memory alone"),
    ),
    "a log that forgets": (
        nats(events=replace(EVENTS, drops_old=True)),
        *("nats-settings", "error", "drops its oldest"),
    ),
    "Redis away": (redis(problem="NOAUTH"), "dependency-fails", "error", "NOAUTH"),
    "Redis evicts": (redis(warning="evicts keys"), "redis-settings", "warning", "evicts keys"),
    "Redis cannot write": (redis(write_problem="aof"), "redis-writes", "error", "aof"),
    "Redis slow": (redis(round_trip_s=0.3), "dependency-slow", "warning", "0.30 s"),
    "Redis nearly full": (redis(used_bytes=90), "redis-memory", "warning", "90% of maxmemory"),
    "a certificate that ends": (
        replace(GOOD, certificates=(CertificateFact("the edge", 13.6),)),
        *("certificate-expiring", "warning", "in 14 days"),
    ),
    "one that has ended": (
        replace(GOOD, certificates=(CertificateFact("the edge", -2.0),)),
        *("certificate-expiring", "error", "2 days ago"),
    ),
    "no handshake": (
        replace(GOOD, certificates=(CertificateFact("the edge", None, "refused"),)),
        *("certificate-unread", "error", "refused"),
    ),
    "a process that ended": (process(state="backoff", detail="exit 1"), "process-down", "error", "exit 1"),
    "one that does no work": (process(problem="disk full"), "process-down", "error", "disk full"),
    "one that restarts": (
        process(restarts=3, restarted_ago_s=10.0, restart_reason="killed"),
        *("process-restarts", "warning", "3 times"),
    ),
    "one that is silent": (said(state="silent", dependencies=[]), "process-silent", "error", "2 s"),
    "a dependency": (
        said(state="serving", dependencies=[{"name": "disk", "ok": False, "reason": "no room"}]),
        *("dependency-fails", "error", "no room"),
    ),
    "a promise": (
        replace(GOOD, mesh=replace(mesh(), promises={"folded": {"ok": False, "reason": "why"}})),
        *("not-folded", "error", "why"),
    ),
    "no metrics": (
        replace(GOOD, mesh=replace(mesh(), metrics_problem="silent", now=(), before=())),
        *("metrics-away", "error", "silent"),
    ),
    "lag": (measured(aggregate_partition_lag_seconds=5.1), "folding-lags", "error", "5.1 s behind"),
    "no owner": (measured(aggregate_partitions_owned=15), "partitions-unowned", "error", "15 of 16"),
    "pressure": (measured(ingest_pressure_ratio=0.8), "overloaded", "warning", "80%"),
    "overload": (measured(gateway_overload_level=4), "overloaded", "warning", "4 of 10"),
    "its disk": (measured(ingest_disk_free_bytes=9.0 * MIB), "disk-filling", "warning", "9 MiB"),
    "its log": (measured(ingest_event_log_used_bytes=860), "event-log-nearly-full", "error", "86%"),
    "its clock": (measured(clock_offset_seconds=-1.1), "clock-off", "error", "1.1 s apart"),
    "its files": (measured(process_open_fds=86), "files-used-up", "warning", "86 of 100"),
    "its letters": (measured(aggregate_dead_letters_total=1), "dead-letters", "warning", "1 blocks"),
    "its Redis": (
        measured(dependency_round_trip_seconds_sum=104.0),
        *("dependency-slow", "warning", "0.50 s"),
    ),
    "a collector that hung": (
        replace(GOOD, nats=None, problems={"nats": "it took longer than 12 s"}),
        *("doctor-failed", "error", "longer than 12 s"),
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_each_fault_is_one_finding_with_its_reason_and_a_remedy(name: str) -> None:
    facts, id_, severity, words = CASES[name]
    (found,) = judge(facts)
    assert (found.id, found.severity) == (id_, severity)
    assert words in found.reason
    assert found.subject
    assert found.remedy


def test_ports_of_a_mesh_that_runs_are_its_own() -> None:
    taken = replace(MACHINE, ports_taken=(PortFact(8080, "--port", "envoy (pid 7)"),))
    assert judge(replace(GOOD, machine=taken)) == []


def test_errors_come_first_and_what_several_see_is_said_once() -> None:
    facts = replace(
        measured(aggregate_dead_letters_total=1, gateway_overload_level=4, aggregate_partitions_owned=0),
        nats=replace(NATS, dead_letters=3),
    )
    assert [each.id for each in judge(facts)] == ["partitions-unowned", "dead-letters", "overloaded"]
