"""The table of docs/metrics.md: `python -m mesh.metrics.table docs/metrics.md` rewrites it."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

from mesh.metrics.declarations import PROCESSES, SERVICES, TABLE, Declaration

BEGIN, END = "<!-- the table begins: mesh.metrics.table writes it -->", "<!-- the table ends -->"
_EVERY = "Every process"
_TITLES = {PROCESSES: _EVERY, SERVICES: "Every service"}


def table() -> str:
    """Markdown, from BEGIN to END."""
    return "\n".join([BEGIN, *_lines(), END])


def _lines() -> Iterator[str]:
    for title, part in _parts().items():
        yield from (
            "",
            f"### {title}",
            "",
            "| metric | type | unit | labels | meaning |",
            "|---|---|---|---|---|",
        )
        for each in part:
            labels = ", ".join(f"`{label}`" for label in each.labels)
            yield f"| `{each.exposed}` | {each.kind} | {each.unit} | {labels} | {each.help} |"
    yield ""


def _parts() -> dict[str, list[Declaration]]:
    found: dict[str, list[Declaration]] = {}
    for each in TABLE:
        found.setdefault(_TITLES.get(each.of) or " and ".join(each.of), []).append(each)
    return {_EVERY: found.pop(_EVERY), **found}


def put_into(text: str) -> str:
    before, begins, rest = text.partition(BEGIN)
    _, ends, after = rest.partition(END)
    assert begins, "the document has no place for the table"
    assert ends, "the table's place in the document has no end"
    return before + table() + after


if __name__ == "__main__":
    document = Path(sys.argv[1])
    document.write_text(put_into(document.read_text()))
