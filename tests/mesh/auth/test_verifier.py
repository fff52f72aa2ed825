"""Which tokens are good: the honest ones of every algorithm, and none of the tricks (I10)."""

from __future__ import annotations

import json
import time
from typing import Any

import pytest
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from hypothesis import given
from hypothesis import strategies as st

from grandstand.wire.errors import Unauthenticated, Unavailable
from mesh import limits
from mesh.auth import (
    AUDIENCE,
    MESH_AUDIENCE,
    NO_KEYS,
    Games,
    Identity,
    KeyRing,
    Trust,
    Verifier,
    authorization_of,
    mint,
    parse_signing_keys,
    ring_of,
)
from tests.support.tokens import (
    ALGORITHMS,
    base64url,
    bearer,
    claims_of,
    jwks,
    private_jwk,
    ring,
    sealed,
    signing,
    token,
)

KEY = private_jwk("EdDSA")
MESH_KEY = parse_signing_keys(json.dumps(mint.ed25519_jwk("grandstand-mesh", b"m" * 32)).encode())


def verifier(*rings: KeyRing, issuer: str | None = None) -> Verifier:
    """Of the first ring's clients; the second, if given, is the mesh's."""
    clients = Trust(lambda: rings[0], issuer=issuer)
    return Verifier(clients, Trust(lambda: rings[1], MESH_AUDIENCE) if len(rings) > 1 else None)


def verify(jwt: str, *rings: KeyRing, issuer: str | None = None, now_s: float | None = None) -> Identity:
    found = verifier(*(rings or (ring(KEY),)), issuer=issuer)
    return found.verify(bearer(jwt), time.time() if now_s is None else now_s)


def refusal(jwt: str, *rings: KeyRing, issuer: str | None = None, now_s: float | None = None) -> str:
    with pytest.raises(Unauthenticated) as told:
        verify(jwt, *rings, issuer=issuer, now_s=now_s)
    return told.value.message


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_an_honest_token_of_each_algorithm_is_good(algorithm: str) -> None:
    key = private_jwk(algorithm)
    exp = int(time.time()) + 60
    found = verify(token(key, games=["g1", "g2"], exp=exp), ring(key))
    assert found == Identity("ann", False, Games.of(["g1", "g2"]), float(exp), issued_at_s=found.issued_at_s)


def test_the_claims_become_the_identity() -> None:
    assert verify(token(KEY, roles=["producer", "unheard-of"])).producer
    assert not verify(token(KEY, roles=None)).producer
    assert verify(token(KEY)).games is None
    assert verify(token(KEY, games=[])).games == Games.of([])
    assert verify(token(KEY, sub=None, roles=["producer"])).actor_id == ""
    assert verify(token(KEY, aud=["other", AUDIENCE])).actor_id == "ann"
    assert verify(token(KEY, iss="us"), issuer="us").actor_id == "ann"
    assert verify(token(KEY, iat=None, nbf=None)).issued_at_s == 0.0
    assert verify(token(KEY, iat=NOW, nbf=None, exp=NOW + 9), now_s=NOW).issued_at_s == NOW
    assert verify(token(KEY, jti="a-b")).token_id == "a-b"
    assert verify(token(KEY)).token_id == ""


@pytest.mark.parametrize(
    ("roles", "producer", "owner", "operator"),
    [
        (["viewer"], False, False, False),
        (["producer"], True, False, False),
        (["owner"], True, True, False),
        (["operator", "viewer"], True, True, True),
    ],
)
def test_a_role_may_do_what_those_below_it_may(
    roles: list[str], producer: bool, owner: bool, operator: bool
) -> None:
    found = verify(token(KEY, roles=roles))
    assert (found.producer, found.owner, found.operator) == (producer, owner, operator)


def test_who_defines_has_a_name() -> None:
    for role in ("owner", "operator"):
        assert "sub is missing" in refusal(token(KEY, sub=None, roles=[role]))
        assert "sub is missing" in refusal(token(KEY, sub=None, roles=["producer", role]))


