"""token: a development token, signed with the key of this home's own mesh; and tokens revoked."""

from __future__ import annotations

import enum
import secrets
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer

from toolbox.cli.credentials import TokenOption, operating, own_home
from toolbox.cli.home import HomeOption
from toolbox.cli.lists import list_revocations
from toolbox.cli.rpc import JsonOption, default_actor, on_mesh, print_message, seconds_of
from toolbox.local.errors import MeshError, from_os
from toolbox.local.running import running_mesh

LIFE_MAX_S = 366 * 24 * 3600.0
_JTI_BYTES = 8


class Role(enum.StrEnum):
    viewer = "viewer"
    producer = "producer"
    owner = "owner"
    operator = "operator"


def register(app: typer.Typer) -> None:
    noun = typer.Typer(invoke_without_command=True, no_args_is_help=False)
    noun.callback()(token)
    noun.command()(revoke)
    noun.command("revocations")(list_revocations)
    app.add_typer(noun, name="token")


def token(
    context: typer.Context,
    actor: Annotated[
        str | None,
        typer.Option(metavar="ID", help="Whose token it is.", show_default="you"),
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
    """Make a token and print it, and nothing else, as for TOKEN=$(./grandstand token). Or revoke some.

    Example: ./grandstand token --actor ann --for 1h
    """
    if context.invoked_subcommand is not None:
        return
    from mesh.auth import BadKeys, mint, read_signing_keys
    from toolbox.local.development import DEVELOPMENT_KEY

    life_s = seconds_of(life)
    if not 1 <= life_s <= LIFE_MAX_S:
        raise MeshError(f"--for {life!r} is outside 1s to 366d")
    if actor is None:
        actor = default_actor()
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
            token_id=secrets.token_hex(_JTI_BYTES),
            actor_claim=actor_claim,
            name=name,
        )
    )


def revoke(
    actor: Annotated[str | None, typer.Option(metavar="ID", help="Those of this actor.")] = None,
    token_id: Annotated[
        str | None, typer.Option("--id", metavar="JTI", help="The one with this jti.")
    ] = None,
    every: Annotated[bool, typer.Option("--all", help="Those of everybody.")] = False,
    before: Annotated[
        str | None,
        typer.Option(
            metavar="TIME",
            help="Those issued before, such as 2026-11-30T19:00:00Z, or Unix seconds.",
            show_default="now",
        ),
    ] = None,
    keep: Annotated[
        str | None,
        typer.Option(
            metavar="DURATION",
            help="As long as such a token may live from now on.",
            show_default="366d, the longest life",
        ),
    ] = None,
    home: HomeOption = None,
    token: TokenOption = None,
    as_json: JsonOption = False,
) -> None:
    """Take tokens back: within a second no service takes them, and what they opened ends.

    Example: ./grandstand token revoke --actor ann --keep 1h
    """
    from grandstand.access.v1.access_pb2 import RevokeRequest

    if sum((actor is not None, token_id is not None, every)) != 1:
        raise MeshError("say which tokens: one of --actor ID, --id JTI and --all")
    asked = RevokeRequest()
    if actor is not None:
        asked.actor_id = actor
    elif token_id is not None:
        asked.token_id = token_id
    else:
        asked.all = True
    if before is not None:
        asked.issued_before.FromMicroseconds(round(_unix_s(before) * 1e6))
    if keep is not None:
        asked.kept_until.FromMicroseconds(round((time.time() + seconds_of(keep)) * 1e6))
    done = on_mesh(running_mesh(home).mesh, lambda backend: backend.revoke(asked), operating(token, home))
    which = done.WhichOneof("tokens")
    whose = f"The token with jti {token_id}" if which == "token_id" else "Tokens"
    of = f" of {actor}" if which == "actor_id" else ""
    issued = f" issued before {done.issued_before.ToJsonString()}" if which != "token_id" else ""
    kept = f"kept until {done.kept_until.ToJsonString()}"
    print_message(done, as_json, f"Revoked, {kept}: {whose}{of}{issued}.")


def _unix_s(text: str) -> float:
    """Raises MeshError."""
    try:
        return float(text)
    except ValueError:
        pass
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        raise MeshError(f"--before {text!r} is no time; give for example 2026-11-30T19:00:00Z") from None
    return (found if found.tzinfo else found.replace(tzinfo=UTC)).timestamp()
