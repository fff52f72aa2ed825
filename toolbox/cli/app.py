"""The typer app: every command of every module, and one way for all of them to fail.

A module of this package has `register(app)`, which adds its commands. It imports what is heavy (grpc, nats,
the generated stubs) inside the commands, so that `--help` answers at once.
"""

from __future__ import annotations

import signal
from typing import Annotated

import typer

from toolbox.cli import (
    audit,
    bench,
    boards,
    certs,
    chaos,
    definitions,
    explain,
    load,
    notices,
    rebuild,
    run,
    sending,
    testing,
    token,
)
from toolbox.cli.console import one_line_errors
from toolbox.local import provision

MODULES = (
    run,
    token,
    certs,
    rebuild,
    definitions,
    boards,
    sending,
    notices,
    explain,
    audit,
    load,
    testing,
    bench,
    chaos,
)
"""In the order of `--help`."""


def build() -> typer.Typer:
    app = typer.Typer(
        name="grandstand",
        help=provision.as_typed(
            "The real-time backend for live game streams, on this machine. Start with: ./grandstand up"
        ),
        no_args_is_help=True,
        callback=_options,
        add_completion=not provision.is_checkout(),
        pretty_exceptions_enable=False,
        rich_markup_mode="rich",
        context_settings={"help_option_names": ["-h", "--help"]},
    )
    for module in MODULES:
        module.register(app)
    _name_command(app)
    return app


def _show_version(asked: bool) -> None:
    if asked:
        typer.echo(f"grandstand {provision.version()}")
        raise typer.Exit


def _options(
    version: Annotated[
        bool,
        typer.Option("--version", help="Show the version and exit.", is_eager=True, callback=_show_version),
    ] = False,
) -> None:
    """Options of the program itself."""


def _name_command(app: typer.Typer) -> None:
    """In the help of all commands, which is their docstrings."""
    for command in app.registered_commands:
        if command.callback and command.callback.__doc__:
            command.callback.__doc__ = provision.as_typed(command.callback.__doc__)
    for group in app.registered_groups:
        if group.typer_instance:
            _name_command(group.typer_instance)


def main() -> None:
    # A shell's `&`, nohup and some CI runners start programs with SIGINT ignored, which programs inherit.
    # With a handler, Ctrl-C ends every command, and the processes that a command starts get the default.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    with one_line_errors():
        build()(prog_name="grandstand")
