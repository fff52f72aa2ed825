"""The Python client: each public function has a docstring, and docs/client-python.md has each option."""

from __future__ import annotations

import inspect
from collections.abc import Iterator

import pytest

import grandstand.client as client
from toolbox.local.provision import checkout

DOCUMENT = (checkout() / "docs" / "client-python.md").read_text()
SURFACE = [getattr(client, name) for name in client.__all__]
OWN = [each for each in SURFACE if getattr(each, "__module__", "").startswith("grandstand.client")]


def public(thing: object) -> Iterator[tuple[str, object]]:
    name = getattr(thing, "__qualname__", "")
    yield name, thing
    if inspect.isclass(thing) and not issubclass(thing, Exception):
        for member, value in vars(thing).items():
            if not member.startswith("_") and (inspect.isfunction(value) or isinstance(value, property)):
                yield f"{name}.{member}", value


def test_each_public_function_of_the_client_has_a_docstring() -> None:
    found = dict(pair for each in OWN for pair in public(each))
    assert len(found) > 70
    assert [name for name, value in found.items() if not inspect.getdoc(value)] == []


@pytest.mark.parametrize("thing", [client.Publisher, client.Viewer], ids=["Publisher", "Viewer"])
def test_the_document_has_each_option(thing: type) -> None:
    options = set(inspect.signature(thing).parameters)
    assert {name for name in options if f"`{name}`" not in DOCUMENT} == set()
