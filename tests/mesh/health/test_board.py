"""What a gateway says of the mesh, by what it hears and what it no longer hears."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from grandstand.aggregate.v1.aggregate_pb2 import PartitionStatus
from grandstand.internal.v1.internal_pb2 import HealthCheck, HealthReport
from mesh.health import board as rules
from mesh.health.board import HealthBoard, MeshHealth

PARTITIONS = 4
WALL_S = 1_800_000_000.0
TURN_S = 0.25


def report(instance: str, **failing: str) -> HealthReport:
    checks = [HealthCheck(name=name, reason=reason) for name, reason in failing.items()]
    checks.append(HealthCheck(name="another", ok=True))
    return HealthReport(service=instance.partition("-")[0], instance=instance, checks=checks)


class Mesh:
    """Who talks, turn after turn, to one board."""

    def __init__(self) -> None:
        self.now_s = 100.0
        self.board = HealthBoard(self.now_s, PARTITIONS)
        self.failing: dict[str, dict[str, str]] = {
            name: {} for name in ("ingest-1", "aggregate-1", "gateway-1")
        }
        self.partitions = {
            index: PartitionStatus(partition=index, owner="aggregate-1", applied=1)
            for index in range(PARTITIONS)
        }

    def turn(self, deaf: str = "") -> MeshHealth:
        self.now_s += TURN_S
        for instance, failing in self.failing.items():
            self.board.hear(report(instance, **failing), self.now_s)
        for status in self.partitions.values():
            self.board.hear_partition(status, self.now_s)
        return self.board.judge(self.now_s, WALL_S + self.now_s, deaf)

    def turns(self, seconds: float) -> MeshHealth:
        for _ in range(round(seconds / TURN_S)):
            found = self.turn()
        return found


def test_all_is_well_once_all_were_heard_and_not_before() -> None:
    mesh = Mesh()
    before = mesh.board.judge(mesh.now_s, WALL_S)
    assert before.settling
    assert not before.ok
    assert before.stored.reason == "no ingest was heard"
    assert before.folded.reason == "4 of 4 partitions without an owner"
    assert mesh.turn().ok
    after = mesh.turns(4.0)
    assert after.ok
    assert not after.settling
    assert after.as_json()["stored"] == {"ok": True, "reason": "", "since": None}


def test_a_frozen_aggregate_is_named_and_the_other_promises_hold() -> None:
    mesh = Mesh()
    mesh.turns(4.0)
    del mesh.failing["aggregate-1"]
    mesh.partitions.clear()
    assert mesh.turns(4.0).ok
    found = mesh.turns(0.5)
    assert found.folded.reason == "aggregate-1 was not heard for 4 s; 4 of 4 partitions without an owner"
    assert found.folded.since_s is not None
    assert (found.stored.ok, found.shown.ok) == (True, True)


def test_a_failing_ingest_breaks_the_promise_beside_a_good_one_and_a_silent_one_does_not() -> None:
    mesh = Mesh()
    mesh.failing["ingest-2"] = {"event log": "insufficient resources"}
    found = mesh.turn()
    assert found.stored.reason == "ingest-2: event log: insufficient resources"
    del mesh.failing["ingest-2"]
    assert not mesh.turns(4.0).ok
    assert mesh.turn().ok
    del mesh.failing["ingest-1"]
    found = mesh.turns(5.0)
    assert "ingest-1 was not heard for 5 s" in found.stored.reason
    assert "ingest-2 was not heard for" in found.stored.reason
    assert mesh.turns(rules.FORGOTTEN_S).stored.reason == "no ingest was heard"


def test_a_partition_with_a_problem_without_an_owner_or_without_progress_is_named() -> None:
    mesh = Mesh()
    mesh.partitions[1].problem = "READONLY You can't write against a read only replica."
    mesh.partitions[2].owner = ""
    mesh.partitions[3].lag_blocks = 7
    found = mesh.turns(6.0)
    assert found.folded.reason == (
        "partition 2 without an owner"
        "; partition 1: READONLY You can't write against a read only replica."
        "; partition 3: 7 blocks wait, and none was folded for 6 s"
    )
    mesh.partitions[3].applied += 1
    assert "partition 3" not in mesh.turn().folded.reason
    mesh.partitions[3].applied += 1
    mesh.partitions[3].lag_ms = 12_300
    assert "partition 3: the fold is 12 s behind, more than 10 s" in mesh.turn().folded.reason


def test_a_gateway_that_hears_nobody_can_say_nothing() -> None:
    mesh = Mesh()
    found = mesh.turn("gateway-1: NATS: did not answer for 4 s")
    reasons = {found.stored.reason, found.folded.reason, found.shown.reason}
    assert reasons == {"gateway-1: NATS: did not answer for 4 s"}


def test_what_was_not_heard_while_this_process_stood_still_is_nobodys_silence() -> None:
    mesh = Mesh()
    mesh.turns(4.0)
    mesh.now_s += 60.0
    assert mesh.board.judge(mesh.now_s, WALL_S).ok
    mesh.now_s += 1.0
    assert mesh.board.judge(mesh.now_s, WALL_S).ok


def test_since_stands_while_it_fails_whatever_the_reason_and_through_a_short_success() -> None:
    mesh = Mesh()
    mesh.turns(10.0)
    mesh.failing["gateway-1"] = {"Redis": "LOADING"}
    since_s = mesh.turn().shown.since_s
    mesh.failing["gateway-1"] = {"Redis": "did not answer for 4 s"}
    assert mesh.turns(2.0).shown.since_s == since_s
    mesh.failing["gateway-1"] = {}
    assert mesh.turns(2.0).shown.since_s is None
    mesh.failing["gateway-1"] = {"Redis": "LOADING"}
    assert mesh.turn().shown.since_s == since_s
    mesh.failing["gateway-1"] = {}
    mesh.turns(rules.SETTLED_S + 1)
    mesh.failing["gateway-1"] = {"Redis": "LOADING"}
    assert (mesh.turn().shown.since_s or 0.0) > (since_s or 0.0)


def test_it_holds_no_more_processes_than_the_bound_and_forgets_the_longest_silent() -> None:
    board = HealthBoard(0.0, PARTITIONS)
    for number in range(rules.PROCESSES_MAX + 10):
        board.hear(report(f"gateway-{number}", Redis="away"), number * 1e-4)
    found = board.judge(1.0, WALL_S)
    assert f"and {rules.PROCESSES_MAX - rules.NAMED_MAX} more" in found.shown.reason
    assert "gateway-0:" not in found.shown.reason


@given(
    st.dictionaries(st.sampled_from(["ingest-1", "ingest-2", "gateway-1", "notify-1"]), st.booleans()),
    st.sets(st.integers(0, PARTITIONS - 1)),
    st.sets(st.integers(0, PARTITIONS - 1)),
)
def test_each_promise_is_kept_just_when_its_own_parts_are_well(
    processes: dict[str, bool], owned: set[int], troubled: set[int]
) -> None:
    board = HealthBoard(0.0, PARTITIONS)
    for instance, is_well in processes.items():
        board.hear(report(instance, **({} if is_well else {"NATS": "away"})), 1.0)
    for index in owned:
        problem = "stuck" if index in troubled else ""
        board.hear_partition(PartitionStatus(partition=index, owner="a", problem=problem), 1.0)
    found = board.judge(1.0, WALL_S)
    ingests = [is_well for instance, is_well in processes.items() if instance.startswith("ingest")]
    assert found.stored.ok == (bool(ingests) and all(ingests))
    assert found.folded.ok == (len(owned) == PARTITIONS and not owned & troubled)
    assert found.shown.ok == processes.get("gateway-1", True)
    assert all(bool(each.reason) != each.ok for each in (found.stored, found.folded, found.shown))
    assert found.as_json()["ok"] == (found.stored.ok and found.folded.ok and found.shown.ok)
