"""`Intake.take` has a fast path for the usual event and a general one for all: both have the same effect.

A message that carries a trace context is taken by the general path alone, so each message is given to two
intakes, to one with a trace context. Bodies and games are few and some rates low: the fast path meets actors
and games that are over their rate, and switches between games and to the general path within a message.
"""

from __future__ import annotations

from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench._rows import rows_of
from grandstand.catalog.v1.catalog_pb2 import BOARD_MODE_SUM, CustomTopic, Game, Poll, Pulse
from grandstand.event.v1.event_pb2 import Custom, Event, Measure, Position, Presence, Reaction, Score, Vote
from grandstand.wire.errors import GrandstandError
from ingest import intake as intake_module
from ingest.admission import Admission
from ingest.buckets import Rate
from ingest.intake import Intake, Unresolved
from mesh.catalog.view import CatalogView
from tests.support import blocks
from tests.support.blocks import GAME, NOW_S, origin
from tests.support.intake import UNLIMITED, IntakeRig, Listener, bearer, incoming, taken_ack

OTHER, SPREAD = "other", "spread"
CLOSES_AFTER_S = 2
Rates = tuple[Rate, ...]
AMPLE: Rates = (UNLIMITED, UNLIMITED, UNLIMITED)
# Of an actor, a game, the instance and a producer: all ample, or one that is met soon.
RATES: list[Rates] = [
    AMPLE,
    (Rate(3, 6), UNLIMITED, UNLIMITED),
    (UNLIMITED, Rate(8, 24), UNLIMITED),
    (UNLIMITED, UNLIMITED, Rate(12, 40)),
    (UNLIMITED, UNLIMITED, UNLIMITED, Rate(10, 30)),
]
BODIES = [
    {"vote": Vote(poll_id="mvp", option_ids=["a"])},
    {"vote": Vote(poll_id="mvp", option_ids=["b"])},
    {"vote": Vote(poll_id="mvp", option_ids=["nobody"])},
    {"vote": Vote(poll_id="short", option_ids=["a"])},
    {"score": Score(board_id="top", points=5)},
    {"reaction": Reaction(pulse_id="cheer", kind="fire")},
    {"reaction": Reaction(pulse_id="cheer", kind="fire", count=3)},
    {"presence": Presence(state=1)},
    {"measure": Measure(metric_id="ping", value=1.5)},
    {"custom": Custom(custom_id="words", payload=b"hi")},
    {},
]
USUAL_ELSEWHERE = BODIES[5:8]
USUAL = [*BODIES[:2], BODIES[3], *USUAL_ELSEWHERE]


def catalog() -> CatalogView:
    view = CatalogView()
    customs = [CustomTopic(custom_id="words", fold="words")]
    game = blocks.game(audience=True, metrics=["ping"], customs=customs)
    pulses = [Pulse(pulse_id="cheer", kinds=["fire"])]
    short = blocks.poll("short")
    short.closes_at.FromSeconds(NOW_S + CLOSES_AFTER_S)
    entries = {
        f"game.{GAME}": game,
        f"game.{OTHER}": Game(game_id=OTHER, pulses=pulses, audience=True),
        f"game.{SPREAD}": Game(game_id=SPREAD, pulses=pulses, audience=True, spread=4),
        f"poll.{GAME}.mvp": blocks.poll(),
        f"poll.{GAME}.short": short,
        f"board.{GAME}.top": blocks.board(BOARD_MODE_SUM),
    }
    for revision, (key, definition) in enumerate(entries.items(), start=1):
        assert isinstance(definition, Game | Poll) or key.startswith("board")
        view.put(key, revision, definition.SerializeToString())
    return view


@dataclass(frozen=True)
class Message:
    events: list[Event]
    after_s: float
    sheds: int
    """0: nothing, 1: measures, 2: reactions and presence too."""
    log_full: bool
    is_fresh: bool


@st.composite
def events(draw: st.DrawFn) -> Event:
    """Its number is how far it is from the one expected: 0, mostly."""
    usual = draw(st.integers(0, 9)) < 9
    game_id = draw(st.sampled_from([GAME, GAME, OTHER, SPREAD] if usual else [GAME, "nowhere", "no id!"]))
    bodies = BODIES if not usual else USUAL if game_id == GAME else USUAL_ELSEWHERE
    return Event(
        origin_id="" if usual else draw(st.sampled_from(["", origin(7), origin(8, producer=True), "v"])),
        origin_seq=0 if usual or draw(st.integers(0, 9)) < 8 else 1,
        game_id=game_id,
        actor_id=draw(
            st.sampled_from(["bob", "auth0|eve"] if usual else ["", "ann", "bob", "é@x", "no\nid"])
        ),
        **draw(st.sampled_from(bodies)),
    )


messages = st.builds(
    Message,
    events=st.lists(events(), min_size=1, max_size=12),
    after_s=st.sampled_from([0.0, 0.1, 0.25, 1.0]),
    sheds=st.sampled_from([0, 0, 0, 1, 2]),
    log_full=st.sampled_from([False, False, False, True]),
    is_fresh=st.sampled_from([True, True, True, False]),
)


