"""What others see of an actor: a name, sanitised. Pure.

A name is 1 to 64 characters and at most 128 bytes of UTF-8, with something in it that shows. It has no
control and no bidirectional formatting characters, no line or paragraph separators, no other invisible ones
but the joiners that scripts and emoji need, no spaces at the ends, and nothing that reads as an e-mail
address: platforms put one into the claim `name` where they know nothing better.

What a token claims is `cleaned`, because a token is good whatever its name is. What a producer gives is
checked (`check_name`), because it can give another.
"""

from __future__ import annotations

import re
import unicodedata
from typing import Any

from grandstand.wire import bounds
from grandstand.wire.errors import Invalid, shown

JOINERS = "\u200c\u200d"
"""Scripts such as Persian and emoji such as families need them; alone they do not show."""
_HIDDEN = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"})
_BLANK_LETTERS = "\u115f\u1160\u2800\u3164\uffa0"
_EMAIL = re.compile(r"[^\s@]@[^\s@]+\.[^\s@]")


def cleaned(claim: Any) -> str:
    """The name in a claim, without what no name may have and cut to its bounds; "" where none is left."""
    if not isinstance(claim, str):
        return ""
    if _is_simple(claim):
        return claim
    # What is beyond the bound is not looked at, however long the claim is.
    claim = claim[: 4 * bounds.NAME_CHARACTERS_MAX]
    name = "".join(character for character in claim if not _is_hidden(character)).strip()
    name = name[: bounds.NAME_CHARACTERS_MAX]
    name = name.encode()[: bounds.NAME_BYTES_MAX].decode(errors="ignore").strip()
    return name if _shows(name) and not is_email(claim) and not is_email(name) else ""


def check_name(field: str, value: str) -> str:
    """`value` if it is a name. Raises Invalid naming the field, the value and the bound."""
    if _is_simple(value):
        return value
    size = len(value.encode(errors="surrogatepass"))
    if len(value) > bounds.NAME_CHARACTERS_MAX or size > bounds.NAME_BYTES_MAX:
        raise Invalid(
            f"{field}: {shown(value)} has {len(value)} characters in {size} bytes; at most "
            f"{bounds.NAME_CHARACTERS_MAX} in {bounds.NAME_BYTES_MAX} are allowed"
        )
    for character in value:
        if _is_hidden(character):
            raise Invalid(f"{field}: {shown(value)} has the character {character!r}, which does not show")
    if value != value.strip() or not _shows(value):
        raise Invalid(f"{field}: {shown(value)} has a space at an end, or nothing that shows")
    if is_email(value):
        raise Invalid(f"{field}: {shown(value)} is an e-mail address; others would see it: give a name")
    return value


def is_email(text: str) -> bool:
    """Whether the text has in it what reads as an e-mail address."""
    return _EMAIL.search(unicodedata.normalize("NFKC", text)) is not None


def _is_simple(text: str) -> bool:
    return (
        text.isascii()
        and text.isprintable()
        and 0 < len(text) <= bounds.NAME_CHARACTERS_MAX
        and "@" not in text
        and text == text.strip()
    )


def _is_hidden(character: str) -> bool:
    if unicodedata.category(character) in _HIDDEN:
        return character not in JOINERS
    return character in _BLANK_LETTERS


def _shows(text: str) -> bool:
    return any(unicodedata.category(character)[0] in "LNPS" for character in text)