def test_games_are_named_one_by_one_or_by_how_they_begin() -> None:
    games = verify(token(KEY, games=["final", "arena-*"])).games
    assert games is not None
    for game_id, is_open in (
        ("final", True), ("arena-7", True), ("arena-", True),
        ("finals", False), ("arena", False), ("my-arena-7", False), ("", False),
    ):  # fmt: skip
        assert (game_id in games) is is_open, game_id
    for bad in ("*", "a*b", "a**", "*a", ""):
        assert "games" in refusal(token(KEY, games=[bad])), bad


def test_a_minted_token_is_good_for_who_it_names_until_it_expires() -> None:
    minted = mint.token(signing(KEY), actor_id="bob", now_s=1000.5, life_s=60, roles=["viewer"], games=["g"])
    bob = Identity("bob", False, Games.of(["g"]), 1060.0, issued_at_s=1000.0)
    assert verify(minted, now_s=1059.0) == bob
    assert "expired 1 s ago" in refusal(minted, now_s=1061.0)
    with pytest.raises(Unauthenticated, match="sub"):
        mint.token(signing(KEY), actor_id="no such id", now_s=0, life_s=1)


NOW = 1_800_000_000


@pytest.mark.parametrize(
    ("claims", "why"),
    [
        ({"exp": None}, "has no exp"),
        ({"exp": NOW}, "expired 0 s ago"),
        ({"exp": NOW - 3600}, "expired 3600 s ago"),
        ({"exp": "tomorrow"}, "exp is 'tomorrow'; a number"),
        ({"exp": True}, "exp is 'True'"),
        ({"exp": -1}, "exp is '-1'"),
        ({"exp": 253_402_300_800}, "exp is '253402300800'"),
        ({"exp": [NOW + 60]}, "exp is"),
        ({"iat": NOW, "exp": NOW + 366 * 86_400 + 1}, "lives longer than 366 days"),
        ({"iat": None, "exp": NOW + 366 * 86_400 + 1}, "lives longer than 366 days"),
        ({"jti": 7}, "jti is '7'"),
        ({"jti": "x" * 257}, "at most 256 characters"),
        ({"nbf": NOW + 60}, "not valid for another 50 s"),
        ({"iat": NOW + 3600}, "not valid for another 3590 s"),
        ({"nbf": "x"}, "nbf is 'x'"),
        ({"iat": {}}, "iat is"),
        ({"sub": None}, "sub is missing"),
        ({"sub": ""}, "sub: is empty"),
        ({"sub": 7}, "sub is '7'"),
        ({"sub": ["ann"]}, "sub is"),
        ({"sub": "ann bob"}, "sub: 'ann bob' has the character ' '"),
        ({"sub": "ann\x00"}, r"sub: 'ann\x00' has the character '\x00'"),
        ({"sub": "ann\n"}, "has the character"),
        ({"sub": "аnn"}, "has the character"),
        ({"sub": "ann\u202e"}, r"has the character '\u202e'"),
        ({"sub": "\ud800"}, r"has the character '\ud800'"),
        ({"sub": "a" * 65}, "has 65 characters"),
        ({"aud": None}, "aud is missing; 'grandstand'"),
        ({"aud": "other"}, "'grandstand' is expected"),
        ({"aud": "grandstand-mesh"}, "'grandstand' is expected, for this key"),
        ({"aud": ["grandstand", "grandstand-mesh"]}, "'grandstand' is expected, for this key"),
        ({"aud": ["grandstand", 1]}, "aud is"),
        ({"aud": {"grandstand": 1}}, "aud is"),
        ({"aud": []}, "aud is"),
        ({"iss": "them"}, "iss is 'them'; 'us' is expected"),
        ({"iss": None}, "iss is missing"),
        ({"iss": ["us"]}, "iss is"),
        ({"roles": "producer"}, "roles is 'producer'; a list of texts"),
        ({"roles": {"producer": 1}}, "roles is"),
        ({"roles": ["producer", 1]}, "roles is"),
        ({"games": "g"}, "games is 'g'; a list of texts"),
        ({"games": [1, 2]}, "games is '[1, 2]'; a list of texts"),
        ({"games": ["a/b"]}, "games: 'a/b' has the character '/'"),
    ],
)
def test_claims_that_are_not_right_are_refused_by_name(claims: dict[str, Any], why: str) -> None:
    jwt = token(KEY, **({"exp": NOW + 60, "iat": NOW, "iss": "us"} | claims))
    assert why in refusal(jwt, issuer="us", now_s=NOW)


