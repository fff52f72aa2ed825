"""A poll's share as its owner encodes it most of the time: read from the bytes, shown by the bytes. Pure.

Of most games one poll changes, in one partition, by a few votes, some thousand times a second over all games.
Then all that a viewer is to be told lies in the encoded Partial: the sequence, the stage, and one number for
each option. So these are cut out of it as they are encoded and put into the TopicDelta, and neither the
Partial nor the TopicState is made, unless somebody asks for all of it.

This is so for a Partial that begins with the same identity and the same options as one that was decoded
before, and holds nothing else but a moment, votes and voters, in the order of their fields. Any other, with
weights or guests, or as another release writes it, is decoded: `Form.read` returns None.

Bound: one encoded Partial for each topic.
"""

from __future__ import annotations

import re
from functools import lru_cache
from itertools import compress
from operator import ne

from grandstand.aggregate.v1.aggregate_pb2 import TopicState
from grandstand.catalog.v1.catalog_pb2 import Stage
from grandstand.event.v1.event_pb2 import Position
from grandstand.gateway.v1.delta_pb2 import OptionDelta, TallyDelta, TopicDelta
from grandstand.internal.v1.internal_pb2 import Partial, TallyPartial
from mesh.merge import TopicMerge
from mesh.merge.tally import sum_tally
from mesh.results_feed.shown import Shown
from mesh.wire_format import LENGTH_DELIMITED, VARINT, sized, tag, varint

_VARINT = rb"[\x80-\xff]{0,9}[\x00-\x7f]"


def _field(name: str, content: bytes) -> bytes:
    return re.escape(tag(Partial, name, VARINT)) + content


_MOMENT = re.compile(
    _field("sequence", b"(" + _VARINT + b")")
    + _field("stage", rb"([\x01-\x7f])")
    + b"(?:"
    + _field("changed_at_s", _VARINT)
    + b")?"
    + re.escape(tag(Partial, "tally", LENGTH_DELIMITED))
    + _VARINT,
    re.DOTALL,
)
_VOTERS = re.compile(re.escape(tag(TallyPartial, "voters", VARINT)) + b"(" + _VARINT + b")", re.DOTALL)
_NUMBERS = re.compile(_VARINT, re.DOTALL)
_VOTES = tag(TallyPartial, "votes", LENGTH_DELIMITED)

_read_moment, _read_voters, _read_numbers = _MOMENT.match, _VOTERS.fullmatch, _NUMBERS.findall

_STAGE_SAID = tag(TopicDelta, "stage", VARINT)
_CURSOR_SAID = tag(TopicDelta, "cursor", LENGTH_DELIMITED)
_TALLY_SAID = tag(TopicDelta, "tally", LENGTH_DELIMITED)
_OPTIONS_SAID = tag(TallyDelta, "options", LENGTH_DELIMITED)
_VOTERS_SAID = tag(TallyDelta, "voters", VARINT)
_PLACE_SAID, _VOTES_SAID, _WEIGHT_SAID = (
    tag(OptionDelta, name, VARINT) for name in ("place", "votes", "weight")
)
_PLACES = range(64)
_SIZES = [varint(size) for size in range(64)]
_PLACES_SAID = [(_PLACE_SAID + varint(place) if place else b"") + _VOTES_SAID for place in _PLACES]


def name_end(encoded: bytes) -> int:
    """Where game and topic end in an encoded Partial, if they stand first and have fewer than 128 bytes."""
    try:
        at = 2 + encoded[1]
        return at + 2 + encoded[at + 1]
    except IndexError:
        return 0


class Form:
    """What is the same in all plain Partials of a topic."""

    __slots__ = ("identity", "name", "options", "options_count", "partition", "topic", "topic_said")

    def __init__(self, partial: Partial) -> None:
        """`partial`: one of the topic's, with a tally."""
        self.topic = partial.topic
        self.partition = partial.partition
        self.identity = Partial(
            game_id=partial.game_id, topic=partial.topic, partition=partial.partition
        ).SerializeToString()
        self.name = self.identity[: name_end(self.identity)]
        """Game and topic."""
        self.options = TallyPartial(option_ids=partial.tally.option_ids).SerializeToString() + _VOTES
        self.options_count = len(partial.tally.option_ids)
        self.topic_said = tag(TopicDelta, "topic", LENGTH_DELIMITED) + sized(partial.topic.encode())

    def read(self, encoded: bytes) -> PlainTally | None:
        """None if it has another form, or is of another topic or partition."""
        identity, options = self.identity, self.options
        if not encoded.startswith(identity):
            return None
        moment = _read_moment(encoded, len(identity))
        if moment is None:
            return None
        at = moment.end()
        if not encoded.startswith(options, at):
            return None
        at += len(options)
        begin = at + 1
        end = begin + encoded[at]
        voters = _read_voters(encoded, end)
        if voters is None or encoded[at] >= 0x80:
            return None
        votes = _read_numbers(encoded, begin, end)
        if len(votes) != self.options_count or len(votes) > len(_PLACES_SAID):
            return None
        sequence, stage = moment.groups()
        return PlainTally(self, encoded, sequence, stage, votes, voters[1])


class PlainTally(Shown):
    """What is shown of the poll. Its numbers are encoded."""

    __slots__ = ("_stage", "_voters", "_votes", "form", "partial_bytes", "sequence")

    def __init__(
        self, form: Form, encoded: bytes, sequence: bytes, stage: bytes, votes: list[bytes], voters: bytes
    ) -> None:
        self._state = self._encoded = None
        self.form = form
        self.partial_bytes = encoded
        self.sequence = sequence
        self._stage = stage
        self._votes = votes
        self._voters = voters

    @property
    def state(self) -> TopicState:
        if self._state is None:
            partial = Partial.FromString(self.partial_bytes)
            at = [(partial.partition, partial.sequence)]
            tally = sum_tally(partial.tally)
            self._state = TopicMerge.tally_state(partial.topic, at, partial.stage, tally)
        return self._state

    @property
    def stage(self) -> Stage:
        return self._stage[0]  # type: ignore[return-value]

    def delta(self, before: Shown) -> bytes | None:
        form = self.form
        if type(before) is not PlainTally or before.form is not form:
            return super().delta(before)
        said = b""
        now = self._votes
        for place in compress(_PLACES, map(ne, now, before._votes)):
            option = _PLACES_SAID[place] + now[place] + _WEIGHT_SAID + now[place]
            said += _OPTIONS_SAID + _SIZES[len(option)] + option
        if said or self._voters != before._voters:
            said += _VOTERS_SAID + self._voters
            said = _TALLY_SAID + sized(said)
        sequence = self.sequence
        moved = _cursor(form.partition, sequence) if sequence != before.sequence else b""
        return b"".join((form.topic_said, moved, _STAGE_SAID, self._stage, said))


@lru_cache(maxsize=256)
def _cursor(partition: int, sequence: bytes) -> bytes:
    """The same for all topics that a block changed."""
    place = tag(Position, "partition", VARINT) + varint(partition) if partition else b""
    return _CURSOR_SAID + sized(place + tag(Position, "sequence", VARINT) + sequence)


@lru_cache(maxsize=256)
def number(encoded: bytes) -> int:
    """A varint. The same for all topics that a block changed."""
    found = 0
    for octet in reversed(encoded):
        found = found << 7 | octet & 0x7F
    return found
