"""What a run of the abuse benchmark found, its bounds, and the table that a person reads. Pure.

An attack is borne if the witness had no error, its p99 (vote to screen) stayed within P99_FACTOR times, or
P99_MORE_MS more than, what it was without an attack, no process grew by more than its bound, and nothing
landed that was to be refused.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from rich.console import Console
from rich.table import Table

P99_FACTOR = 1.5
P99_MORE_MS = 20.0
GROWTH_MIB_MAX: Mapping[str, float] = {"envoy": 512.0}
"""Of a process while it is attacked. Envoy holds the connections of all strangers, some 16 KiB each."""
GROWTH_MIB_MAX_OTHERS = 128.0


@dataclass(frozen=True, slots=True)
class Row:
    """One attack. `attack` is what the attacker said, `witness` what the witness did."""

    clause: int
    exploit: str
    wanted: dict[str, Any]
    attack: dict[str, Any]
    witness: dict[str, Any]
    growth_mib: dict[str, float]
    """By process, those that grew by a MiB or more."""
    cpu_cores: dict[str, float]
    """By process, without the attacker."""

    def complaints(self, calm_p99_ms: float) -> list[str]:
        """Why it was not borne; none if it was."""
        found = []
        if errors := self.witness["errors"]:
            why = next(iter(self.witness["why"]), "")
            found.append(f"{errors} errors of the witness, such as: {why}")
        most = p99_ms_max(calm_p99_ms)
        if self.witness["p99_ms"] > most:
            found.append(f"the witness's p99 is {self.witness['p99_ms']:g} ms; at most {most:g} is allowed")
        for name, grown in self.growth_mib.items():
            if grown > (bound := growth_mib_max(name)):
                found.append(f"{name} grew by {grown:g} MiB; at most {bound:g} is allowed")
        if landed := self.attack["landed"]:
            found.append(f"{landed} times what was to be refused was done")
        return found

    def as_json(self, calm_p99_ms: float) -> dict[str, Any]:
        complaints = self.complaints(calm_p99_ms)
        return {
            "clause": self.clause,
            "exploit": self.exploit,
            "attack_wanted": self.wanted,
            "attack_achieved": self.attack["achieved"],
            "attack_cpu_cores": self.attack["cpu_cores"],
            "attack_outcomes": self.attack["outcomes"],
            "landed": self.attack["landed"],
            **_of_witness(self.witness),
            "rss_growth_mib": self.growth_mib,
            "cpu_cores": self.cpu_cores,
            "ok": not complaints,
            "why": complaints,
        }


@dataclass(slots=True)
class AbuseFigures:
    viewers: int
    voters: int
    seconds: float
    cores: int
    calm: dict[str, Any] = field(default_factory=dict)
    """The witness without an attack."""
    rows: dict[str, Row] = field(default_factory=dict)

    def complaints(self) -> list[str]:
        calm_p99_ms = self.calm["p99_ms"]
        found = [f"without an attack: {why}" for why in self.calm["why"]]
        for name, row in self.rows.items():
            found.extend(f"{name}: {why}" for why in row.complaints(calm_p99_ms))
        return found

    def as_json(self) -> dict[str, Any]:
        calm_p99_ms = self.calm["p99_ms"]
        return {
            "viewers": self.viewers,
            "voters": self.voters,
            "seconds": self.seconds,
            "cores": self.cores,
            "calm": _of_witness(self.calm),
            "witness_p99_ms_max": p99_ms_max(calm_p99_ms),
            "rss_growth_mib_max": {**GROWTH_MIB_MAX, "others": GROWTH_MIB_MAX_OTHERS},
            "attacks": {name: row.as_json(calm_p99_ms) for name, row in self.rows.items()},
            "witness_errors": sum(row.witness["errors"] for row in self.rows.values()),
            "witness_p99_ms": max((row.witness["p99_ms"] for row in self.rows.values()), default=0.0),
            "ok": not self.complaints(),
        }


def p99_ms_max(calm_p99_ms: float) -> float:
    return round(max(P99_FACTOR * calm_p99_ms, calm_p99_ms + P99_MORE_MS), 2)


def growth_mib_max(process: str) -> float:
    return GROWTH_MIB_MAX.get(process, GROWTH_MIB_MAX_OTHERS)


def _of_witness(found: Mapping[str, Any]) -> dict[str, Any]:
    return {f"witness_{name}": value for name, value in found.items()}


def show(figures: AbuseFigures) -> None:
    table = Table(box=None, header_style="dim")
    for column in ("attack", "reached", "its CPU", "errors", "p50", "p99 ms", "join p99", "grew most", ""):
        table.add_column(column, justify="left" if column in ("attack", "grew most") else "right")
    calm = figures.calm
    table.add_row("none", "", "", *_cells(calm), "", "")
    for name, row in figures.rows.items():
        most = max(row.growth_mib.items(), key=lambda each: each[1], default=("", 0.0))
        achieved = row.attack["achieved"]
        table.add_row(
            name,
            f"{achieved['rate_per_s']:,.0f}/s"
            + (f", {achieved['held_max']:,} held" if "held_max" in achieved else ""),
            f"{row.attack['cpu_cores']:.2f}",
            *_cells(row.witness),
            f"{most[0]} {most[1]:.0f} MiB" if most[0] else "",
            "" if row.complaints(calm["p99_ms"]) else "borne",
        )
    Console(highlight=False).print(table)


def _cells(witness: Mapping[str, Any]) -> tuple[str, ...]:
    times = (f"{witness[name]:.1f}" for name in ("p50_ms", "p99_ms", "join_p99_ms"))
    return (str(witness["errors"]), *times)