def test_a_clock_that_is_ten_seconds_off_does_no_harm() -> None:
    verify(token(KEY, iat=NOW + 10, nbf=NOW + 10, exp=NOW + 60), now_s=NOW)


def test_alg_none_is_never_good() -> None:
    for alg in ("none", "None", "nOnE", "", None, 0):
        header = {"alg": alg, "kid": "k1"}
        for jwt in (sealed(header, claims_of(), signing(KEY)), sealed(header, claims_of(), b"")):
            assert "alg is" in refusal(jwt)
        assert "is not a JWT" in refusal(sealed(header, claims_of(), None))


def test_a_public_key_is_no_secret_to_sign_with() -> None:
    """HS256 with the bytes of the RSA public key, in each form an attacker might think we keep."""
    for algorithm in ("RS256", "ES256", "EdDSA"):
        jwk = private_jwk(algorithm)
        rings = ring(jwk)
        public: Any = rings.keys["k1"].jwk.key
        forms = [
            public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo),
            public.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo),
            jwks(jwk),
            json.dumps(jwk["x" if "x" in jwk else "n"]).encode(),
        ]
        for secret in forms:
            forged = sealed({"alg": "HS256", "kid": "k1"}, claims_of(), secret)
            assert f"alg is 'HS256'; key 'k1' is for {algorithm}" in refusal(forged, rings)
            disguised = sealed({"alg": algorithm, "kid": "k1"}, claims_of(), secret)
            assert "its signature is not good" in refusal(disguised, rings)


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_the_algorithm_is_the_keys_not_the_tokens(algorithm: str) -> None:
    key = private_jwk(algorithm)
    for other in ("EdDSA", "ES256", "RS256", "HS256", "RS512", "PS256", "ES384", "HS384"):
        if other != algorithm:
            assert f"is for {algorithm}" in refusal(token(key, {"alg": other}), ring(key))


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_another_key_under_the_same_kid_signs_nothing(algorithm: str) -> None:
    forged = token(private_jwk(algorithm, "k1", 1))
    assert "its signature is not good" in refusal(forged, ring(private_jwk(algorithm)))


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_a_changed_claim_or_header_breaks_the_signature(algorithm: str) -> None:
    key = private_jwk(algorithm)
    header, payload, signature = token(key).split(".")
    raised = base64url(json.dumps(claims_of(roles=["producer"])).encode())
    retyped = base64url(json.dumps({"alg": algorithm, "kid": "k1"}).encode())
    for forged in (f"{header}.{raised}.{signature}", f"{retyped}.{payload}.{signature}"):
        assert "its signature is not good" in refusal(forged, ring(key))


def test_a_signature_of_zeros_is_not_good() -> None:
    """An ECDSA verifier that does not check r and s for 0 takes it for anything (CVE-2022-21449)."""
    signed = token(private_jwk("ES256")).rpartition(".")[0]
    for size in (0, 1, 63, 64, 65, 128):
        jwt = f"{signed}.{base64url(bytes(size))}"
        assert refusal(jwt, ring(private_jwk("ES256")))


@pytest.mark.parametrize(
    "kid",
    [
        "k2",
        "K1",
        "k1 ",
        "k1\x00",
        "",
        "../../../../dev/null",
        "/etc/hostname",
        "file:///etc/hostname",
        "http://127.0.0.1/jwks.json",
        "k1' OR '1'='1",
        "k1' UNION SELECT 'secret' --",
        "$(id)",
        "grandstand-mesh",
        "grandstand-development",
        "k" * 5_000,
    ],
)
def test_a_kid_names_a_key_of_ours_or_nothing(kid: str) -> None:
    assert "is not among the 1 keys" in refusal(token(KEY, {"kid": kid}))


