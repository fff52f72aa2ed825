"""The asyncio shell: one task for each process, which does what its lifecycle says.

A task sleeps until something happens to its process (spawned, answered, exited, asked to stop) or to another,
or until `Lifecycle.wake_at`. Children are reaped on SIGCHLD, without a thread.

`on_change` is called whenever a status may have changed, `on_line` for each line a process writes; both from
the loop, and neither may block for long.
"""

from __future__ import annotations

import asyncio
import random
import signal
from collections.abc import Callable, Iterable
from dataclasses import replace
from datetime import UTC, datetime

from mesh import disk
from toolbox.local import logfile, probe
from toolbox.local import spec as specs_of
from toolbox.local.child import Child
from toolbox.local.home import Home
from toolbox.local.lifecycle import Action, Answer, Lifecycle, Policy, ProcessState
from toolbox.local.spec import ProcessSpec
from toolbox.local.status import ServiceStatus
from toolbox.local.store_probe import ProbeAnswer

PROBE_STARTING_S = 0.04
PROBE_READY_S = 2.0
PROBE_TROUBLED_S = 0.5
SHOWN_SILENT_S = 6.0
"""A ready process that has not answered for longer than this is shown as silent."""
LAST_RESORT_S = 2.0


class StartFailed(Exception):
    """A process that is not optional failed before the mesh was ready once."""

    def __init__(self, name: str, reason: str) -> None:
        super().__init__(f"{name} {reason}")
        self.name = name
        self.reason = reason


class _Unit:
    """One process: its spec, its lifecycle, and its child while it runs."""

    def __init__(self, spec: ProcessSpec, policy: Policy, log: logfile.LogFile) -> None:
        self.spec = spec
        self.lifecycle = Lifecycle(
            replace(
                policy,
                grace_s=spec.grace_s,
                start_within_s=spec.start_within_s,
                keep_trying=spec.keep_trying,
            ),
            random.random,
        )
        self.log = log
        self.lines = logfile.LineSplitter()
        self.child: Child | None = None
        self.prober: asyncio.Task[None] | None = None
        self.wake = asyncio.Event()
        self.restarted_at = ""
        """When it was last started again, ISO 8601 in UTC; "" if never."""
        self.restart_reason = ""

    def note_spawn(self) -> None:
        if self.lifecycle.restarts:
            self.restarted_at = datetime.now(UTC).isoformat(timespec="milliseconds")
            self.restart_reason = self.lifecycle.reason

    def disk_problem(self) -> str:
        return disk.problem(self.spec.store) if self.spec.store is not None else ""

    def judged(self, heard: ProbeAnswer) -> ProbeAnswer:
        """What it said, with what its disk says: while the cause is there, a restart does not help."""
        problem = self.disk_problem()
        if not problem:
            return heard
        return ProbeAnswer(Answer.ALIVE if heard.answer is Answer.WEDGED else heard.answer, problem)


