"""When the seasons of a board run. Pure: season 1 begins at `starts_at`, each lasts `every`.

Seasons follow each other without gaps and half open: a stamp of exactly a season's end is in
the next one. What was stamped before season 1 belongs to it too, so that nothing is lost.
All times are Unix microseconds, as the stamps of blocks are. A season that the catalog would
not have taken counts as one of the least length: a fold never fails over a definition.
"""

from __future__ import annotations

from grandstand.aggregate.v1.aggregate_pb2 import SeasonSpan
from grandstand.catalog.v1.catalog_pb2 import Season
from mesh import limits

_EVERY_MIN_US = int(limits.SEASON_MIN_S * 1e6)


def length_us(season: Season) -> int:
    return max(_EVERY_MIN_US, season.every.ToMicroseconds())


def number_at(season: Season, at_us: int) -> int:
    """The number of the season that runs at `at_us`; from 1."""
    return max(1, 1 + (at_us - season.starts_at.ToMicroseconds()) // length_us(season))


def starts_at_us(season: Season, number: int) -> int:
    return season.starts_at.ToMicroseconds() + (number - 1) * length_us(season)


def ends_at_us(season: Season, number: int) -> int:
    return starts_at_us(season, number + 1)


def span_of(season: Season, number: int) -> SeasonSpan:
    span = SeasonSpan(number=number)
    span.starts_at.FromMicroseconds(starts_at_us(season, number))
    span.ends_at.FromMicroseconds(ends_at_us(season, number))
    return span
