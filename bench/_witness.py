"""The witness of `bench abuse`, in a process of its own: `python -m bench._witness EDGE MESH HOME`.

Healthy viewers and voters at the edge, as browsers and native clients are, and beside them an operator and
newcomers (`bench._witness_inside`). It answers each line on its standard input by one JSON object:

    open N M     opens N viewers and M voters; says how many are well
    begin        counts from here
    end          waits until the votes so far are on screens; says what was counted

All voters vote once a second, one after the other; four viewers a second leave, and others come.
"""

from __future__ import annotations

import gc
import json
import os
import select
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

from bench._attack_target import GAME, POLL, VOTER
from bench._child import READY
from bench._percentiles import milliseconds
from bench._witness_inside import Inside
from bench._witness_viewers import WitnessViewers
from bench._witness_voters import NativeVoter, WebVoter
from toolbox.local.development import development_token, owner_token
from toolbox.local.machine import raise_descriptor_limit

STDIN = 0
VOTE_EVERY_S = 1.0
REPLACE_EVERY_S = 0.25
LOOK_EVERY_S = 0.5
SEEN_WITHIN_S = 10.0
_OPEN_WITHIN_S = 60.0
_OPENING_MAX = 50
_VOTER_ADDRESS = "127.8.0.{}"
_WAIT_S = 0.05


class Witness:
    def __init__(self, edge: tuple[str, int], mesh: str, home: Path) -> None:
        self._edge = edge
        self._home = home
        self._poll = select.epoll()
        self._viewers = WitnessViewers(*edge, GAME, f"poll/{POLL}", self._poll)
        self._inside = Inside(f"{edge[0]}:{edge[1]}", mesh, owner_token(home, "witness")())
        self._errors: Counter[str] = Counter()
        self._voters: list[WebVoter | NativeVoter] = []
        self._by_fd: dict[int, WebVoter | NativeVoter] = {}
        self._sent_s: list[float] = []
        self._sequences: list[int] = []
        self._vote_due: list[float] = []
        self._replace_due = self._look_due = 0.0
        self._is_voting = self._is_over = False
        self._lines: list[str] = []
        self._line = b""
        self._poll.register(STDIN, select.EPOLLIN)

    def run(self) -> None:
        print(READY, flush=True)
        while not self._is_over:
            self._turn()
            while self._lines:
                verb, *numbers = self._lines.pop(0).split()
                answer = getattr(self, f"_{verb}")(*map(int, numbers))
                print(json.dumps(answer), flush=True)
        self._viewers.close()
        for voter in self._voters:
            voter.close()
        self._inside.close()

    def _open(self, viewers: int, voters: int) -> dict[str, Any]:
        until_s = time.monotonic() + _OPEN_WITHIN_S
        opened = 0
        while self._viewers.watching < viewers and time.monotonic() < until_s and not self._viewers.errors:
            while opened < viewers and opened - self._viewers.watching < _OPENING_MAX:
                self._viewers.join()
                opened += 1
            self._turn()
        for place in range(voters):
            kind: type[WebVoter | NativeVoter] = WebVoter if place % 2 else NativeVoter
            actor = VOTER.format(place)
            token = development_token(self._home, actor, roles=["viewer"])
            source = _VOTER_ADDRESS.format(1 + place % 250)
            voter = kind(self._edge, source, token, place, GAME, POLL, self._errors, self._acked)
            self._voters.append(voter)
            self._register(voter)
        now_s = time.monotonic()
        self._vote_due = [now_s + VOTE_EVERY_S * place / max(1, voters) for place in range(voters)]
        self._replace_due = self._look_due = now_s
        self._is_voting = True
        self._inside.start()
        gc.collect()
        gc.freeze()
        return {"watching": self._viewers.watching, "errors": dict(self._viewers.errors)}

    def _begin(self) -> dict[str, Any]:
        self._viewers.begin()
        self._inside.begin()
        self._errors.clear()
        self._sent_s.clear()
        self._sequences.clear()
        return {}

    def _end(self) -> dict[str, Any]:
        sent_s, sequences = list(self._sent_s), list(self._sequences)
        newest = max(sequences, default=0)
        until_s = time.monotonic() + SEEN_WITHIN_S
        while self._viewers.behind(newest) and time.monotonic() < until_s:
            self._turn()
        took_s, missing = self._viewers.on_screen(sent_s, sequences)
        took_us = sorted((took_s * 1e6).astype(int).tolist())
        joins_us = sorted(int(each * 1e6) for each in self._viewers.joins_s)
        inside_us = sorted(int(each * 1e6) for each in self._inside.took_s)
        errors = self._errors + self._viewers.errors + self._inside.errors
        if missing:
            errors["a vote that was not on a screen in time"] = missing
        if not sequences:
            errors["not one vote was acked"] = 1
        return {
            "errors": sum(errors.values()),
            "why": dict(errors.most_common(8)),
            "p50_ms": milliseconds(took_us, 50),
            "p99_ms": milliseconds(took_us, 99),
            "max_ms": milliseconds(took_us, 100),
            "votes": len(sequences),
            "samples": len(took_us),
            "frames": self._viewers.frames,
            "joins": len(joins_us),
            "join_p99_ms": milliseconds(joins_us, 99),
            "inside_p99_ms": milliseconds(inside_us, 99),
        }

    def _turn(self) -> None:
        for fd, _ in self._poll.poll(self._wait_s(), 512):
            if self._viewers.owns(fd):
                self._viewers.read(fd)
            elif (voter := self._by_fd.get(fd)) is not None:
                if voter.read():
                    self._moved(fd, voter)
            elif fd == STDIN:
                self._read_line()
        if self._is_voting:
            self._act(time.monotonic())

    def _wait_s(self) -> float:
        if not self._is_voting:
            return _WAIT_S
        return max(0.0, min(min(self._vote_due, default=0.0), self._replace_due) - time.monotonic())

    def _act(self, now_s: float) -> None:
        for place, due_s in enumerate(self._vote_due):
            if due_s <= now_s:
                self._voters[place].vote(now_s)
                self._vote_due[place] = max(due_s + VOTE_EVERY_S, now_s)
        if self._replace_due <= now_s:
            self._replace_due = now_s + REPLACE_EVERY_S
            self._viewers.replace_one()
        if self._look_due <= now_s:
            self._look_due = now_s + LOOK_EVERY_S
            self._viewers.look(now_s)
            for fd, voter in tuple(self._by_fd.items()):
                if voter.look(now_s):
                    self._moved(fd, voter)

    def _acked(self, sent_s: float, sequence: int) -> None:
        self._sent_s.append(sent_s)
        self._sequences.append(sequence)

    def _register(self, voter: WebVoter | NativeVoter) -> None:
        self._by_fd[voter.fileno()] = voter
        self._poll.register(voter.fileno(), select.EPOLLIN)

    def _moved(self, fd: int, voter: WebVoter | NativeVoter) -> None:
        """It has another socket, perhaps under the same number; the old one is closed."""
        if self._by_fd.get(fd) is voter:
            del self._by_fd[fd]
        self._register(voter)

    def _read_line(self) -> None:
        data = os.read(STDIN, 4_096)
        self._is_over = not data
        *lines, self._line = (self._line + data).split(b"\n")
        self._lines += [line.decode() for line in lines]


def main() -> None:
    edge, mesh, home = sys.argv[1:]
    host, _, port = edge.rpartition(":")
    raise_descriptor_limit()
    Witness((host, int(port)), mesh, Path(home)).run()


if __name__ == "__main__":
    main()
