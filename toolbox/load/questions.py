"""What the demo asks its viewers, in turn."""

from __future__ import annotations

import re
from typing import NamedTuple

from grandstand.catalog.v1.catalog_pb2 import Poll, PollOption


class Question(NamedTuple):
    """`name` goes into the poll's id; options are written as (option_id, label)."""

    name: str
    text: str
    options: tuple[tuple[str, str], ...]


QUESTIONS = (
    Question(
        "mvp",
        "Who is the player of the match so far?",
        (("nova", "Nova"), ("kestrel", "Kestrel"), ("juno", "Juno"), ("rook", "Rook")),
    ),
    Question(
        "next-goal",
        "Which side scores next?",
        (("home", "The home side"), ("away", "The away side"), ("nobody", "Nobody before the break")),
    ),
    Question(
        "replay",
        "Which moment do you want to see again?",
        (("save", "The fingertip save"), ("volley", "That volley"), ("tackle", "The last-ditch tackle")),
    ),
    Question(
        "call",
        "Penalty or no penalty?",
        (("penalty", "Stonewall penalty"), ("no", "Never in a lifetime"), ("screen", "Off to the screen")),
    ),
    Question(
        "song",
        "What should the stadium sing next?",
        (
            ("anthem", "The anthem"),
            ("classic", "An old classic"),
            ("drums", "Just the drums"),
            ("wave", "A wave"),
        ),
    ),
    Question(
        "change",
        "Who should come on now?",
        (("mako", "Mako"), ("pixel", "Pixel"), ("tempest", "Tempest"), ("nobody", "Nobody, leave it")),
    ),
    Question(
        "final-score",
        "How does it end?",
        (("home", "Home win"), ("draw", "A draw"), ("away", "Away win")),
    ),
    Question(
        "camera",
        "Which camera do we stay on?",
        (("sky", "The one in the sky"), ("line", "On the touchline"), ("goal", "Behind the goal")),
    ),
)

_POLL_ID = re.compile(r"demo-([a-z-]+)-[0-9]+\Z")


def name_in(poll_id: str) -> str | None:
    """The question's name in a demo poll's id; None for a poll of somebody else."""
    found = _POLL_ID.match(poll_id)
    return found[1] if found else None


def after(name: str | None) -> Question:
    """The question that follows the one called `name`; the first for an unknown name."""
    names = [question.name for question in QUESTIONS]
    return QUESTIONS[(names.index(name) + 1) % len(QUESTIONS)] if name in names else QUESTIONS[0]


def poll_of(question: Question, game_id: str, now_s: float, open_for_s: float) -> Poll:
    """The question as a poll; its id holds the second of its opening, for ids are never reused."""
    poll = Poll(
        game_id=game_id,
        poll_id=f"demo-{question.name}-{int(now_s)}",
        question=question.text,
        options=[PollOption(option_id=option_id, label=label) for option_id, label in question.options],
        changeable=True,
    )
    poll.open_for.FromNanoseconds(int(open_for_s * 1e9))
    return poll
