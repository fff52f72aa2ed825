"""What a flush tells gateways: encoded PartitionResults. Pure.

One message for each flush, also for one that changed no result, so that each follows the one before without a
gap. A flush that does not fit one message is split; `part` numbers them, and only the last one moves `after`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from aggregate.encoded_partials import EncodedPartial
from grandstand.internal.v1.internal_pb2 import GameResults, Partial, PartitionResults
from grandstand.wire.bounds import ID_CHARACTERS_MAX
from mesh.wire_format import LENGTH_DELIMITED, sized, tag, varint

# Room for a message's own fields, its headers, and the tag and length of each thing in it.
_ENVELOPE_BYTES = 4 * 1024
_FIELD_BYTES = 8
_GAMES = tag(PartitionResults, "games", LENGTH_DELIMITED)
_PARTIALS = tag(GameResults, "partials", LENGTH_DELIMITED)


def results_messages(
    *,
    partition: int,
    before: int,
    after: int,
    stream: str,
    partials: Iterable[EncodedPartial],
    bytes_max: int,
    forgotten: Sequence[str] = (),
) -> Iterator[bytes]:
    """`bytes_max`: the server's, of one message. A partial that does not fit alone makes a message that is
    longer: then it is not published, and gateways find it in the store. `forgotten`: games; they are said
    first, as partials may be of new games of these ids."""
    room = bytes_max - _ENVELOPE_BYTES
    head = PartitionResults(partition=partition, before=before, after=before, stream=stream)
    said = b""
    if forgotten:
        gone = [GameResults(game_id=game_id, forgotten=True) for game_id in forgotten]
        said = PartitionResults(games=gone).SerializeToString()
    size = len(said)
    games: dict[str, bytes] = {}
    for game_id, _, encoded in partials:
        game = games.get(game_id) or _game(encoded)
        needed = len(encoded) + _FIELD_BYTES
        if game_id not in games:
            needed += len(game) + _FIELD_BYTES
        if size and size + needed > room:
            yield head.SerializeToString() + said + _encoded(games)
            head.part += 1
            said, games, size = b"", {}, 0
            game = _game(encoded)
        games[game_id] = b"".join((game, _PARTIALS, varint(len(encoded)), encoded))
        size += needed
    head.after = after
    yield head.SerializeToString() + said + _encoded(games)


def _game(encoded: bytes) -> bytes:
    """The game's id, as a GameResults begins with it: as the partial does, whose field it is too."""
    return encoded[: 2 + encoded[1]]


def _encoded(games: dict[str, bytes]) -> bytes:
    """`games`: a GameResults for each, encoded."""
    return b"".join([_GAMES + sized(game) for game in games.values()])


assert tag(GameResults, "game_id", LENGTH_DELIMITED) == tag(Partial, "game_id", LENGTH_DELIMITED)
assert ID_CHARACTERS_MAX < 128, "its length is one byte"