class Supervisor:
    """Runs `specs`; `run` is called once, from the main thread."""

    def __init__(
        self,
        specs: Iterable[ProcessSpec],
        home: Home,
        on_change: Callable[[], None] = lambda: None,
        on_line: Callable[[str, str], None] = lambda name, line: None,
        policy: Policy | None = None,
    ) -> None:
        """Opens the logs: raises OSError when it cannot."""
        specs = tuple(specs)
        specs_of.check(specs)
        self._on_change = on_change
        self._on_line = on_line
        self._units = {
            spec.name: _Unit(spec, policy or Policy(), logfile.LogFile(home.log(spec.name))) for spec in specs
        }
        self._stop = asyncio.Event()
        self._without_grace = False
        self.ready = asyncio.Event()
        """Set once every process that is not optional was ready at the same time."""

    def stop(self) -> None:
        """Asks `run` to end: in order, each process with its grace."""
        self._stop.set()

    def kill(self) -> None:
        """Asks `run` to end without grace."""
        self._without_grace = True
        self._stop.set()
        for unit in self._units.values():
            if unit.child is not None:
                unit.child.kill()

    @property
    def stopping(self) -> bool:
        return self._stop.is_set()

    async def run(self) -> None:
        """Until `stop` is called and everything has ended. Raises StartFailed, after the same clean end."""
        loop = asyncio.get_running_loop()
        loop.add_signal_handler(signal.SIGCHLD, self._reap)
        minders = {name: asyncio.create_task(self._mind(unit)) for name, unit in self._units.items()}
        try:
            failed = await self._until_stopped(set(minders.values()))
            self._stop.set()
            for stage in sorted({unit.spec.stop_stage for unit in self._units.values()}):
                names = [name for name, unit in self._units.items() if unit.spec.stop_stage == stage]
                for name in names:
                    self._ask_to_stop(self._units[name])
                self._changed()
                await asyncio.gather(*(minders[name] for name in names))
        finally:
            for minder in minders.values():
                minder.cancel()
            self._let_none_survive()
            loop.remove_signal_handler(signal.SIGCHLD)
        if failed is not None:
            raise failed

    async def _until_stopped(self, minders: set[asyncio.Task[None]]) -> StartFailed | None:
        """Until `stop`, or the start has failed. A minder ends by itself when its process failed for good."""
        stop = asyncio.create_task(self._stop.wait())
        try:
            while not self._stop.is_set():
                done, _ = await asyncio.wait({stop, *minders}, return_when=asyncio.FIRST_COMPLETED)
                for minder in done & minders:
                    minder.result()
                minders = minders - done
                if failed := self._start_failed():
                    return failed
        finally:
            stop.cancel()
        return None

    def _start_failed(self) -> StartFailed | None:
        if not self.ready.is_set():
            for unit in self._units.values():
                if unit.lifecycle.state is ProcessState.FAILED and not unit.spec.optional:
                    return StartFailed(unit.spec.name, unit.lifecycle.reason)
        return None

    def _ask_to_stop(self, unit: _Unit) -> None:
        unit.lifecycle.note_stop(asyncio.get_running_loop().time())
        if self._without_grace and unit.child is not None:
            unit.child.kill()

    async def _mind(self, unit: _Unit) -> None:
        """Does what the lifecycle says, until it has ended."""
        loop = asyncio.get_running_loop()
        while not unit.lifecycle.ended:
            unit.wake.clear()
            state = unit.lifecycle.state
            action = unit.lifecycle.advance(loop.time(), self._needs_met(unit))
            if action is not None:
                self._perform(unit, action)
            if action is not None or unit.lifecycle.state is not state:
                self._changed()
                continue
            try:
                async with asyncio.timeout_at(unit.lifecycle.wake_at()):
                    await unit.wake.wait()
            except TimeoutError:
                pass

    def _needs_met(self, unit: _Unit) -> bool:
        return not self._away(unit)

    def _away(self, unit: _Unit) -> list[str]:
        """What it needs that is not ready."""
        return [
            need for need in unit.spec.needs if self._units[need].lifecycle.state is not ProcessState.READY
        ]

    def _perform(self, unit: _Unit, action: Action) -> None:
        if action is Action.SPAWN:
            self._spawn(unit)
        elif unit.child is not None:
            if action is Action.TERMINATE:
                unit.child.terminate()
            else:
                unit.child.kill()

    def _spawn(self, unit: _Unit) -> None:
        loop = asyncio.get_running_loop()
        unit.note_spawn()
        try:
            child = Child(unit.spec)
        except OSError as error:
            reason = f"cannot run {unit.spec.command[0]}: {error.strerror or error}"
            unit.log.write(f"{reason}\n".encode())
            unit.lifecycle.note_exit(reason, loop.time())
            return
        unit.child = child
        loop.add_reader(child.output, self._read, unit, child)
        unit.prober = asyncio.create_task(self._probe(unit, child))

    async def _probe(self, unit: _Unit, child: Child) -> None:
        """Asks until the child is gone: often while it starts, seldom later."""
        loop = asyncio.get_running_loop()
        lifecycle = unit.lifecycle
        while unit.child is child:
            heard = unit.judged(await probe.ask(unit.spec.probe))
            if unit.child is not child:
                return
            before = (lifecycle.state, lifecycle.serving, lifecycle.problem)
            lifecycle.note_answer(heard.answer, loop.time(), heard.problem)
            silent = lifecycle.silent_s(loop.time()) > SHOWN_SILENT_S
            if silent or (lifecycle.state, lifecycle.serving, lifecycle.problem) != before:
                self._tell_problem(unit, before[2])
                self._changed()
            await asyncio.sleep(_pause_s(lifecycle))

    def _tell_problem(self, unit: _Unit, before: str) -> None:
        """In the process' own log: the answer of its probe is nowhere else."""
        problem = unit.lifecycle.problem
        if unit.lifecycle.state is ProcessState.READY and bool(problem) is not bool(before):
            line = f"supervisor: {unit.spec.name}: {problem or 'works again'}"
            unit.log.write(f"{line}\n".encode())
            self._on_line(unit.spec.name, line)

    def _read(self, unit: _Unit, child: Child) -> None:
        data = child.read()
        if data:
            self._log(unit, data)
        elif data == b"":
            # Closed by a process that goes on; how it ends is told by SIGCHLD.
            asyncio.get_running_loop().remove_reader(child.output)

    def _log(self, unit: _Unit, data: bytes) -> None:
        unit.log.write(data)
        for line in unit.lines.feed(data):
            self._on_line(unit.spec.name, line)

    def _reap(self) -> None:
        now = asyncio.get_running_loop().time()
        for unit in self._units.values():
            reason = unit.child.poll() if unit.child is not None else None
            if reason is not None:
                self._bury(unit)
                problem = unit.disk_problem()
                unit.lifecycle.note_exit(f"{problem} ({reason})" if problem else reason, now)
                self._changed()

    def _bury(self, unit: _Unit) -> None:
        """Takes what a dead child has left to say, and lets go of it."""
        child, unit.child = unit.child, None
        assert child is not None
        if unit.prober is not None:
            unit.prober.cancel()
            unit.prober = None
        while data := child.read():
            self._log(unit, data)
        for line in unit.lines.end():
            self._on_line(unit.spec.name, line)
        asyncio.get_running_loop().remove_reader(child.output)
        child.close()

    def _changed(self) -> None:
        required = [unit for unit in self._units.values() if not unit.spec.optional]
        if all(unit.lifecycle.state is ProcessState.READY for unit in required):
            self.ready.set()
        for unit in self._units.values():
            unit.wake.set()
        self._on_change()

    def _let_none_survive(self) -> None:
        """After a clean end there is nothing to do; after a bug or a cancellation nobody else would."""
        children = [unit for unit in self._units.values() if unit.child is not None]
        for unit in children:
            assert unit.child is not None
            unit.child.kill()
        for unit in children:
            assert unit.child is not None
            unit.child.wait(LAST_RESORT_S)
            self._bury(unit)
        for unit in self._units.values():
            unit.log.close()

    def statuses(self) -> tuple[ServiceStatus, ...]:
        now = asyncio.get_running_loop().time()
        return tuple(
            ServiceStatus(
                name=unit.spec.name,
                pid=unit.child.pid if unit.child is not None else None,
                state=unit.lifecycle.state,
                restarts=unit.lifecycle.restarts,
                address=unit.spec.address,
                log=str(unit.log.path),
                detail=self._detail(unit, now),
                ready_after_s=unit.lifecycle.ready_after_s,
                optional=unit.spec.optional,
                problem=unit.lifecycle.problem,
                last_restart_at=unit.restarted_at,
                last_restart_reason=unit.restart_reason,
            )
            for unit in self._units.values()
        )

    def _detail(self, unit: _Unit, now: float) -> str:
        lifecycle = unit.lifecycle
        if lifecycle.state in (ProcessState.BACKOFF, ProcessState.FAILED):
            return lifecycle.reason
        if lifecycle.waiting:
            return f"waits for {', '.join(self._away(unit))}" if self._away(unit) else ""
        if lifecycle.state is ProcessState.READY and lifecycle.silent_s(now) > SHOWN_SILENT_S:
            why = ": out of files" if unit.child is not None and unit.child.is_out_of_files() else ""
            return f"has not answered for {lifecycle.silent_s(now):.0f} s{why}"
        if lifecycle.problem and lifecycle.state in (ProcessState.STARTING, ProcessState.READY):
            return lifecycle.problem
        if lifecycle.state is ProcessState.READY and not lifecycle.serving:
            return "answers, but is not serving"
        if not unit.restarted_at:
            return ""
        return f"was restarted at {unit.restarted_at[11:19]} UTC: {unit.restart_reason}"


def _pause_s(lifecycle: Lifecycle) -> float:
    if lifecycle.state is not ProcessState.READY:
        return PROBE_STARTING_S
    return PROBE_TROUBLED_S if lifecycle.problem else PROBE_READY_S