def numbered(event: Event, next_seq: int, *, producer: bool) -> Event:
    """A viewer names no actor, mostly; a producer does."""
    copy = Event()
    copy.CopyFrom(event)
    copy.origin_seq += next_seq if not event.origin_id else 1
    if not producer and event.actor_id in ("bob", "auth0|eve"):
        copy.actor_id = ""
    return copy


class Side:
    """One of the two intakes, with one stream."""

    def __init__(
        self, *, cause: str, producer: bool, own: str, games: list[str] | None, rates: Rates = AMPLE
    ) -> None:
        self.cause = cause
        self.producer = producer
        self.listener = Listener()
        who = bearer("ann", producer=producer, games=games)
        self.listener.open(who, producer=producer, actor_id=own)
        self.rig = IntakeRig(catalog(), Admission(*rates))
        # Another stream has sent all of these before.
        earlier = Listener()
        earlier.open(producer=producer, actor_id="ann")
        for game_id in (GAME, OTHER, SPREAD):
            for body in USUAL if game_id == GAME else USUAL_ELSEWHERE:
                event = Event(game_id=game_id, origin_seq=earlier.session.next_seq, **body)
                self.rig.take(earlier, event, now_s=NOW_S - 3600 + 5 * event.origin_seq)
        self.rig.batches()

    def take(self, message: Message, now_s: float) -> tuple[float, list[str]]:
        """The pause that is asked for; what was unresolved, and the error that ends the stream."""
        pressure, session = self.rig.pressure, self.listener.session
        pressure.sheds_measures, pressure.sheds_reactions = message.sheds > 0, message.sheds > 1
        pressure.log_full = message.log_full
        unresolved: Unresolved = []
        next_seq, sent = session.next_seq, []
        for event in message.events:
            sent.append(numbered(event, next_seq, producer=self.producer))
            next_seq += not event.origin_id
        wait_s, ended = 0.0, list[str]()
        try:
            wait_s = self.rig.intake.take(
                self.listener,
                incoming(sent),
                now_s,
                now_s,
                unresolved,
                self.cause,
                is_fresh=message.is_fresh,
            )
        except GrandstandError as error:
            ended = [repr(error)]
        left = [f"{event.origin_seq} {error!r}" for event, error in unresolved]
        self.rig.intake.take_unresolved(self.listener, unresolved, now_s, now_s)
        return wait_s, left + ended

    def seen(self) -> dict[str, object]:
        """All that the messages have left behind, but for what was asked of the caller."""
        session = self.listener.session
        state = {
            name: getattr(session, name) for name in ("state", "next_seq", "acked", "relayed", "unsettled")
        }
        told = [(origin_id, seq, repr(error), maybe) for origin_id, seq, error, maybe in self.listener.told]
        found: dict[str, object] = {"session": state, "told": told, "ack": taken_ack(session)}
        for batch in self.rig.batches():
            tickets = [(getattr(run.ticket, "origin_id", ""), run.first, run.last) for run in batch.runs]
            found[f"partition {batch.partition}"] = rows_of(batch), tickets, batch.bytes, batch.stamped_at_s
            for run in batch.runs:
                run.ticket.stored(run.first, run.last, Position(partition=batch.partition, sequence=1))
        return found


@pytest.mark.parametrize("games", [None, [GAME]])
@pytest.mark.parametrize(("producer", "own"), [(False, "ann"), (True, ""), (True, "ann")])
@given(history=st.lists(messages, min_size=1, max_size=8), rates=st.sampled_from(RATES))
def test_both_paths_of_intake_have_the_same_effect(
    producer: bool, own: str, games: list[str] | None, history: list[Message], rates: Rates
) -> None:
    fast, general = (
        Side(cause=cause, producer=producer, own=own, games=games, rates=rates) for cause in ("", "00-trace")
    )
    now_s = float(NOW_S)
    for message in history:
        now_s += message.after_s
        fast_s, fast_left = fast.take(message, now_s)
        general_s, general_left = general.take(message, now_s)
        assert fast_left == general_left
        assert fast_s == pytest.approx(general_s, abs=1e-4)
        assert fast.seen() == general.seen()


def test_the_two_intakes_do_take_different_paths(monkeypatch: pytest.MonkeyPatch) -> None:
    """Else the test above would compare a path with itself."""
    taken: list[int] = []
    one = Intake._one

    def noted(self: Intake, *args: object, **fields: object) -> float:
        taken.append(1)
        return one(self, *args, **fields)  # type: ignore[arg-type]

    monkeypatch.setattr(intake_module.Intake, "_one", noted)
    message = Message([Event(game_id=GAME, **BODIES[0])] * 3, 0.0, 0, False, True)
    for cause, most in (("", 0), ("00-trace", 3)):
        side = Side(cause=cause, producer=False, own="ann", games=None)
        taken.clear()
        side.take(message, NOW_S)
        assert len(taken) == most
