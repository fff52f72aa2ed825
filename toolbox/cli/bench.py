"""bench NAME: benchmarks, each a module of the package `bench` that is also `python -m bench.NAME`."""

from __future__ import annotations

import importlib.util
import os
import pkgutil
import sys
from typing import Annotated

import typer

from toolbox.local import provision
from toolbox.local.errors import MeshError


def register(app: typer.Typer) -> None:
    app.command(
        "bench",
        context_settings={"allow_extra_args": True, "ignore_unknown_options": True, "help_option_names": []},
    )(bench)


def bench(
    context: typer.Context,
    name: Annotated[str, typer.Argument(metavar="NAME", help="Which; without it they are listed.")] = "",
) -> None:
    """Measure; what follows the name goes to the benchmark, its --help too.

    Example: ./grandstand bench latency --json
    """
    provision.require_checkout("bench")
    known = names()
    if name in ("--help", "-h"):
        typer.echo(context.get_help())
    elif not name:
        typer.echo("\n".join(f"bench {each}" for each in known))
    elif name not in known:
        raise MeshError(f"there is no benchmark {name!r}; there are {', '.join(known)}")
    else:
        sys.stdout.flush()
        os.execv(sys.executable, [sys.executable, "-P", "-m", f"bench.{name}", *context.args])


def names() -> list[str]:
    """The benchmarks there are. Looked for and not imported: mesh imports nothing that is built on it."""
    found = importlib.util.find_spec("bench")
    return sorted(
        module.name
        for module in pkgutil.iter_modules((found and found.submodule_search_locations) or [])
        if not module.ispkg and not module.name.startswith("_")
    )
