"""How far the folding is, in a line: who owns how many partitions, and how much waits to be folded."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterable, Mapping

from grandstand.aggregate.v1.aggregate_pb2 import PartitionStatus, ReadPartitionsRequest
from grandstand.aggregate.v1.aggregate_pb2_grpc import AggregateServiceStub
from grandstand.client import Token, open_channel
from grandstand.client.credentials import call_metadata
from mesh.auth import BadKeys

_PATIENCE_S = 1.0
_NAMED_MAX = 4
"""Partitions that are late."""


async def read(mesh: str, token: Token, patience_s: float = _PATIENCE_S) -> list[PartitionStatus]:
    """The partitions in their order, of the mesh listener at host:port; `token` is an operator's. Raises
    grpc.aio.AioRpcError."""
    async with open_channel(mesh) as channel:
        answer = await AggregateServiceStub(channel).ReadPartitions(
            ReadPartitionsRequest(), timeout=patience_s, metadata=call_metadata(token)
        )
        return list(answer.partitions)


def read_if_it_answers(mesh: str, token: Token) -> list[PartitionStatus]:
    """The partitions; none where nobody answers in time, or this user may not read the home's key: `status`
    tells of such a mesh, too."""
    import grpc.aio

    try:
        return asyncio.run(read(mesh, token))
    except (grpc.aio.AioRpcError, OSError, BadKeys):
        return []


def summary(partitions: Iterable[PartitionStatus]) -> str:
    """Such as `partitions: 16, 8 aggregate-1, 8 aggregate-2; folded up to the last block; each key of
    their state is checked every 3 s`."""
    found = list(partitions)
    owned = Counter(status.owner for status in found)
    unowned = owned.pop("", 0)
    parts = [str(len(found)), *(f"{owned[owner]} {owner}" for owner in sorted(owned))]
    if unowned:
        parts.append(f"{unowned} without an owner")
    blocks = sum(status.lag_blocks for status in found)
    lag = "folded up to the last block"
    if unowned:
        lag = "how far those without an owner are is not known" if owned else "nothing is folded"
    elif blocks:
        lag = f"{blocks:,} blocks behind, by {max(status.lag_ms for status in found) / 1000:.1f} s"
    letters = sum(status.dead_letters for status in found)
    aside = f"; {letters:,} set aside as dead letters" if letters else ""
    sweep_ms = max((status.sweep_ms for status in found), default=0)
    sweep = f"; each key of their state is checked every {sweep_ms / 1000:g} s" if sweep_ms else ""
    late = _late({status.partition: status.flush_ms for status in found if status.flush_ms})
    return f"partitions: {', '.join(parts)}; {lag}{late}{sweep}{aside}"


def _late(flush_ms: Mapping[int, int]) -> str:
    """`flush_ms`: of the partitions that are flushed less often than they should be."""
    if not flush_ms:
        return ""
    named = sorted(flush_ms)[:_NAMED_MAX]
    more = f" and {len(flush_ms) - len(named)} more" if len(flush_ms) > len(named) else ""
    of = f"{', '.join(map(str, named))}{more}"
    return f"; overloaded: results of partition {of} come every {max(flush_ms.values())} ms"