@pytest.mark.parametrize("kid", [None, 0, 1, 1.5, True, [], ["k1"], {}, {"k1": 1}])
def test_a_kid_that_is_no_text_is_refused(kid: Any) -> None:
    assert "which is no text" in refusal(token(KEY, {"kid": kid}))


def test_a_token_without_a_kid_needs_a_ring_of_one() -> None:
    other = private_jwk("ES256", "k2")
    without = sealed({"alg": "EdDSA"}, claims_of(), signing(KEY))
    assert verify(without, ring(KEY)).actor_id == "ann"
    assert "has no kid, and there are 2 keys" in refusal(without, ring(KEY, other))
    assert "alg is 'EdDSA'; key 'k2' is for ES256" in refusal(without, ring(other))


def test_who_is_a_guest_is_said_by_the_tokens_role_and_a_guest_is_nothing_else() -> None:
    assert not verify(token(KEY)).guest
    guest = verify(token(KEY, roles=["guest", "producer"], sub="ann"))
    assert (guest.guest, guest.producer) == (True, False)
    assert "sub is missing" in refusal(token(KEY, roles=["guest", "producer"], sub=None))


def test_a_key_for_guests_makes_nobody_else() -> None:
    key = private_jwk("EdDSA", "grandstand-guests-1")
    assert verify(token(key, roles=["guest"]), ring(key)).guest
    for roles in (["viewer"], ["producer"], None):
        assert "'grandstand-guests-1' is for guests alone" in refusal(token(key, roles=roles), ring(key))


@pytest.mark.parametrize("header", ["jku", "x5u", "jwk", "x5c", "crit"])
def test_headers_that_bring_their_own_key_or_meaning_are_refused(header: str) -> None:
    """Signed by the attacker's key or even by ours: the header alone is enough."""
    attacker = private_jwk("EdDSA", "k1", 9)
    for value in ("http://127.0.0.1/jwks.json", json.loads(json.dumps(attacker)), [], None):
        for key in (attacker, KEY):
            assert f"the header {header!r} is not taken" in refusal(token(key, {header: value}))


def test_an_unencoded_payload_is_not_taken() -> None:
    """RFC 7797: a token that says its payload is not base64url."""
    assert refusal(token(KEY, {"b64": False}))


@pytest.mark.parametrize(
    ("authorization", "why"),
    [
        (None, "there is none; send metadata authorization: Bearer <JWT>"),
        ("", "does not begin with 'Bearer '"),
        ("Bearer", "does not begin"),
        ("bearer a.b.c", "does not begin"),
        ("Basic YTpi", "does not begin"),
        ("Bearer ", "is not a JWT"),
        ("Bearer  a.b.c", "is not a JWT"),
        ("Bearer a.b", "is not a JWT"),
        ("Bearer a.b.c.d.e", "is not a JWT"),
        ("Bearer a.b.c,Bearer a.b.c", "is not a JWT"),
        ("Bearer a.b.c\n", "is not a JWT"),
        ("Bearer a.b.ü", "is not a JWT"),
        ("Bearer ...", "is not a JWT"),
        ("Bearer bm90IGpzb24.e30.c2ln", "the header is not JSON"),
        ("Bearer W10.e30.c2ln", "the header is not a JSON object"),
        ("Bearer _w.e30.c2ln", "the header is not UTF-8"),
        ("Bearer a.e30.c2ln", "the header is not base64url"),
        (f"Bearer {'a' * 9_000}", "has 9007 bytes; at most 8192"),
        (f"Bearer {'[' * 1_000_000}", "at most 8192"),
    ],
)
def test_what_is_no_token_is_refused_in_words(authorization: str | None, why: str) -> None:
    with pytest.raises(Unauthenticated) as told:
        verifier(ring(KEY)).verify(authorization, NOW)
    assert why in told.value.message


def test_a_header_or_payload_that_means_two_things_is_refused() -> None:
    twice = b'{"alg": "EdDSA", "kid": "k1", "alg": "none"}'
    assert "the header has the member 'alg' twice" in refusal(sealed(twice, claims_of(), signing(KEY)))
    who = json.dumps(claims_of()).encode()[:-1] + b', "sub": "bob"}'
    header = {"alg": "EdDSA", "kid": "k1"}
    assert "the payload has the member 'sub' twice" in refusal(sealed(header, who, signing(KEY)))
    for payload in (b"[]", b"null", b"\xff", b'{"exp": NaN}', b"[" * 4_000, b'{"exp": 1e999}', b"9" * 5_000):
        assert refusal(sealed(header, payload, signing(KEY)))


