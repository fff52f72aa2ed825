"""A certificate authority for development, and a certificate that it signs for this machine's own names.

    certs/ca.pem      give it to whoever shall trust the edge: a browser, curl --cacert
    certs/ca-key.pem  signs; whoever has it can be any server to those who trust ca.pem
    certs/edge.pem    the chain for --edge-tls-cert      certs/edge-key.pem   its key

The authority is made once; the edge's certificate again with each call, so renewing it is calling again. Both
have the extensions that RFC 5280 demands. Keys are readable by this user alone.
"""

from __future__ import annotations

import datetime
import ipaddress
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from toolbox.local.errors import MeshError
from toolbox.local.keys import write_whole

OWN_NAMES = ("localhost", "127.0.0.1", "::1")
AUTHORITY_LIFE = datetime.timedelta(days=3650)
EDGE_LIFE = datetime.timedelta(days=397)
"""Browsers take no longer one."""
NAMES_MAX = 64
_BACKDATED = datetime.timedelta(hours=1)


@dataclass(frozen=True, slots=True)
class Made:
    authority: Path
    chain: Path
    key: Path


def make(folder: Path, names: Sequence[str]) -> Made:
    """A certificate for this machine's own names and `names`, DNS names or addresses. Raises MeshError."""
    wanted = tuple(dict.fromkeys((*OWN_NAMES, *names)))
    if len(wanted) > NAMES_MAX:
        raise MeshError(f"{len(wanted)} names are too many for one certificate; at most {NAMES_MAX}")
    now = datetime.datetime.now(datetime.UTC)
    alternatives = [_alternative(name) for name in wanted]
    authority, signer = _authority(folder, now)
    key = ec.generate_private_key(ec.SECP256R1())
    server = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH])
    certificate = (
        _begun("Grandstand edge", authority.subject, key, signer, now, EDGE_LIFE)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_usage(signs_certificates=False), critical=True)
        .add_extension(server, critical=False)
        .add_extension(x509.SubjectAlternativeName(alternatives), critical=False)
        .sign(signer, hashes.SHA256())
    )
    made = Made(folder / "ca.pem", folder / "edge.pem", folder / "edge-key.pem")
    write_whole(made.key, _key_pem(key))
    write_whole(made.chain, _pem(certificate))
    return made


def _authority(folder: Path, now: datetime.datetime) -> tuple[x509.Certificate, ec.EllipticCurvePrivateKey]:
    certificate_file, key_file = folder / "ca.pem", folder / "ca-key.pem"
    if certificate_file.exists() or key_file.exists():
        return _known(certificate_file, key_file, now)
    key = ec.generate_private_key(ec.SECP256R1())
    name = "Grandstand development CA"
    certificate = (
        _begun(name, _named(name), key, key, now, AUTHORITY_LIFE)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_usage(signs_certificates=True), critical=True)
        .sign(key, hashes.SHA256())
    )
    write_whole(key_file, _key_pem(key))
    write_whole(certificate_file, _pem(certificate))
    return certificate, key


def _known(
    certificate_file: Path, key_file: Path, now: datetime.datetime
) -> tuple[x509.Certificate, ec.EllipticCurvePrivateKey]:
    way_out = f"remove {certificate_file} and {key_file}, and a new authority is made"
    try:
        certificate = x509.load_pem_x509_certificate(certificate_file.read_bytes())
        key = serialization.load_pem_private_key(key_file.read_bytes(), None)
    except (OSError, ValueError, TypeError) as error:
        raise MeshError(
            f"the authority in {certificate_file.parent} is damaged: {error}; {way_out}"
        ) from None
    if not isinstance(key, ec.EllipticCurvePrivateKey) or certificate.not_valid_after_utc < now + EDGE_LIFE:
        raise MeshError(f"the authority in {certificate_file.parent} is not ours or nearly over; {way_out}")
    return certificate, key


def _alternative(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        pass
    try:
        return x509.DNSName(name)
    except ValueError:
        raise MeshError(f"{name!r} is neither a DNS name in ASCII nor an address") from None


def _begun(
    name: str,
    issuer: x509.Name,
    key: ec.EllipticCurvePrivateKey,
    signer: ec.EllipticCurvePrivateKey,
    now: datetime.datetime,
    life: datetime.timedelta,
) -> x509.CertificateBuilder:
    own, signs = key.public_key(), signer.public_key()
    return (
        x509.CertificateBuilder()
        .subject_name(_named(name))
        .issuer_name(issuer)
        .public_key(own)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _BACKDATED)
        .not_valid_after(now + life)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(own), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(signs), critical=False)
    )


def _named(name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])


def _usage(*, signs_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not signs_certificates,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


def _pem(certificate: x509.Certificate) -> str:
    return certificate.public_bytes(serialization.Encoding.PEM).decode()


def _key_pem(key: ec.EllipticCurvePrivateKey) -> str:
    plain = serialization.NoEncryption()
    return key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, plain).decode()
