"""Findings from facts. Pure.

What several collectors may see is one finding: the first of an id and a subject.
"""

from __future__ import annotations

from collections.abc import Iterator

from mesh import limits
from mesh.jetstream import subjects
from toolbox.doctor.facts import (
    CertificateFact,
    DoctorFacts,
    MachineFacts,
    MeshFacts,
    NatsFacts,
    ProcessFact,
    RedisFacts,
)
from toolbox.doctor.findings import (
    CERTIFICATE_DAYS,
    CLOCK_S,
    SLOW_S,
    USED,
    Diagnosis,
    Severity,
    clock_finding,
    dead_letters,
    disk_findings,
    error,
    log_finding,
    slow_finding,
    warning,
)
from toolbox.doctor.metric_findings import metric_findings
from toolbox.local import machine as machine_of

FILES_MIN = 4_096
LISTEN_QUEUE_MIN = 512
MEMORY_MIN_BYTES = 1024**3
RESTARTS_MAX = 2
RESTARTS_WITHIN_S = 900.0
MESH_PORTS = (20_000, 32_000)
"""As toolbox.local.ports has them: outside of the kernel's range for outgoing connections, as a rule."""


def judge(facts: DoctorFacts) -> list[Diagnosis]:
    """Errors first, otherwise in the order of what they are about: the machine, its stores, the mesh."""
    found = [*_machine(facts.machine, mesh_runs=facts.mesh is not None)] if facts.machine else []
    for of, why in facts.problems.items():
        found.append(
            error("doctor-failed", of, f"it could not be looked at: {why}", "see whether it hangs, and again")
        )
    if facts.nats:
        found += _nats(facts.nats)
    if facts.redis:
        found += _redis(facts.redis)
    for certificate in facts.certificates:
        found += _certificate(certificate)
    if facts.mesh:
        found += _mesh(facts.mesh)
    return sorted(_once(found), key=lambda each: each.severity != Severity.ERROR)


def _once(found: list[Diagnosis]) -> list[Diagnosis]:
    """The first of each id and subject: the same is seen from several sides."""
    first: dict[tuple[str, str], Diagnosis] = {}
    for each in found:
        first.setdefault((each.id, each.subject), each)
    return list(first.values())


def _machine(machine: MachineFacts, *, mesh_runs: bool) -> Iterator[Diagnosis]:
    for each in machine.programs:
        if each.problem:
            yield error("program-missing", each.name, each.problem, "see the reason: it names the way out")
        elif each.warning:
            yield warning("nats-version", each.name, each.warning, "upgrade it")
    for port in machine.ports_taken if not mesh_runs else ():
        holder = port.holder or "somebody else's process"
        yield warning(
            "port-taken",
            str(port.port),
            f"{holder} listens on it, and up would not start",
            f"stop that, or start with {port.option} and another port",
        )
    if machine.files_max < FILES_MIN:
        yield warning(
            "open-files",
            "this machine",
            f"a process may have {machine.files_max} files and sockets open: about"
            f" {max(0, int((machine.files_max - 512) / 1.25))} viewers",
            f"raise the hard limit to {machine_of.DESCRIPTORS_WANTED}: ulimit -Hn, LimitNOFILE= of systemd",
        )
    if machine.listen_queue_max is not None and machine.listen_queue_max < LISTEN_QUEUE_MIN:
        yield warning(
            "listen-queue",
            "this machine",
            f"net.core.somaxconn is {machine.listen_queue_max}: a crowd that connects at once is dropped",
            "sysctl -w net.core.somaxconn=4096",
        )
    if machine.client_ports and machine.client_ports[0] < MESH_PORTS[1]:
        low, high = machine.client_ports
        yield warning(
            "client-ports",
            "this machine",
            f"the kernel takes ports {low} to {high} for outgoing connections, among them those of the mesh's"
            " processes: one that restarts may find its port taken",
            f'sysctl -w net.ipv4.ip_local_port_range="{MESH_PORTS[1] + 768} 60999"',
        )
    if machine.memory_bytes < MEMORY_MIN_BYTES:
        yield warning(
            "memory",
            "this machine",
            f"it has {machine.memory_bytes / 1024**2:.0f} MiB of memory; a mesh at rest takes some 600",
            "give it 1 GiB or more",
        )
    if machine.disk:
        yield from disk_findings(
            machine.disk.path, machine.disk.free_bytes, machine.disk.size_bytes, machine.disk.problem
        )


