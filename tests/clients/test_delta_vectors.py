"""Python applies deltas as the committed vectors say; the TypeScript client's tests read the same file."""

from __future__ import annotations

import json
from typing import Any

import pytest

from grandstand.wire.delta import DeltaMismatch, apply, diff
from tests.support import delta_vectors

CASES = json.loads(delta_vectors.PATH.read_text())


def test_the_committed_vectors_are_those_that_the_code_makes() -> None:
    assert delta_vectors.PATH.read_text() == delta_vectors.text(), (
        "run: python -m tests.support.delta_vectors"
    )


@pytest.mark.parametrize("case", CASES, ids=lambda case: case["name"])
def test_a_vector_holds(case: dict[str, Any]) -> None:
    before, delta, after = delta_vectors.parsed(case)
    if after is None:
        with pytest.raises(DeltaMismatch):
            apply(before, delta)
        return
    assert apply(before, delta).SerializeToString() == after.SerializeToString()
    made = diff(before, after)
    assert made is not None
    assert apply(before, made) == after