@given(st.data())
def test_a_token_that_was_altered_anywhere_is_refused(data: st.DataObject) -> None:
    """Cut, or with any character changed to another: one that verifies is the same token."""
    algorithm = data.draw(st.sampled_from(ALGORITHMS))
    key = private_jwk(algorithm)
    jwt = token(key, exp=NOW, iat=NOW)
    at = data.draw(st.integers(0, len(jwt) - 1))
    altered = data.draw(
        st.one_of(
            st.just(jwt[:at]),
            st.just(jwt[at:]) if at else st.nothing(),
            st.characters(codec="utf-8").map(lambda c: jwt[:at] + c + jwt[at + 1 :]),
        )
    )
    if altered != jwt:
        refusal(altered, ring(key), now_s=NOW - 1)


@given(
    st.text(max_size=200) | st.from_regex(r"[A-Za-z0-9_-]{0,99}\.[A-Za-z0-9_-]{0,99}\.[A-Za-z0-9_-]{0,99}")
)
def test_any_text_is_refused_in_words(text: str) -> None:
    assert refusal(text)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)
CLAIM = st.sampled_from(["sub", "aud", "exp", "nbf", "iat", "iss", "roles", "games", "jti"])


@given(
    st.dictionaries(CLAIM, JSON), st.dictionaries(st.sampled_from(["alg", "kid", "typ", "cty", "b64"]), JSON)
)
def test_any_signed_claims_make_a_sane_identity_or_are_refused(
    claims: dict[str, Any], header: dict[str, Any]
) -> None:
    """An issuer that errs makes nobody into somebody else, and nothing but Unauthenticated comes of it."""
    jwt = sealed(
        {"alg": "EdDSA", "kid": "k1"} | header, claims_of(exp=NOW + 60, iat=NOW) | claims, signing(KEY)
    )
    try:
        found = verify(jwt, now_s=NOW)
    except Unauthenticated:
        return
    assert found.actor_id or found.producer
    assert NOW < found.expires_at_s <= 253_402_300_799


def test_clients_and_the_mesh_have_keys_and_audiences_of_their_own() -> None:
    rings = (ring(KEY), ring_of(MESH_KEY))
    mesh_token = mint.token(
        MESH_KEY[0], actor_id="", now_s=NOW, life_s=300, roles=["producer"], audience=MESH_AUDIENCE
    )
    service = Identity("", True, None, NOW + 300.0, of_mesh=True, issued_at_s=NOW)
    assert verify(mesh_token, *rings, now_s=NOW) == service
    assert verify(token(KEY, exp=NOW + 60, iat=NOW), *rings, now_s=NOW).actor_id == "ann"

    times = {"exp": NOW + 60, "iat": NOW}
    by_client = token(KEY, aud=MESH_AUDIENCE, roles=["producer"], **times)
    assert "'grandstand' is expected, for this key" in refusal(by_client, *rings, now_s=NOW)
    posing = token(KEY, {"kid": "grandstand-mesh"}, aud=MESH_AUDIENCE, **times)
    assert "its signature is not good" in refusal(posing, *rings, now_s=NOW)
    by_mesh = mint.token(MESH_KEY[0], actor_id="ann", now_s=NOW, life_s=60)
    assert "'grandstand-mesh' is expected, for this key" in refusal(by_mesh, *rings, now_s=NOW)
    both = sealed(
        {"alg": "EdDSA", "kid": "grandstand-mesh"},
        claims_of(aud=[AUDIENCE, MESH_AUDIENCE], **times),
        MESH_KEY[0],
    )
    assert "'grandstand-mesh' is expected, for this key" in refusal(both, *rings, now_s=NOW)
    assert "is not among the 1 keys" in refusal(mesh_token, rings[0], now_s=NOW)