def _nats(nats: NatsFacts) -> Iterator[Diagnosis]:
    subject = "NATS"
    if nats.problem:
        yield error(
            "dependency-fails", subject, nats.problem, "start it, or see its log; docs/runbook.md tells more"
        )
        return
    if nats.warning:
        yield warning("nats-version", subject, nats.warning, "upgrade it")
    yield from _slow(subject, nats.round_trip_s)
    if nats.max_payload_bytes < limits.BLOCK_BYTES_MAX:
        yield error(
            "nats-settings",
            subject,
            f"max_payload is {nats.max_payload_bytes}, a block has up to {limits.BLOCK_BYTES_MAX} bytes",
            "set max_payload: 1MB, its default",
        )
    offset_s = nats.clock_offset_s
    if offset_s is not None and abs(offset_s) > CLOCK_S:
        yield clock_finding(subject, offset_s)
    if nats.dead_letters:
        yield dead_letters(nats.dead_letters)
    if nats.events:
        used = nats.events
        if used.max_bytes and used.used_bytes / used.max_bytes > USED:
            yield log_finding(used.used_bytes, used.max_bytes)
        if not used.is_on_disk or used.drops_old:
            what = "drops its oldest messages when it is full" if used.drops_old else "is in memory alone"
            yield error(
                "nats-settings",
                f"stream {subjects.EVENTS_STREAM}",
                f"it {what}: acked votes are lost",
                "make it as ingest does: file storage, discard new",
            )


def _redis(redis: RedisFacts) -> Iterator[Diagnosis]:
    subject = "Redis"
    if redis.problem:
        yield error(
            "dependency-fails", subject, redis.problem, "start it, or see its log; docs/runbook.md tells more"
        )
        return
    if redis.warning:
        yield warning(
            "redis-settings",
            subject,
            redis.warning,
            "set it in its configuration; until then a loss is rebuilt from the event stream",
        )
    if redis.write_problem:
        yield error("redis-writes", subject, redis.write_problem, "see its log and its disk")
    yield from _slow(subject, redis.round_trip_s)
    if redis.max_bytes and redis.used_bytes / redis.max_bytes > USED:
        yield warning(
            "redis-memory",
            subject,
            f"it uses {redis.used_bytes / redis.max_bytes:.0%} of maxmemory ({redis.max_bytes} bytes)",
            "raise maxmemory, or end and delete old games",
        )


def _slow(subject: str, round_trip_s: float | None) -> Iterator[Diagnosis]:
    if round_trip_s is not None and round_trip_s > SLOW_S:
        yield slow_finding(subject, round_trip_s)


def _certificate(certificate: CertificateFact) -> Iterator[Diagnosis]:
    days = certificate.days_left
    remedy = "renew it; up takes the new files while it runs"
    if days is None:
        yield error("certificate-unread", certificate.of, certificate.problem, "see what listens there")
    elif days < 0:
        yield error("certificate-expiring", certificate.of, f"it ended {-days:.0f} days ago", remedy)
    elif days < CERTIFICATE_DAYS:
        yield warning("certificate-expiring", certificate.of, f"it ends in {days:.0f} days", remedy)


def _mesh(mesh: MeshFacts) -> Iterator[Diagnosis]:
    for process in mesh.processes:
        yield from _process(process)
    for name, promise in mesh.promises.items():
        if isinstance(promise, dict) and promise.get("ok") is False:
            yield error(
                f"not-{name}",
                "the mesh",
                str(promise.get("reason") or "nobody says why"),
                "see the other findings, and docs/health.md",
            )
    if mesh.metrics_problem:
        yield error("metrics-away", "up", mesh.metrics_problem, "see whether the supervisor stands still")
    for instance, said in mesh.said.items():
        if said["state"] == "silent":
            yield error(
                "process-silent",
                instance,
                "its admin port does not answer within 2 s: it is frozen, or gone",
                "up restarts it after 30 s; elsewhere kill it, or see its log",
            )
        for dependency in said["dependencies"]:
            if not dependency["ok"] and dependency["name"] != "clock":
                yield error(
                    "dependency-fails",
                    f"{instance}: {dependency['name']}",
                    dependency["reason"],
                    "see that dependency and the way to it; the mesh goes on by itself once it works",
                )
    yield from metric_findings(mesh.now, mesh.before)


def _process(process: ProcessFact) -> Iterator[Diagnosis]:
    if process.state in ("failed", "backoff"):
        yield error("process-down", process.name, process.detail or process.state, "see its log")
    elif process.problem:
        yield error("process-down", process.name, process.problem, "see its log, and its disk")
    ago_s = process.restarted_ago_s
    if process.restarts > RESTARTS_MAX and ago_s is not None and ago_s < RESTARTS_WITHIN_S:
        yield warning(
            "process-restarts",
            process.name,
            f"it was restarted {process.restarts} times, the last {ago_s:.0f} s ago:"
            f" {process.restart_reason}",
            "see its log",
        )
