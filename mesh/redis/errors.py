"""What a step on a partition's state raises, and how Redis' answers are told apart."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from redis.exceptions import ResponseError


class Fenced(Exception):
    """The lease is not this writer's (any more); nothing was written."""


class Rewound(Exception):
    """Redis does not hold the state this step starts from; nothing was written."""


class Corrupt(Exception):
    """A key does not hold what it must: the state is to be erased and folded again."""


@contextlib.contextmanager
def told_apart() -> Iterator[None]:
    """What a script refuses, or a key of the wrong type, as an exception of its own."""
    try:
        yield
    except ResponseError as error:
        if "FENCED" in str(error):
            raise Fenced("the lease is lost") from None
        if "REWOUND" in str(error):
            raise Rewound("the stored state is another") from None
        if "CORRUPT" in str(error):
            raise Corrupt(f"{str(error).partition('CORRUPT ')[2].split()[0]} is lost or went back") from None
        if "WRONGTYPE" in str(error):
            raise Corrupt(str(error)) from None
        raise
