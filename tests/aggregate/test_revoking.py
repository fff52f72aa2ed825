"""What may be revoked (the check of a request), and that it is stored in a slot of its own."""

from __future__ import annotations

import asyncio
from typing import Any, cast

import grpc
import pytest
from nats.errors import TimeoutError as NatsTimeoutError
from nats.js.errors import KeyWrongLastSequenceError

from aggregate import audit
from aggregate.revoking import AccessService, check
from grandstand.access.v1.access_pb2 import ListRevocationsRequest, RevokeRequest
from grandstand.wire.errors import Forbidden, Invalid
from mesh import limits
from mesh.auth import Games, Identity, Revocation, Revocations
from mesh.auth.access import Access, Caller
from mesh.catalog.view import CatalogView
from mesh.catalog.watch import CatalogWatch

NOW = 1_800_000_000.0
DAY_S = 86_400.0
OPERATOR = Caller(Identity("root", True, None, NOW + 60, owner=True, operator=True), "'10.0.0.7' via x")


def asked(before_s: float | None = None, until_s: float | None = None, **tokens: Any) -> RevokeRequest:
    request = RevokeRequest(**tokens)
    if before_s is not None:
        request.issued_before.FromMicroseconds(round(before_s * 1e6))
    if until_s is not None:
        request.kept_until.FromMicroseconds(round(until_s * 1e6))
    return request


def test_what_is_not_said_is_the_safest() -> None:
    longest_s = NOW + limits.TOKEN_LIFE_MAX_S
    assert check(asked(actor_id="ann"), NOW) == Revocation("ann", "", NOW, longest_s, NOW)
    assert check(asked(actor_id="auth0|5f7c"), NOW).actor_id == "auth0|5f7c"
    assert check(asked(all=True), NOW) == Revocation("", "", NOW, longest_s, NOW)
    assert check(asked(token_id="t-1"), NOW) == Revocation("", "t-1", 0.0, longest_s, NOW)
    earlier = check(asked(NOW - DAY_S, actor_id="ann"), NOW)
    assert earlier.kept_until_s == longest_s - DAY_S, "no token of that time lives longer"
    assert check(asked(until_s=NOW + 60, all=True), NOW).kept_until_s == NOW + 60


@pytest.mark.parametrize(
    ("request_", "why"),
    [
        (asked(), "tokens: says nothing; set actor_id, token_id or all"),
        (asked(all=False), "all: is false"),
        (asked(actor_id=""), "actor_id: is empty"),
        (asked(token_id=""), "token_id: has 0 characters"),
        (asked(token_id="x" * 257), "token_id: has 257 characters"),
        (asked(NOW, token_id="t"), "issued_before: is not looked at for a token_id"),
        (asked(NOW + 11, actor_id="ann"), "is 11 s ahead; at most 10 s are allowed"),
        (asked(until_s=NOW, actor_id="ann"), "kept_until: is 2027-01-15T08:00:00Z; after now"),
        (asked(until_s=NOW + 400 * DAY_S, actor_id="ann"), "as no token lives longer"),
        (asked(NOW - 400 * DAY_S, actor_id="ann"), "as no token lives longer"),
    ],
)
def test_what_cannot_be_meant_is_refused(request_: RevokeRequest, why: str) -> None:
    with pytest.raises(Invalid) as told:
        check(request_, NOW)
    assert why in told.value.message


class Bucket:
    """Of which another instance has written a slot already; or none answers."""

    def __init__(self) -> None:
        self.entries: dict[str, tuple[int, bytes]] = {}
        self.revision = 0
        self.is_away = False

    async def update(self, key: str, value: bytes, last: int | None = None) -> int:
        await asyncio.sleep(0)
        if self.is_away:
            raise NatsTimeoutError
        if (last or 0) != self.entries.get(key, (0, b""))[0]:
            raise KeyWrongLastSequenceError
        self.revision += 1
        self.entries[key] = self.revision, value
        return self.revision


