"""The certificate of the edge: made for development, checked, and followed when its files change."""

from __future__ import annotations

import json
import os
import ssl
from pathlib import Path

import pytest

from toolbox.local import certificates, home, session, status
from toolbox.local.certificates import Made
from toolbox.local.edge_certificate import EdgeCertificate
from toolbox.local.errors import MeshError
from toolbox.local.home import Home
from toolbox.local.plan import Options
from toolbox.local.running import reached_without_tls
from toolbox.local.session import UpObserver, UpRequest
from toolbox.local.status import Addresses, MeshStatus


def followed(made: Made, folder: Path, *, production: bool = False) -> EdgeCertificate:
    return EdgeCertificate(made.chain, made.key, folder / "edge" / "secret.json", production=production)


def test_a_development_certificate_is_good_for_this_machine_and_the_names_asked_for(tmp_path: Path) -> None:
    made = certificates.make(tmp_path, ["box.lan", "192.0.2.7"])
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(made.chain, made.key)
    found = EdgeCertificate(made.chain, made.key, tmp_path / "secret.json", production=True)
    assert found.tls.names == ("localhost", "box.lan")
    assert "box.lan" in found.said
    for secret in (made.key, tmp_path / "ca-key.pem", tmp_path / "secret.json"):
        assert secret.stat().st_mode & 0o077 == 0
    authority = made.authority.read_bytes()
    again = certificates.make(tmp_path, [])
    assert again.authority.read_bytes() == authority, "whoever trusts it goes on to"
    assert found.look()
    assert found.tls.names == ("localhost",)
    with pytest.raises(MeshError, match=r"'büro.lan' is neither a DNS name in ASCII nor an address"):
        certificates.make(tmp_path, ["büro.lan"])
    (tmp_path / "ca-key.pem").write_text("")
    with pytest.raises(MeshError, match=r"is damaged: .*; remove"):
        certificates.make(tmp_path, [])


def test_a_pair_that_is_not_good_changes_nothing_and_says_why(tmp_path: Path) -> None:
    made = certificates.make(tmp_path / "a", [])
    other = certificates.make(tmp_path / "b", [])
    found = followed(made, tmp_path)
    secret = (tmp_path / "edge" / "secret.json").read_bytes()
    assert json.loads(secret)["resources"][0]["name"] == "edge"
    assert not found.look()
    good_key = made.key.read_bytes()
    for text, said in (
        (other.key.read_bytes(), "the key is not that of the first certificate"),
        (b"rubbish", "the second is no private key in PEM"),
    ):
        made.key.write_bytes(text)
        assert found.look()
        assert said in found.problem
        assert said in found.said
        assert (tmp_path / "edge" / "secret.json").read_bytes() == secret
    made.key.write_bytes(good_key)
    assert found.look()
    assert found.problem == ""
    made.chain.unlink()
    assert found.look()
    assert "cannot read" in found.problem


def test_production_wants_a_key_that_not_everybody_can_read(tmp_path: Path) -> None:
    made = certificates.make(tmp_path, [])
    made.key.chmod(0o644)
    followed(made, tmp_path)
    with pytest.raises(MeshError, match="can be read by everybody: chmod 600"):
        followed(made, tmp_path, production=True)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (Options(production=True, host="0.0.0.0"), "serves no tokens in clear on 0.0.0.0"),
        (Options(production=True, host="0.0.0.0", proxies=("10.0.0.0/8",)), ""),
        (Options(production=True), ""),
        (Options(host="0.0.0.0"), ""),
        (Options(edge_tls=("/nowhere/a.pem", "/nowhere/b.pem")), "cannot read /nowhere/"),
    ],
)
def test_production_serves_tokens_in_clear_to_loopback_or_a_named_proxy_alone(
    tmp_path: Path, options: Options, said: str
) -> None:
    request = UpRequest(Home(tmp_path), options)
    if not said:
        assert session.certificate_for(request, UpObserver()) is None
        return
    with pytest.raises(MeshError) as refused:
        session.certificate_for(request, UpObserver())
    assert said in str(refused.value)


def test_a_proxy_without_trusted_hops_is_warned_of(tmp_path: Path) -> None:
    notes: list[str] = []
    for hops in (0, 1):
        options = Options(proxies=("10.0.0.0/8",), trusted_hops=hops)
        session.certificate_for(UpRequest(Home(tmp_path), options), UpObserver(on_note=notes.append))
    assert len(notes) == 1
    assert "all clients count as one address" in notes[0]


def test_where_a_sockets_path_would_be_too_long_it_lies_in_a_folder_of_this_users_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(home, "SHORT", tmp_path)
    short, long = Home(Path("/h")), Home(tmp_path / ("h" * 100))
    assert short.envoy_admin.parent == short.run
    assert long.sockets.parent == tmp_path
    assert len(os.fsencode(long.envoy_admin)) < len(os.fsencode(long.run))
    long.create()
    assert long.sockets.stat().st_mode & 0o777 == 0o700
    long.create()
    long.sockets.chmod(0o755)
    with pytest.raises(MeshError, match="not a folder of this user's alone"):
        long.create()


def test_what_the_edge_shows_stands_in_the_status() -> None:
    at = Addresses("https://127.0.0.1:8443", "127.0.0.1:8081", "", "", None, None)
    told = MeshStatus(1, "/home", "ready", at, (), edge_tls="a.pem for box.lan")
    assert status.from_json(told.as_json()).edge_tls == told.edge_tls
    assert reached_without_tls(at) == at.mesh, "tools of this machine need not trust the certificate"
