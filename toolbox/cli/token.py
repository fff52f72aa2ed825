"""token: a development token, signed with the key of this home's own mesh."""

from __future__ import annotations

import enum
import time
from pathlib import Path
from typing import Annotated

import typer

from toolbox.cli.credentials import own_home
from toolbox.cli.home import HomeOption
from toolbox.cli.rpc import default_actor, seconds_of
from toolbox.local.errors import MeshError, from_os

LIFE_MAX_S = 366 * 24 * 3600.0


class Role(enum.StrEnum):
    viewer = "viewer"
    producer = "producer"
    owner = "owner"
    operator = "operator"


def register(app: typer.Typer) -> None:
    app.command(no_args_is_help=False)(token)


def token(
    actor: Annotated[
        str | None,
        typer.Option(metavar="ID", help="Whose token it is.", show_default="you; for a producer nobody"),
    ] = None,
    role: Annotated[
        Role,
        typer.Option(
            help="A producer acts for others; an owner also defines, opens and closes; an operator does all."
        ),
    ] = Role.viewer,
    game: Annotated[
        list[str] | None,
        typer.Option(
            metavar="ID",
            help="Good for this game only, or for all that begin so: 'arena-*' (repeatable).",
            show_default="all games",
        ),
    ] = None,
    life: Annotated[
        str, typer.Option("--for", metavar="DURATION", help="Until it expires, 1s to 366d.")
    ] = "12h",
    key: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Sign with this private JWK, such as your platform's.",
            show_default="the home's development key",
        ),
    ] = None,
    issuer: Annotated[
        str | None, typer.Option(metavar="TEXT", help="The claim iss.", show_default="none")
    ] = None,
    name: Annotated[
        str, typer.Option(metavar="TEXT", help="What others see of the actor.", show_default="none")
    ] = "",
    actor_claim: Annotated[
        str,
        typer.Option(metavar="NAME", help="The claim that names the actor, as `up --actor-claim` has it."),
    ] = "sub",
    home: HomeOption = None,
) -> None:
    """Make a token and print it, and nothing else, as for TOKEN=$(./grandstand token).

    Example: ./grandstand token --actor ann --for 1h
    """
    from mesh.auth import BadKeys, mint, read_signing_keys
    from toolbox.local.development import DEVELOPMENT_KEY

    life_s = seconds_of(life)
    if not 1 <= life_s <= LIFE_MAX_S:
        raise MeshError(f"--for {life!r} is outside 1s to 366d")
    if actor is None:
        actor = "" if role is Role.producer else default_actor()
    file = key or own_home(home, "sign with a key of your own: --key FILE") / DEVELOPMENT_KEY
    try:
        signing = read_signing_keys(file)[0]
    except OSError as error:
        raise from_os(error, f"read the key in {file}") from None
    except BadKeys as error:
        raise MeshError(str(error)) from None
    print(
        mint.token(
            signing,
            actor_id=actor,
            now_s=time.time(),
            life_s=life_s,
            roles=[role.value],
            games=game,
            issuer=issuer,
            actor_claim=actor_claim,
            name=name,
        )
    )
