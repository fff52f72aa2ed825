"""Whom the bounds by address do not concern: this machine, until somebody means it."""

from __future__ import annotations

import pytest

from mesh.addresses import AddressKeys, network
from toolbox.cli.run import exempt_networks
from toolbox.local.errors import MeshError
from toolbox.local.exempt import arguments, own_networks


def test_a_mesh_for_development_exempts_this_machine_and_nobody_else() -> None:
    at = AddressKeys(exempt=exempt_networks(None, is_strict=False))
    for own in ("127.0.0.1", "127.9.9.9", "::1", *(str(each.network_address) for each in own_networks())):
        assert at.of(own, "") is None
    assert at.of("203.0.113.7", "") is not None


def test_production_or_a_number_of_hops_exempts_nobody_that_is_not_named() -> None:
    assert exempt_networks(None, is_strict=True) == ()
    named = exempt_networks(["10.0.0.0/8", "fd00::1"], is_strict=True)
    assert arguments(2, named) == (
        *("--trusted-hops", "2", "--exempt", "10.0.0.0/8", "--exempt", "fd00::1/128"),
    )
    assert exempt_networks(["10.0.0.0/8"], is_strict=False) == (network("10.0.0.0/8"),)


def test_what_is_no_network_is_told() -> None:
    with pytest.raises(MeshError, match="--exempt: 'home' is no network such as"):
        exempt_networks(["home"], is_strict=False)
