"""certs: a certificate for the edge, from an authority of this home, for development."""

from __future__ import annotations

from typing import Annotated

import typer

from toolbox.cli.home import HomeOption
from toolbox.local import provision
from toolbox.local.running import home_of


def register(app: typer.Typer) -> None:
    app.command(no_args_is_help=False)(certs)


def certs(
    name: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME",
            help="A DNS name or an address of this machine (repeatable).",
            show_default="localhost, 127.0.0.1 and ::1, always",
        ),
    ] = None,
    home: HomeOption = None,
) -> None:
    """Make a development CA (once) and a certificate for the edge; a mesh with it takes a new one.

    Example: ./grandstand certs --name box.lan
    """
    from toolbox.local import certificates

    place = home_of(home)
    place.create()
    made = certificates.make(place.root / "certs", name or ())
    print(f"trust:  {made.authority} (in a browser, or curl --cacert)")
    print(
        provision.as_typed(f"run:    ./grandstand up --edge-tls-cert {made.chain} --edge-tls-key {made.key}")
    )