class Turning:
    """Keys that can be rotated, and that count how often they were asked to look again."""

    def __init__(self, found: KeyRing) -> None:
        self.ring = found
        self.asked = 0

    def ask(self) -> None:
        self.asked += 1

    def verifier(self, remembered_max: int = 100) -> Verifier:
        return Verifier(Trust(lambda: self.ring, unknown_kid=self.ask), remembered_max=remembered_max)


def test_a_rotation_takes_effect_at_once_and_forgets_what_the_old_keys_signed() -> None:
    new = private_jwk("ES256", "k2")
    keys = Turning(ring(KEY))
    found = keys.verifier()
    old_token, new_token = bearer(token(KEY)), bearer(token(new))
    found.verify(old_token, time.time())
    with pytest.raises(Unauthenticated, match=r"if its key was published just now, try again in 4 s"):
        found.verify(new_token, time.time())
    assert keys.asked == 1
    keys.ring = ring(KEY, new)
    found.verify(new_token, time.time())  # the failure was not remembered
    found.verify(old_token, time.time())
    keys.ring = ring(new)
    with pytest.raises(Unauthenticated, match="kid 'k1' is not among the 1 keys"):
        found.verify(old_token, time.time())
    found.verify(new_token, time.time())


def test_without_any_keys_yet_a_token_is_neither_good_nor_bad() -> None:
    keys = Turning(NO_KEYS)
    for jwt in (token(KEY), sealed({"alg": "EdDSA"}, claims_of(), signing(KEY))):
        with pytest.raises(Unavailable, match="cannot be had yet; try again"):
            keys.verifier().verify(bearer(jwt), NOW)
    assert keys.asked == 2


def test_a_remembered_token_still_expires() -> None:
    found = verifier(ring(KEY))
    jwt = bearer(token(KEY, exp=NOW + 60, iat=NOW))
    for _ in range(2):
        assert found.verify(jwt, NOW + 59.9).actor_id == "ann"
    assert found.remembered == 1
    with pytest.raises(Unauthenticated, match="expired 0 s ago"):
        found.verify(jwt, NOW + 60)
    with pytest.raises(Unauthenticated, match="not valid for another 10 s"):
        found.verify(jwt, NOW - 20)


def test_what_is_remembered_is_bounded_and_the_least_recently_used_goes_first() -> None:
    signed: list[str] = []

    class Counting(Turning):
        def ask(self) -> None:
            raise AssertionError

    keys = Counting(ring(KEY))
    found = keys.verifier(remembered_max=3)
    tokens = [bearer(token(KEY, sub=f"a{n}", exp=NOW + 60, iat=NOW)) for n in range(4)]
    for jwt in (*tokens[:3], tokens[0], tokens[3]):
        signed.append(found.verify(jwt, NOW).actor_id)
        assert found.remembered <= 3
    assert signed == ["a0", "a1", "a2", "a0", "a3"]
    # The ring is emptied in place of a rotation, so that only what is remembered can answer.
    object.__setattr__(keys.ring, "keys", {})
    assert [found.verify(tokens[n], NOW).actor_id for n in (0, 2, 3)] == ["a0", "a2", "a3"]
    with pytest.raises(AssertionError):
        found.verify(tokens[1], NOW)


def test_a_failure_is_not_remembered_and_takes_no_room() -> None:
    found = verifier(ring(KEY))
    for n in range(limits.KEYS_MAX):
        with pytest.raises(Unauthenticated):
            found.verify(bearer(token(KEY, sub=f"a{n}", exp=NOW)), NOW)
    assert found.remembered == 0


def test_the_authorization_is_taken_from_metadata_once() -> None:
    assert authorization_of(None) is None
    assert authorization_of([("user-agent", "x")]) is None
    assert authorization_of([("user-agent", "x"), ("authorization", "Bearer a")]) == "Bearer a"
    assert authorization_of([("authorization", b"Bearer \xff")]) == "Bearer \xff"
    with pytest.raises(Unauthenticated, match="2 authorization metadata"):
        authorization_of([("authorization", "Bearer a"), ("authorization", "Bearer b")])
