"""When the streams of a token are warned and ended (the pure core)."""

from __future__ import annotations

from random import Random

from hypothesis import given
from hypothesis import strategies as st

from grandstand.wire.errors import GrandstandError, Unauthenticated
from mesh.auth import Identity, Revocation, Revocations, TokenStreams
from mesh.auth.revocations import key_of
from mesh.auth.token_streams import WARN_AGAIN_S, WARNED_LEAST_S

NOW = 1_800_000_000.0
LOOK_S = 0.25


class Stream:
    def __init__(self, *, has_room: bool = True) -> None:
        self.has_room = has_room
        self.warned: list[float] = []
        self.asked = 0

    def warn_of_expiry(self, expires_at_s: float) -> bool:
        self.asked += 1
        if self.has_room:
            self.warned.append(expires_at_s)
        return self.has_room

    def end(self, error: GrandstandError) -> None:
        raise AssertionError("the caller ends it")


def identity(life_s: float, actor_id: str = "ann", token_id: str = "", age_s: float = 0.0) -> Identity:
    issued_at_s = NOW - age_s
    return Identity(actor_id, False, None, issued_at_s + life_s, token_id=token_id, issued_at_s=issued_at_s)


def streams(revocations: Revocations | None = None, seed: int = 1) -> TokenStreams[Stream]:
    return TokenStreams(Revocations() if revocations is None else revocations, Random(seed).random)


def revoked(revocations: Revocations, *revocation: Revocation) -> None:
    for each in revocation:
        slot, stored = revocations.place(each, NOW)
        revision = revocations.revision(slot) + 1
        revocations.put(key_of(slot), revision, stored.encoded().SerializeToString())


def of_actor(actor_id: str) -> Revocation:
    return Revocation(actor_id, "", NOW + 1, NOW + 1e6, NOW)


@given(st.integers(1, 366 * 86_400), st.floats(0, 1), st.integers(0, 2**16))
def test_each_is_warned_once_in_the_last_tenth_or_last_10_s_of_its_token_and_ended_at_its_end(
    life_s: int, age: float, seed: int
) -> None:
    table, stream = streams(seed=seed), Stream()
    who = identity(life_s, age_s=age * life_s * 0.999)
    table.enter(stream, who, NOW)
    assert table.look(max(NOW, who.expires_at_s - max(life_s / 10, 2 * WARNED_LEAST_S) - 1)) == []
    late = who.expires_at_s - min(WARNED_LEAST_S, life_s / 4)
    for now_s in (max(NOW, late), max(NOW, late) + 0.001):
        if now_s < who.expires_at_s:
            assert table.look(now_s) == []
            assert stream.warned == [who.expires_at_s]
    ((ended, error),) = table.look(who.expires_at_s)
    assert ended is stream
    assert isinstance(error, Unauthenticated)
    assert "the token has expired; resume on a new stream with a new one" in error.message


def test_a_crowd_whose_tokens_were_issued_at_one_moment_is_warned_over_a_tenth_of_their_life() -> None:
    table = streams()
    crowd = [Stream() for _ in range(1_000)]
    for stream in crowd:
        table.enter(stream, identity(3_600), NOW)
    warned = []
    for second in range(3_200, 3_600):
        before = sum(len(stream.warned) for stream in crowd)
        assert table.look(NOW + second) == []
        warned.append(sum(len(stream.warned) for stream in crowd) - before)
    assert sum(warned) == 1_000, "all, before the end"
    assert sum(warned[:40]) < 10, "none before the last tenth"
    assert max(warned) < 20, "at no moment a crowd"


def test_a_client_without_room_is_warned_when_it_has_some() -> None:
    table, slow = streams(), Stream(has_room=False)
    table.enter(slow, identity(100), NOW)
    table.look(NOW + 95)
    table.look(NOW + 95 + LOOK_S)
    assert slow.asked == 1, "it is not asked at each look"
    slow.has_room = True
    table.look(NOW + 95 + WARN_AGAIN_S)
    assert slow.warned == [NOW + 100]


def test_a_revocation_ends_the_streams_it_concerns_however_many_there_are_and_leaves_the_others() -> None:
    revocations = Revocations()
    table = streams(revocations)
    ann, bob, one = Stream(), Stream(), Stream()
    for stream, who in ((ann, identity(60)), (bob, identity(60, "bob")), (one, identity(60, "cem", "t-1"))):
        table.enter(stream, who, NOW)
    assert table.look(NOW + 1) == []
    revoked(revocations, of_actor("ann"), Revocation("", "t-1", 0.0, NOW + 1e6, NOW))
    ending = dict(table.look(NOW + 1))
    assert ending.keys() == {ann, one}
    assert "actor 'ann'" in ending[ann].message
    assert "jti 't-1'" in ending[one].message
    for stream in ending:
        table.leave(stream)
    assert (table.look(NOW + 2), len(table)) == ([], 1)


def test_many_that_end_at_once_come_back_one_after_the_other() -> None:
    revocations = Revocations()
    table = streams(revocations)
    for number in range(2_000):
        table.enter(Stream(), identity(3_600, f"a-{number}"), NOW)
    revoked(revocations, Revocation("", "", NOW + 1, NOW + 1e6, NOW))
    after_s = [error.retry_after_s for _, error in table.look(NOW)]
    assert len(after_s) == 2_000
    assert all(each is not None and 0 <= each <= 4 for each in after_s)
    assert sum(each is not None and each < 1 for each in after_s) < 700
    assert table.look(NOW + 0.1) == [], "they are told once, and leave"


@given(
    st.lists(
        st.one_of(
            st.tuples(st.just("enter"), st.sampled_from(["ann", "bob"]), st.integers(1, 40)),
            st.tuples(st.just("leave"), st.just(""), st.integers(0, 9)),
            st.tuples(st.just("revoke"), st.sampled_from(["ann", "bob"]), st.just(0)),
            st.tuples(st.just("pass"), st.just(""), st.integers(1, 15)),
        ),
        max_size=30,
    )
)
def test_at_each_look_those_end_whose_token_has_expired_or_is_revoked_and_no_others(
    steps: list[tuple[str, str, int]],
) -> None:
    revocations, now_s = Revocations(), NOW
    table = streams(revocations)
    open_streams: dict[Stream, Identity] = {}
    for what, actor_id, number in steps:
        if what == "enter":
            who = Identity(actor_id, False, None, now_s + number, issued_at_s=now_s)
            if revocations.covering(who, now_s) is None:  # it would not be let in
                open_streams[stream := Stream()] = who
                table.enter(stream, who, now_s)
        elif what == "leave":
            for stream in list(open_streams)[number : number + 1]:
                del open_streams[stream]
                table.leave(stream)
        elif what == "revoke":
            revoked(revocations, Revocation(actor_id, "", now_s + 0.5, now_s + 1e6, now_s))
        else:
            now_s += number
        ended = {stream for stream, _ in table.look(now_s)}
        expected = {
            stream
            for stream, who in open_streams.items()
            if now_s >= who.expires_at_s or revocations.covering(who, now_s)
        }
        assert ended == expected
        for stream in ended:
            del open_streams[stream]
            table.leave(stream)
    assert len(table) == len(open_streams)
