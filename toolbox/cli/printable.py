"""Text that others wrote, for a terminal: it moves no cursor and reverses no line. Pure."""

from __future__ import annotations

from grandstand.wire.names import JOINERS


def printable(text: str, characters_max: int = 10_000) -> str:
    """The text with control and direction characters escaped, such as \\x1b, and cut with an ellipsis."""
    cut = text if len(text) <= characters_max else f"{text[: characters_max - 1]}…"
    if cut.isprintable():
        return cut
    return "".join(
        each if each.isprintable() or each in JOINERS else each.encode("unicode_escape").decode()
        for each in cut
    )
