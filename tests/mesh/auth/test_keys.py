"""Key rings: each key for one algorithm, and a document that is not sane spoils nothing but itself."""

from __future__ import annotations

import json
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from hypothesis import given
from hypothesis import strategies as st
from jwt.algorithms import ECAlgorithm, RSAAlgorithm

from mesh import limits
from mesh.auth import BadKeys, check_environment, mint, parse_ring, parse_signing_keys, ring_of
from mesh.auth.keys import parse_mesh_keys
from tests.support.tokens import ALGORITHMS, Jwk, jwks, private_jwk, public


def document(*keys: Any) -> bytes:
    return json.dumps({"keys": list(keys)}).encode()


def key(algorithm: str = "EdDSA", **changed: Any) -> Jwk:
    """A public JWK; a member changed to None is left out."""
    found = public(private_jwk(algorithm)) | changed
    return {name: value for name, value in found.items() if value is not None}


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_a_key_stands_for_the_one_algorithm_of_its_kind(algorithm: str) -> None:
    for given_alg in (algorithm, None):
        ring = parse_ring(document(key(algorithm, alg=given_alg)))
        assert {kid: found.algorithm for kid, found in ring.keys.items()} == {"k1": algorithm}


def test_a_ring_comes_from_a_set_or_from_a_single_key() -> None:
    both = [private_jwk("EdDSA", "a"), private_jwk("ES256", "b")]
    assert list(parse_ring(jwks(*both)).keys) == ["a", "b"]
    assert list(parse_ring(json.dumps(key()).encode()).keys) == ["k1"]


def test_a_ring_keeps_no_private_part() -> None:
    ring = ring_of(parse_signing_keys(json.dumps(private_jwk("EdDSA")).encode()))
    assert not hasattr(ring.keys["k1"].jwk.key, "sign")


@pytest.mark.parametrize(
    ("other", "why"),
    [
        (key("RS256", kid="enc", use="enc"), "has use 'enc'"),
        (key("RS256", kid="oaep", alg="RSA-OAEP"), "has alg 'RSA-OAEP'"),
        (key("RS256", kid="512", alg="RS512"), "taken for RS256"),
        (key("ES256", kid="384", crv="P-384"), "has crv 'P-384'"),
        (key("EdDSA", kid="x", crv="X25519"), "has crv 'X25519'"),
        (key("EdDSA", kid="ops", key_ops=["deriveKey"]), "key_ops"),
        ({"kty": "AKP", "kid": "pq"}, "has kty 'AKP'"),
        ({"kid": "none"}, "has kty 'None'"),
        ({"kty": ["RSA"], "kid": "list"}, "has kty"),
    ],
)
def test_a_key_for_something_else_is_passed_over_and_named(other: Jwk, why: str) -> None:
    ring = parse_ring(document(key(), other))
    assert list(ring.keys) == ["k1"]
    assert len(ring.passed_over) == 1
    assert why in ring.passed_over[0]
    with pytest.raises(BadKeys, match="no key for EdDSA"):
        parse_ring(document(other))


def rsa_of(bits: int, exponent: int = 65537) -> Jwk:
    made: Jwk = json.loads(RSAAlgorithm.to_jwk(rsa.generate_private_key(exponent, bits).public_key()))
    return made | {"kid": "rsa"}


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        (b"", "is not JSON"),
        (b"\xff\xfe{}", "is not UTF-8"),
        (b"[]", "not a JSON object"),
        (b"{}", "neither 'keys' nor 'kty'"),
        (b'{"keys": {}}', "'keys' is not a list"),
        (b'{"keys": [1]}', r"keys\[0\] is not a JSON object"),
        (b'{"keys": []}', "no key for EdDSA"),
        (b'{"keys": [], "keys": []}', "member 'keys' twice"),
        (b'{"keys": NaN}', "the number NaN"),
        (b'{"keys": ' + b"[" * 100_000, "nested too deeply|is not JSON"),
        (b" " * (limits.KEYS_DOCUMENT_BYTES_MAX + 1), "more than the 262144 bytes"),
        (document(*[key(kid=str(n)) for n in range(limits.KEYS_MAX + 1)]), "65 keys; at most 64"),
        (document(key(), key("ES256")), r"keys\[1\] \(kid 'k1'\): another key has the same kid"),
        (document(key(), key("ES256", kid=None)), "one of 2 keys has no kid"),
        (document(key(kid=7)), "kid is not a text"),
        (document(key(kid="k" * 129)), "kid is not a text of at most 128"),
        (document(key(kid="a\nb")), "kid is not a text"),
        (document(key(kid="grandstand-mesh-2")), "begins with 'grandstand-mesh'"),
        (document(private_jwk("EdDSA")), r"keys\[0\] \(kid 'k1'\) holds a private key \(member 'd'\)"),
        (document(private_jwk("RS256")), "holds a private key"),
        (document(key(x="AAAA")), "is not a valid OKP key"),
        (document(key(x="not base64!")), "x is not base64url"),
        (document(key(x=None)), "x is not base64url"),
        (document(key("ES256", x="AAAA")), "is not a valid EC key"),
        (document(key("ES256", y=key("ES256")["x"])), "is not a valid EC key"),
        (document(rsa_of(1024)), "is RSA of 1024 bits; 2048 to 8192"),
        (document(key("RS256", n="_" * 2_800)), "RSA of 16800 bits"),
        (document(key("RS256", e="_" * 40)), "e has 240 bits"),
        (document(key("RS256", e="AQ")), "is not a valid RSA key"),
        (document(key("HS256", k="AAAA")), "k has 3 bytes; at least 32"),
    ],
)
def test_a_bad_document_is_refused_by_naming_what_is_wrong(bad: bytes, message: str) -> None:
    with pytest.raises(BadKeys, match=message):
        parse_ring(bad)


