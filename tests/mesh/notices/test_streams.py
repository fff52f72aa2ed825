"""The streams of inboxes on the oldest and the newest nats-server: what they keep, and what they refuse."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from nats.js.errors import APIError

from mesh.jetstream import subjects
from mesh.jetstream.walk import walk
from mesh.notices import bounds
from mesh.notices.streams import STREAMS, ensure_streams
from tests.support.games import run
from tests.support.nats_versions import EACH_NATS, nats_version  # noqa: F401
from tests.support.notices import Notices, notices_on
from tests.support.servers import stores

pytestmark = EACH_NATS


def test_streams_keep_the_first_of_a_key_and_the_last_of_a_reader_and_are_erased_by_nobody(
    tmp_path: Path,
) -> None:
    async def scenario() -> None:
        with stores(tmp_path) as servers:
            async with notices_on(servers) as notices:
                await ensure_streams(notices.bus)
                await first_of_a_key(notices)
                await last_of_a_reader(notices)
                await refused(notices)
                await walked(notices)

    async def first_of_a_key(notices: Notices) -> None:
        headers = {"Nats-Expected-Last-Subject-Sequence": "0"}
        ack = await notices.bus.js.publish("notices.sent.aa", b"1", headers=dict(headers))
        assert ack.seq > 10**15
        with pytest.raises(APIError, match="wrong last sequence"):
            await notices.bus.js.publish("notices.sent.aa", b"2", headers=dict(headers))
        await notices.bus.js.purge_stream(subjects.NOTICES_STREAM, seq=ack.seq + 1, subject="notices.sent.aa")
        again = await notices.bus.js.publish("notices.sent.aa", b"3", headers=dict(headers))
        assert again.seq == ack.seq + 1

    async def last_of_a_reader(notices: Notices) -> None:
        for value in (b"1", b"2", b"3"):
            await notices.bus.js.publish(subjects.reader("ann"), value)
        found = await notices.bus.js.stream_info(subjects.READERS_STREAM)
        assert found.state.messages == 1
        assert (await notices.bus.js.get_last_msg(subjects.READERS_STREAM, "readers.ann")).data == b"3"

    async def refused(notices: Notices) -> None:
        client = notices.bus.client
        for subject in ("notices.sent.bb", "readers.ann", "segments.vips.ann"):
            for kind in ("all", "sub"):
                said = await client.request(subject, b"", headers={"Nats-Rollup": kind}, timeout=5)
                assert "rollup not permitted" in json.loads(said.data)["error"]["description"]
        for stream in STREAMS:
            said = await client.request(f"$JS.API.STREAM.MSG.DELETE.{stream}", b'{"seq": 1}', timeout=5)
            assert "not permitted" in json.loads(said.data)["error"]["description"]
            found = (await notices.bus.js.stream_info(stream)).config
            assert (found.discard, found.num_replicas) == ("new", 1)
            assert 0 < (found.max_bytes or 0) <= bounds.NOTICES_BYTES_MAX
        with pytest.raises(APIError, match="message size exceeds"):
            await notices.bus.js.publish("readers.ann", bytes(bounds.READER_BYTES_MAX + 1))

    async def walked(notices: Notices) -> None:
        for n in range(600):
            await notices.bus.client.publish(f"notices.due.cc.{n}", b"%d" % n)
        await notices.bus.js.publish("notices.due.dd.1", b"x")
        got, last_left = [], -1
        async for pulled, left in walk(notices.bus, subjects.NOTICES_STREAM, ["notices.due.cc.*"]):
            got += [int(each.data) for each in pulled]
            last_left = left
        assert (got, last_left) == (list(range(600)), 0)

    run(scenario())
