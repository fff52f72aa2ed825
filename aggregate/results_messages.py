"""What a flush tells gateways: encoded PartitionResults. Pure.

One message for each flush, also for one that changed no result, so that each follows the one before without a
gap. A flush that does not fit one message is split; `part` numbers them, and only the last one moves `after`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from grandstand.internal.v1.internal_pb2 import GameResults, Partial, PartitionResults

# Room for a message's own fields, its headers, and the tag and length of each thing in it.
_ENVELOPE_BYTES = 4 * 1024
_FIELD_BYTES = 8


def results_messages(
    *,
    partition: int,
    before: int,
    after: int,
    stream: str,
    partials: Iterable[Partial],
    bytes_max: int,
    forgotten: Iterable[str] = (),
) -> Iterator[bytes]:
    """`bytes_max`: the server's, of one message. A partial that does not fit alone makes a message that is
    longer: then it is not published, and gateways find it in the store. `forgotten`: games; they are said
    first, as partials may be of new games of these ids."""
    room = bytes_max - _ENVELOPE_BYTES
    message = PartitionResults(partition=partition, before=before, after=before, stream=stream)
    games: dict[str, GameResults] = {}
    size = 0
    for game_id in forgotten:
        message.games.add(game_id=game_id, forgotten=True)
        size += len(game_id) + 2 * _FIELD_BYTES
    for partial in partials:
        game_id, encoded = partial.game_id, partial.SerializeToString()
        needed = len(encoded) + _FIELD_BYTES
        if game_id not in games:
            needed += len(game_id) + _FIELD_BYTES
        if size and size + needed > room:
            yield message.SerializeToString()
            message = PartitionResults(
                partition=partition, before=before, after=before, stream=stream, part=message.part + 1
            )
            games, size = {}, 0
        game = games.get(game_id)
        if game is None:
            game = games[game_id] = message.games.add(game_id=game_id)
        game.partials.append(encoded)
        size += needed
    message.after = after
    yield message.SerializeToString()
