"""Who may: tokens, the keys that make them good, and who their bearers are.

The seam. A service asks `Verifier.verify` (its wiring is `service.open_verifier`), and acts by the `Identity`
it gets; whoever calls a service shows a token of `mint`, of a home's development key, or of the mesh's own.
"""

from mesh.auth import mint
from mesh.auth.claims import AUDIENCE, GUEST, MESH_AUDIENCE, OPERATOR, OWNER, PRODUCER, VIEWER
from mesh.auth.files import read_signing_keys
from mesh.auth.identity import Games, Identity
from mesh.auth.keys import (
    DEVELOPMENT_KID,
    GUEST_KID,
    MESH_KID,
    NO_KEYS,
    BadKeys,
    Environment,
    KeyRing,
    SigningKey,
    check_environment,
    parse_ring,
    parse_signing_keys,
    ring_of,
)
from mesh.auth.revocations import Revocation, Revocations
from mesh.auth.token_streams import TokenStreams
from mesh.auth.verifier import Trust, Verifier, Verifies, authorization_of

__all__ = [
    "AUDIENCE",
    "DEVELOPMENT_KID",
    "GUEST",
    "GUEST_KID",
    "MESH_AUDIENCE",
    "MESH_KID",
    "NO_KEYS",
    "OPERATOR",
    "OWNER",
    "PRODUCER",
    "VIEWER",
    "BadKeys",
    "Environment",
    "Games",
    "Identity",
    "KeyRing",
    "Revocation",
    "Revocations",
    "SigningKey",
    "TokenStreams",
    "Trust",
    "Verifier",
    "Verifies",
    "authorization_of",
    "check_environment",
    "mint",
    "parse_ring",
    "parse_signing_keys",
    "read_signing_keys",
    "ring_of",
]
