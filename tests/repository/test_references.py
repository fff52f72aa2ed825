"""docs/rpc.md and docs/settings.md are what the protos and the code say."""

from __future__ import annotations

from toolbox.local.provision import checkout
from tools.references import references


def test_the_references_are_the_code() -> None:
    for path, text in references(checkout()).items():
        assert (checkout() / path).read_text() == text, f"{path}: run .venv/bin/python -m tools.references"
