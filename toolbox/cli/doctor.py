"""doctor: what is wrong with this machine, the stores and the mesh that runs here, and what to do."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mesh.secrecy import NATS_VARIABLE, REDIS_VARIABLE
from toolbox.cli.home import HomeOption
from toolbox.cli.rpc import JsonOption, counted

if TYPE_CHECKING:
    from toolbox.doctor.facts import DoctorFacts
    from toolbox.doctor.findings import Diagnosis

NOT_WELL = 3


def register(app: typer.Typer) -> None:
    app.command()(doctor)


def doctor(
    home: HomeOption = None,
    nats: Annotated[
        str | None,
        typer.Option(metavar="URL", envvar=NATS_VARIABLE, help="Look at this NATS, or these of a cluster."),
    ] = None,
    redis: Annotated[
        str | None, typer.Option(metavar="URL", envvar=REDIS_VARIABLE, help="Look at this Redis.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Look for what is wrong: the machine, NATS and Redis and their settings, and the mesh that runs here.

    Each finding has its reason and its remedy; docs/runbook.md tells more. Ends with 0 if there is none, with
    3 if there is. It asks and changes nothing, and takes 15 s at most, whatever hangs.

    Example: ./grandstand doctor --nats nats://nats.example:4222
    """
    from toolbox.doctor.examine import examine
    from toolbox.doctor.judge import judge
    from toolbox.local.running import home_of

    facts = examine(home_of(home), nats, redis)
    findings = judge(facts)
    if as_json:
        found = [asdict(each) for each in findings]
        print(json.dumps({"ok": not findings, "findings": found, "facts": _facts(facts)}))
    else:
        _print(facts, findings)
    if findings:
        raise typer.Exit(NOT_WELL)


def _facts(facts: DoctorFacts) -> dict[str, Any]:
    """Without the metrics, which are thousands of numbers."""
    found = asdict(facts)
    for metrics in ("now", "before"):
        if found["mesh"]:
            del found["mesh"][metrics]
    return found


def _print(facts: DoctorFacts, findings: list[Diagnosis]) -> None:
    from rich.console import Console
    from rich.markup import escape

    from toolbox.local.provision import as_typed

    console = Console(highlight=False)
    looked_at = ["this machine"]
    looked_at += [f"NATS at {facts.nats.at}"] if facts.nats else []
    looked_at += [f"Redis at {facts.redis.at}"] if facts.redis else []
    looked_at.append("the mesh that runs here" if facts.mesh else "no mesh, as none runs here")
    for each in findings:
        style = "bold red" if each.severity == "error" else "yellow"
        console.print(
            f"[{style}]{each.severity}[/] {each.id}: {escape(each.subject)}: {escape(as_typed(each.reason))}",
            soft_wrap=True,
        )
        console.print(f"  {as_typed(each.remedy)}", soft_wrap=True, markup=False, style="dim")
    count = counted(len(findings), "finding") if findings else "Nothing is wrong"
    console.print(f"{count}; looked at {', '.join(looked_at)}", soft_wrap=True, markup=False)