class Watch:
    def __init__(self, bucket: Bucket) -> None:
        self.bucket = bucket
        self.revocations = Revocations()
        self.view = CatalogView()
        self.view.pseudonym_key = b"k" * 32

    async def refresh(self, key: str) -> None:
        self.revocations.put(key, *self.bucket.entries[key])


class Door:
    def __init__(self) -> None:
        self.by = OPERATOR

    def operator_of_all(self, call: Any) -> Caller:
        if not self.by.identity.operator or self.by.identity.games is not None:
            raise Forbidden("token: has not the role operator of all games")
        return self.by


class Context:
    def __init__(self) -> None:
        self.aborted: tuple[grpc.StatusCode, str] | None = None

    async def abort(self, code: grpc.StatusCode, details: str, trailers: Any) -> None:
        self.aborted = code, details


def service(bucket: Bucket, door: Door) -> AccessService:
    return AccessService(cast(CatalogWatch, Watch(bucket)), cast(Access, door), lambda: NOW)


def test_instances_that_revoke_at_once_take_slots_of_their_own(monkeypatch: pytest.MonkeyPatch) -> None:
    lines: list[str] = []
    monkeypatch.setattr(audit.log, "info", lambda text, *said, extra: lines.append(text % said))

    async def scenario() -> None:
        bucket, door = Bucket(), Door()
        services = [service(bucket, door) for _ in range(2)]
        context: Any = Context()
        calls = [services[n % 2].Revoke(asked(actor_id=f"a-{n}"), context) for n in range(20)]
        answers = await asyncio.gather(*calls)
        assert {answer.revocation.actor_id for answer in answers} == {f"a-{n}" for n in range(20)}
        stored = {Revocation.decoded(value).actor_id for _, value in bucket.entries.values()}
        assert (len(bucket.entries), stored) == (20, {f"a-{n}" for n in range(20)})
        assert (
            "revoked tokens: all of actor 'a-0' issued before 2027-01-15T08:00:00Z, "
            "kept until 2028-01-16T08:00:00Z, by root (operator) from '10.0.0.7' via x"
        ) in lines
        assert len(lines) == 20

    asyncio.run(scenario())


def test_who_is_no_operator_revokes_nothing_and_a_bucket_that_is_away_is_told() -> None:
    async def scenario() -> None:
        bucket, door = Bucket(), Door()
        context: Any = Context()
        bucket.is_away = True
        await service(bucket, door).Revoke(asked(all=True), context)
        assert context.aborted[0] is grpc.StatusCode.UNAVAILABLE
        assert "may be stored or not" in context.aborted[1]
        bucket.is_away = False
        for by in (
            Identity("owner", True, None, NOW + 60, owner=True),
            Identity("root", True, Games.of(["a"]), NOW + 60, owner=True, operator=True),
        ):
            door.by = Caller(by, "x")
            await service(bucket, door).Revoke(asked(all=True), context)
            assert context.aborted[0] is grpc.StatusCode.PERMISSION_DENIED
        assert not bucket.entries

    asyncio.run(scenario())


def test_an_operator_reads_what_is_revoked_now_page_by_page() -> None:
    async def scenario() -> None:
        bucket, door = Bucket(), Door()
        context: Any = Context()
        access = service(bucket, door)
        for n in range(5):
            await access.Revoke(asked(actor_id=f"a-{n}"), context)
        await access.Revoke(asked(until_s=NOW + 1, actor_id="over"), context)
        later = AccessService(cast(CatalogWatch, access._watch), cast(Access, door), lambda: NOW + 2)
        found, token = [], ""
        while True:
            page = await later.ListRevocations(ListRevocationsRequest(page_size=2, page_token=token), context)
            found.append([each.actor_id for each in page.revocations])
            if not (token := page.next_page_token):
                break
        assert found == [["a-0", "a-1"], ["a-2", "a-3"], ["a-4"]]
        door.by = Caller(Identity("owner", True, None, NOW + 60, owner=True), "x")
        await later.ListRevocations(ListRevocationsRequest(), context)
        assert context.aborted[0] is grpc.StatusCode.PERMISSION_DENIED

    asyncio.run(scenario())
