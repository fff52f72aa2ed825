"""No game fills the stream of notices for all."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import pytest

from grandstand.internal.v1.internal_pb2 import StoredNotice
from grandstand.wire.errors import Exhausted
from mesh.notices.bounds import GAME_BYTES_MAX
from notify import quotas
from notify.orders import order_of
from notify.quotas import Quotas, UsedBytes, note
from tests.simulation.database import ModelDatabase
from tests.support.games import run, until
from tests.support.notify_rig import notify_rig
from tests.support.servers import Stores, stores


@pytest.fixture(scope="module")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stores]:
    with stores(tmp_path_factory.mktemp("quotas")) as found:
        yield found


def test_a_game_that_has_no_more_room_is_told_so_and_others_are_served(
    servers: Stores, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(quotas, "GAME_BYTES_MAX", 1 << 20)

    async def scenario() -> None:
        async with notify_rig(servers.nats_url) as rig:
            sender = rig.sender()
            first = await sender.send(order_of(rig.notice("first")))
            people = [f"actor-{n}" for n in range(90_000)]
            with pytest.raises(Exhausted) as error:
                await rig.send_list(rig.notice("list", audience=None), [people[at::9] for at in range(9)])
            assert "take 1 MiB of what is stored; at most 1 MiB are allowed" in error.value.message
            with pytest.raises(Exhausted):
                await sender.send(order_of(rig.notice("second")))
            again = await sender.send(order_of(rig.notice("first")))
            assert (again.repeated_call, again.notification_id) == (True, first.notification_id)
            await sender.send(order_of(rig.notice("other", game_id="")))

    run(scenario())


def test_what_others_stored_counts_once_the_keeper_has_counted_it() -> None:
    async def scenario() -> None:
        database: Any = ModelDatabase(time.time)
        used = UsedBytes()
        stored = StoredNotice(actor_ids=["a" * 100] * 1_000)
        stored.notice.game_id = "full"
        fired = StoredNotice(rule_state=b"s" * 100_000)
        fired.firing.game_id = "full"
        count = GAME_BYTES_MAX // 200_000 + 1
        used.take([(1, "notices.sent.x", stored), (2, "notices.fired.full.r.game", fired)] * count)
        used.take([(3, "notices.sent.y", StoredNotice())])
        assert used.listed().keys() == {"full"}
        await note(database, used.listed())
        ours = Quotas(database)

        def refuses() -> bool:
            ours._looked_s = float("-inf")
            try:
                ours.check("notice.game_id", "full")
            except Exhausted:
                return True
            return False

        await until(refuses, "the game is known to be full")
        ours.check("notice.game_id", "other")
        ours.check("notice.game_id", "")
        await note(database, {})
        await until(lambda: not refuses(), "it has room again")

    run(scenario())