def test_a_message_never_quotes_a_key() -> None:
    secret = private_jwk("RS256") | {"p": "AQAB"}
    with pytest.raises(BadKeys) as told:
        parse_signing_keys(json.dumps(secret).encode())
    assert not any(secret[name] in str(told.value) for name in ("n", "d", "q"))
    assert told.value.__cause__ is None


@given(st.binary(max_size=300))
def test_any_bytes_are_taken_or_refused_in_words(content: bytes) -> None:
    for parse in (parse_ring, parse_signing_keys):
        with pytest.raises(BadKeys):
            parse(content)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)


@given(
    st.sampled_from(ALGORITHMS),
    st.dictionaries(
        st.sampled_from(["kty", "crv", "kid", "alg", "use", "key_ops", "x", "y", "n", "e", "k"]), JSON
    ),
)
def test_any_members_of_a_key_are_taken_or_refused_in_words(algorithm: str, changed: dict[str, Any]) -> None:
    """Whatever they are, a ring has only our algorithms, of keys that are whole."""
    try:
        ring = parse_ring(document(key(algorithm, **changed)))
    except BadKeys:
        return
    assert {found.algorithm for found in ring.keys.values()} == {algorithm}


def test_signing_takes_private_keys_and_the_first_one_signs() -> None:
    keys = parse_signing_keys(document(private_jwk("EdDSA", "new"), private_jwk("ES256", "old")))
    assert [each.kid for each in keys] == ["new", "old"]
    assert list(ring_of(keys).keys) == ["new", "old"]
    with pytest.raises(BadKeys, match=r"is a public key; signing takes the private one"):
        parse_signing_keys(document(key()))


def test_the_meshs_keys_are_asymmetric_and_named_as_its_own() -> None:
    mesh = mint.ed25519_jwk("grandstand-mesh", bytes(32))
    assert parse_mesh_keys(json.dumps(mesh).encode())[0].kid == "grandstand-mesh"
    for other in (private_jwk("EdDSA"), private_jwk("HS256", "grandstand-mesh")):
        with pytest.raises(BadKeys, match="is no key of the mesh's"):
            parse_mesh_keys(json.dumps(other).encode())


def test_production_refuses_symmetric_keys_and_the_development_kid() -> None:
    development = parse_ring(json.dumps(mint.development_jwk(bytes(32))).encode())
    symmetric = parse_ring(document(key(), key("HS256", kid="s")))
    renamed = parse_ring(document(key(kid="grandstand-development")))
    for ring, name in ((development, "the development key"), (symmetric, "symmetric"), (renamed, "the dev")):
        with pytest.raises(BadKeys, match=f"is {name}.*, and this is production; use keys of your platform"):
            check_environment("production", ring)
        check_environment("development", ring)
    check_environment("production", parse_ring(document(key(), key("ES256", kid="2"))))
    with pytest.raises(BadKeys, match="is symmetric"):
        check_environment("production", parse_signing_keys(document(key("HS256"))))


def test_an_ec_point_is_checked_to_lie_on_its_curve() -> None:
    good = json.loads(ECAlgorithm.to_jwk(ec.generate_private_key(ec.SECP256R1()).public_key()))
    parse_ring(json.dumps(good).encode())
    with pytest.raises(BadKeys, match="not a valid EC key"):
        parse_ring(json.dumps(good | {"x": good["y"], "y": good["x"]}).encode())
