"""Who a command acts as: the token it is given, or the least role of this home's own mesh that does.

Sending takes a producer, who acts for whomever `--actor` names; defining, opening and closing takes an owner.
The development key signs for both, and its tokens are good for the mesh of its home alone. For any other the
token comes by `--token` or GRANDSTAND_TOKEN, and who acts is its actor.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from toolbox.cli.rpc import default_actor
from toolbox.local import status
from toolbox.local.errors import MeshError
from toolbox.local.running import home_of

if TYPE_CHECKING:
    from grandstand.client import Token

_WAY_OUT = "give --token or GRANDSTAND_TOKEN"

TokenOption = Annotated[
    str | None,
    typer.Option(
        "--token",
        metavar="JWT",
        envvar="GRANDSTAND_TOKEN",
        show_envvar=True,
        show_default="the home's development key makes one",
        help="Act as this token says; grandstand token makes one.",
    ),
]


def acting(token: str | None, home: Path | None) -> Token:
    """`token`, or a producer's, minted afresh as long as the command runs. Raises MeshError."""
    if token:
        return token
    from toolbox.local.development import producer_token

    return producer_token(own_home(home, _WAY_OUT))


def owning(token: str | None, home: Path | None) -> Token:
    """`token`, or an owner's in the name of this machine's user, as `acting`. Raises MeshError."""
    if token:
        return token
    from toolbox.local.development import owner_token

    return owner_token(own_home(home, _WAY_OUT), default_actor())


def reading_as(actor: str | None, token: str | None, home: Path | None) -> Token:
    """`token`, or one of `actor`, by default of this machine's user, as `acting`. Raises MeshError."""
    if token:
        if actor:
            raise MeshError(f"--actor {actor}: the token says who acts; give one of both")
        return token
    from toolbox.local.development import actor_token

    return actor_token(own_home(home, _WAY_OUT), actor or default_actor())


def operating(token: str | None, home: Path | None) -> Token:
    """`token`, or an operator's in the name of this machine's user, signed with the home's mesh key, which
    does in production too. Raises MeshError."""
    if token:
        return token
    from toolbox.local.development import MESH_KEY, operator_token

    root = home_of(home).root
    if not (root / MESH_KEY).is_file():
        raise MeshError(f"there is no mesh key in {root}; ./grandstand up makes one, or {_WAY_OUT}")
    return operator_token(root, default_actor())


def own_home(home: Path | None, way_out: str) -> Path:
    """The home whose development key signs. Raises MeshError where there is none, or it is not in use."""
    from toolbox.local.development import DEVELOPMENT_KEY

    place = home_of(home)
    now = status.read(place.status)
    if now is not None and not now.own_keys:
        raise MeshError(f"the mesh in {place.root} takes tokens of {now.keys.partition(';')[0]}; {way_out}")
    if not (place.root / DEVELOPMENT_KEY).is_file():
        raise MeshError(
            f"there is no development key in {place.root}; ./grandstand up makes one, or {way_out}"
        )
    return place.root
