"""The supervisor with real processes: started by readiness, restarted, stopped in order, none left."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import resource
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.envoy_proxy import proxy
from tests.support.mesh_fixture import wait_for
from tests.support.supervision import HASTY, Watched, is_alive, supervised
from toolbox.local.home import Home
from toolbox.local.lifecycle import Policy
from toolbox.local.ports import Ports
from toolbox.local.provision import checkout
from toolbox.local.spec import HttpProbe, ProcessSpec
from toolbox.local.supervisor import StartFailed


@pytest.fixture
def home(tmp_path: Path) -> Home:
    home = Home(tmp_path / "a home")
    home.create()
    return home


@pytest.fixture
def ports() -> Iterator[Ports]:
    with contextlib.closing(Ports()) as ports:
        yield ports


def stand_in(ports: Ports, name: str, *arguments: str, **fields: object) -> ProcessSpec:
    port = ports.take()
    return ProcessSpec(
        name=name,
        command=(sys.executable, "-m", "tests.support.stand_in", "--port", str(port), *arguments),
        probe=HttpProbe(port, "/healthz"),
        cwd=checkout(),
        **{"grace_s": 5.0, **fields},  # type: ignore[arg-type]
    )


def test_a_process_is_started_only_when_what_it_needs_is_ready(home: Home, ports: Ports) -> None:
    async def scenario() -> None:
        first = stand_in(ports, "first")
        second = stand_in(ports, "second", needs=("first",))
        async with supervised(home, second, first) as watched:
            for status in watched.told:
                assert status["second"].pid is None or status["first"].state == "ready"
            assert watched.told[0]["second"].detail == "waits for first"

    asyncio.run(scenario())


def test_a_killed_process_comes_back_and_the_others_are_left_alone(home: Home, ports: Ports) -> None:
    async def scenario() -> None:
        async with supervised(home, stand_in(ports, "a"), stand_in(ports, "b")) as watched:
            killed, other = watched["a"].pid, watched["b"].pid
            assert killed is not None
            os.kill(killed, signal.SIGKILL)
            await watched.until(
                lambda: watched["a"].state == "ready" and watched["a"].pid != killed, "a is back"
            )
            assert watched["a"].restarts == 1
            assert watched["a"].detail.endswith("UTC: killed by SIGKILL")
            assert watched["b"].pid == other

    asyncio.run(scenario())


def test_a_process_that_ignores_sigterm_is_killed_after_its_grace(home: Home, ports: Ports) -> None:
    async def scenario() -> None:
        deaf = stand_in(ports, "deaf", "--ignore-sigterm", grace_s=0.3)
        async with supervised(home, deaf):
            pass

    asyncio.run(scenario())


def test_a_stopped_process_still_ends_within_its_grace(home: Home, ports: Ports) -> None:
    async def scenario() -> None:
        async with supervised(home, stand_in(ports, "a", grace_s=60.0)) as watched:
            pid = watched["a"].pid
            assert pid is not None
            os.kill(pid, signal.SIGSTOP)

    asyncio.run(scenario())


def test_a_silent_process_is_replaced(home: Home, ports: Ports, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("toolbox.local.probe.TIMEOUT_S", 0.2)
    monkeypatch.setattr("toolbox.local.supervisor.PROBE_READY_S", 0.05)
    policy = Policy(silent_max_s=1.0, backoff_first_s=0.01)

    async def scenario() -> None:
        async with supervised(home, stand_in(ports, "a"), policy=policy) as watched:
            stopped = watched["a"].pid
            assert stopped is not None
            os.kill(stopped, signal.SIGSTOP)
            await watched.until(
                lambda: watched["a"].state == "ready" and watched["a"].pid != stopped, "a is replaced"
            )
            assert "did not answer its health check" in watched["a"].detail

    asyncio.run(scenario())


def test_what_a_process_started_ends_with_it(home: Home, ports: Ports) -> None:
    async def scenario() -> int:
        async with supervised(home, stand_in(ports, "a", "--grandchild")) as watched:
            await watched.until(lambda: watched.lines, "the grandchild is named")
            first = int(watched.lines[0][1].split()[1])
            assert is_alive(first)
            parent = watched["a"].pid
            assert parent is not None
            os.kill(parent, signal.SIGKILL)
            await watched.until(lambda: len(watched.lines) == 2, "a is back, with another grandchild")
            wait_for(lambda: not is_alive(first), "the first grandchild is gone")
            return int(watched.lines[1][1].split()[1])

    last = asyncio.run(scenario())
    wait_for(lambda: not is_alive(last), "the last grandchild is gone")


def test_a_process_beyond_its_budget_fails_and_the_others_go_on(home: Home, ports: Ports) -> None:
    async def scenario() -> None:
        async with supervised(home, stand_in(ports, "weak"), stand_in(ports, "strong")) as watched:
            for life in range(HASTY.budget + 1):
                await watched.until(
                    lambda life=life: watched["weak"].state == "ready" and watched["weak"].restarts == life,
                    f"weak lives for the {life}. time again",
                )
                pid = watched["weak"].pid
                assert pid is not None
                os.kill(pid, signal.SIGKILL)
            await watched.until(lambda: watched["weak"].state == "failed", "weak has failed")
            assert "ended more than 3 times within 60 s" in watched["weak"].detail
            assert watched["strong"].state == "ready"

    asyncio.run(scenario())


def test_a_start_that_fails_names_the_process_and_leaves_none(home: Home, ports: Ports) -> None:
    async def scenario() -> Watched:
        broken = stand_in(ports, "broken", "--say", "the reason", "--exit", "3")
        watched = Watched([stand_in(ports, "good"), broken], home, HASTY)
        with pytest.raises(StartFailed, match=r"broken was never ready in 3 attempts, .* exit code 3"):
            await watched.supervisor.run()
        return watched

    watched = asyncio.run(scenario())
    assert watched.told[-1]["good"].state == "stopped"
    assert not any(map(is_alive, watched.pids()))
    lines = [json.loads(line) for line in home.log("broken").read_text().splitlines()]
    assert [(line["instance"], line["message"]) for line in lines] == [("broken", "the reason")] * 3


def test_a_program_that_is_missing_is_named(home: Home) -> None:
    async def scenario() -> None:
        missing = ProcessSpec(name="ghost", command=("/nonexistent/ghost",), probe=HttpProbe(1, "/"))
        with pytest.raises(StartFailed, match=r"cannot run /nonexistent/ghost: No such file"):
            await Watched([missing], home, HASTY).supervisor.run()

    asyncio.run(scenario())


def test_an_optional_process_that_fails_does_not_end_the_start(home: Home, ports: Ports) -> None:
    async def scenario() -> None:
        broken = stand_in(ports, "extra", "--exit", "3", optional=True)
        async with supervised(home, stand_in(ports, "a"), broken) as watched:
            await watched.until(lambda: watched["extra"].state == "failed", "the optional one has failed")
            assert watched["a"].state == "ready"

    asyncio.run(scenario())


def test_processes_stop_in_the_order_of_their_stages(home: Home, ports: Ports) -> None:
    async def scenario() -> Watched:
        specs = [stand_in(ports, f"p{stage}", stop_stage=stage) for stage in (2, 0, 1)]
        async with supervised(home, *specs) as watched:
            pass
        return watched

    told = asyncio.run(scenario()).told
    for earlier, later in (("p0", "p1"), ("p1", "p2")):
        for statuses in told:
            if statuses[later].state in ("stopping", "stopped"):
                assert statuses[earlier].state == "stopped"
    assert {status.state for status in told[-1].values()} == {"stopped"}


def test_a_stop_during_the_start_ends_it_cleanly(home: Home, ports: Ports) -> None:
    async def scenario() -> Watched:
        never = stand_in(ports, "never")
        waiting = stand_in(ports, "waiting", needs=("never",))
        slow = ProcessSpec(name="never", command=never.command, probe=HttpProbe(1, "/"), cwd=never.cwd)
        watched = Watched([slow, waiting], home, HASTY)
        running = asyncio.create_task(watched.supervisor.run())
        await watched.until(lambda: watched["never"].pid is not None, "it runs")
        watched.supervisor.stop()
        await running
        return watched

    watched = asyncio.run(scenario())
    assert watched.told[-1]["waiting"].state == "stopped"
    assert not any(map(is_alive, watched.pids()))


def test_a_kill_does_not_wait_for_any_grace(home: Home, ports: Ports) -> None:
    async def scenario() -> None:
        deaf = stand_in(ports, "deaf", "--ignore-sigterm", grace_s=1000.0)
        also = stand_in(ports, "also", "--ignore-sigterm", grace_s=1000.0, stop_stage=1)
        async with supervised(home, deaf, also) as watched:
            watched.supervisor.stop()
            await watched.until(lambda: watched["deaf"].state == "stopping", "it is asked to stop")
            watched.supervisor.kill()

    asyncio.run(scenario())


def test_nothing_is_left_when_the_supervision_breaks(home: Home, ports: Ports) -> None:
    async def scenario() -> Watched:
        watched = Watched([stand_in(ports, "a"), stand_in(ports, "b")], home, HASTY)
        running = asyncio.create_task(watched.supervisor.run())
        await watched.until(watched.supervisor.ready.is_set, "all are ready")
        running.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await running
        return watched

    watched = asyncio.run(scenario())
    assert len(watched.pids()) == 2
    assert not any(map(is_alive, watched.pids()))


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux ties a child to its parent's life")
def test_nothing_is_left_when_the_supervisor_is_killed(home: Home, ports: Ports) -> None:
    program = (
        "import asyncio, sys\n"
        "from pathlib import Path\n"
        "from toolbox.local.home import Home\n"
        "from toolbox.local.spec import HttpProbe, ProcessSpec\n"
        "from toolbox.local.supervisor import Supervisor\n"
        "specs = [ProcessSpec(name=p, command=(sys.executable, '-m', 'tests.support.stand_in', '--port', p),"
        " probe=HttpProbe(int(p), '/')) for p in sys.argv[2:]]\n"
        "def tell():\n"
        "    if supervisor.ready.is_set():\n"
        "        print(*(s.pid for s in supervisor.statuses()), flush=True)\n"
        "supervisor = Supervisor(specs, Home(Path(sys.argv[1])), tell)\n"
        "asyncio.run(supervisor.run())\n"
    )
    supervisor = subprocess.Popen(
        [sys.executable, "-c", program, str(home.root), str(ports.take()), str(ports.take())],
        cwd=checkout(),
        stdout=subprocess.PIPE,
        text=True,
    )
    assert supervisor.stdout is not None
    with supervisor.stdout:
        pids = [int(pid) for pid in supervisor.stdout.readline().split()]
    assert len(pids) == 2
    assert all(map(is_alive, pids))
    supervisor.kill()
    supervisor.wait()
    wait_for(lambda: not any(map(is_alive, pids)), "the children have gone with it")


@pytest.mark.skipif(not Path("/proc/self/limits").exists(), reason="there is no /proc/PID/limits here")
def test_a_process_that_may_open_no_more_files_is_known(home: Home, ports: Ports) -> None:
    async def scenario() -> None:
        async with supervised(home, stand_in(ports, "a")) as watched:
            child = watched.supervisor._units["a"].child
            assert child is not None
            assert not child.is_out_of_files()
            resource.prlimit(child.pid, resource.RLIMIT_NOFILE, (3, 3))
            assert child.is_out_of_files()

    asyncio.run(scenario())


def test_a_second_envoy_on_the_same_port_ends_and_the_first_may_be_killed_and_come_back(
    home: Home, ports: Ports, tmp_path: Path
) -> None:
    async def scenario() -> None:
        spec, config = proxy(home, ports, {})
        async with supervised(home, spec) as watched:
            path = tmp_path / "second.json"
            text = (home.run / "envoy.json").read_text()
            path.write_text(text.replace(config.admin.path, f"{config.admin.path}2"))
            second = await asyncio.create_subprocess_exec(
                *(str(path) if each.endswith("envoy.json") else each for each in spec.command),
                stderr=asyncio.subprocess.PIPE,
            )
            async with asyncio.timeout(20):
                _, said = await second.communicate()
            assert second.returncode != 0
            assert b"Address already in use" in said
            first = watched["envoy"].pid
            assert first is not None
            os.kill(first, signal.SIGKILL)
            await watched.until(lambda: watched["envoy"].restarts, "it is started again")
            await watched.until(lambda: watched["envoy"].state == "ready", "it has its ports again")
            assert watched["envoy"].last_restart_reason == "killed by SIGKILL"

    asyncio.run(scenario())
