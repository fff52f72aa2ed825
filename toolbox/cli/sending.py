"""send: one event of any kind into a running mesh."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Annotated, Any

import typer

from toolbox.cli.credentials import TokenOption, acting
from toolbox.cli.home import HomeOption
from toolbox.cli.rpc import GameOption, JsonOption, default_actor, run_rpc
from toolbox.local.errors import MeshError
from toolbox.local.running import running_mesh

if TYPE_CHECKING:
    from grandstand.client import Receipt, Token
    from grandstand.event.v1.event_pb2 import Event

ANSWER_S = 10.0

ActorOption = Annotated[
    str | None, typer.Option("--actor", metavar="ID", help="Who acts.", show_default="you, or the token's")
]


def register(app: typer.Typer) -> None:
    sending = typer.Typer(help="Send one event.", no_args_is_help=True)
    sending.command()(vote)
    # So that a negative number is a score and not an option.
    sending.command(context_settings={"ignore_unknown_options": True})(score)
    sending.command()(reaction)
    sending.command()(presence)
    sending.command(context_settings={"ignore_unknown_options": True})(measure)
    sending.command()(custom)
    app.add_typer(sending, name="send")


def vote(
    poll: Annotated[str, typer.Argument(help="The poll's id.")],
    option: Annotated[list[str], typer.Argument(help="The option's id; several where the poll allows it.")],
    weight: Annotated[int, typer.Option(min=1, help="What the vote weighs, in a poll with weights.")] = 1,
    actor: ActorOption = None,
    game: GameOption = "demo",
    home: HomeOption = None,
    token: TokenOption = None,
    as_json: JsonOption = False,
) -> None:
    """Vote in a poll. A vote of more than 1 is sent in the producer role, as your own backend does.

    Example: ./grandstand send vote mvp nova --actor ana
    """
    from grandstand.event.v1.event_pb2 import Event, Vote

    body = Vote(poll_id=poll, option_ids=option, weight=weight)
    _send(home, token, actor, as_json, Event(game_id=game, vote=body), producer=weight > 1)


def score(
    board: Annotated[str, typer.Argument(help="The board's id.")],
    points: Annotated[int, typer.Argument(help="In the board's own unit; |points| up to 2^53.")],
    name: Annotated[
        str,
        typer.Option(
            metavar="TEXT", help="What others see of the actor from now on.", show_default="it stays"
        ),
    ] = "",
    actor: ActorOption = None,
    game: GameOption = "demo",
    home: HomeOption = None,
    token: TokenOption = None,
    as_json: JsonOption = False,
) -> None:
    """Score on a board.

    Example: ./grandstand send score top 25 --actor Nova
    """
    from grandstand.event.v1.event_pb2 import Event, Score

    if abs(points) > 2**53:
        raise MeshError(f"points: {points} is out of range; -2^53 to 2^53 are allowed")
    body = Score(board_id=board, points=points, name=name)
    _send(home, token, actor, as_json, Event(game_id=game, score=body))


def reaction(
    kind: Annotated[str, typer.Argument(help="One of the pulse's kinds, such as clap.")],
    pulse: Annotated[str, typer.Option(help="The pulse that counts it.")] = "reactions",
    count: Annotated[int, typer.Option(min=1, max=100, help="How many at once.")] = 1,
    actor: ActorOption = None,
    game: GameOption = "demo",
    home: HomeOption = None,
    token: TokenOption = None,
    as_json: JsonOption = False,
) -> None:
    """React to what happens.

    Example: ./grandstand send reaction clap --count 3
    """
    from grandstand.event.v1.event_pb2 import Event, Reaction

    body = Reaction(pulse_id=pulse, kind=kind, count=count)
    _send(home, token, actor, as_json, Event(game_id=game, reaction=body))


def presence(
    gone: Annotated[bool, typer.Option("--gone", help="The actor has left, rather than: watches.")] = False,
    actor: ActorOption = None,
    game: GameOption = "demo",
    home: HomeOption = None,
    token: TokenOption = None,
    as_json: JsonOption = False,
) -> None:
    """Say that somebody watches a game; it counts for 45 seconds. It is sent in the producer role, as your
    own backend does; gateways report their viewers by themselves.

    Example: ./grandstand send presence --actor ana
    """
    from grandstand.event.v1.event_pb2 import PRESENCE_STATE_GONE, PRESENCE_STATE_HERE, Event, Presence

    state = PRESENCE_STATE_GONE if gone else PRESENCE_STATE_HERE
    event = Event(game_id=game, presence=Presence(state=state))
    _send(home, token, actor, as_json, event, producer=True)


def measure(
    metric: Annotated[str, typer.Argument(help="The metric's id.")],
    value: Annotated[float, typer.Argument(help="In the metric's own unit.")],
    actor: ActorOption = None,
    game: GameOption = "demo",
    home: HomeOption = None,
    token: TokenOption = None,
    as_json: JsonOption = False,
) -> None:
    """Send a measured value.

    Example: ./grandstand send measure delay 41.5
    """
    from grandstand.event.v1.event_pb2 import Event, Measure

    _send(home, token, actor, as_json, Event(game_id=game, measure=Measure(metric_id=metric, value=value)))


def custom(
    topic: Annotated[str, typer.Argument(help="The custom topic's id.")],
    payload: Annotated[str, typer.Argument(help="What its fold understands, as text.")],
    actor: ActorOption = None,
    game: GameOption = "demo",
    home: HomeOption = None,
    token: TokenOption = None,
    as_json: JsonOption = False,
) -> None:
    """Send an event to a fold of your own.

    Example: ./grandstand send custom words hello
    """
    from grandstand.event.v1.event_pb2 import Custom, Event

    _send(
        home,
        token,
        actor,
        as_json,
        Event(game_id=game, custom=Custom(custom_id=topic, payload=payload.encode())),
    )


def _send(
    home: Any, token: str | None, actor: str | None, as_json: bool, event: Event, *, producer: bool = False
) -> None:
    # Who is given a token is its actor, unless another is named.
    actor = actor or ("" if token else default_actor())
    from toolbox.cli.command_trace import command_span

    found = running_mesh(home)
    with command_span(f"grandstand send {event.WhichOneof('body')}", found.otlp):
        receipt = run_rpc(_sent(found.edge, acting(token, home), actor, event, producer))
    positions = [{"partition": p.partition, "sequence": p.sequence} for p in receipt.positions]
    if as_json:
        print(
            json.dumps(
                {"originId": receipt.origin_id, "originSeq": receipt.origin_seq, "positions": positions}
            )
        )
    else:
        at = ", ".join(f"partition {p['partition']}, sequence {p['sequence']}" for p in positions)
        print(f"Stored at {at}.")


async def _sent(edge: str, token: Token, actor: str, event: Event, producer: bool) -> Receipt:
    from grandstand.client import Publisher, open_channel

    if producer:
        event.actor_id, actor = actor, ""
    async with open_channel(edge) as channel:
        publisher = Publisher(
            channel, actor_id=actor, producer=producer, client="grandstand-cli", token=token
        )
        publisher.start()
        try:
            await publisher.connected(ANSWER_S)
            async with asyncio.timeout(ANSWER_S):
                return await publisher.send(event)
        except TimeoutError:
            raise MeshError(
                f"no answer after {ANSWER_S:g} s; the event may or may not be stored."
                " ./grandstand status tells how the mesh is"
            ) from None
        finally:
            await publisher.aclose()
