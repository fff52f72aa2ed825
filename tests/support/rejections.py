"""docs/rejections.md as data: which code and message has its row there."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cached_property, lru_cache

import grpc

from toolbox.local.provision import checkout

TABLE = checkout() / "docs" / "rejections.md"
_ROW = re.compile(r"\| ([A-Z_]+) \| `([^|]+)` \| ([^|]+) \| ([^|]+) \| ([^|]+) \|\Z")


@dataclass(frozen=True)
class Row:
    """`form`: the message, with `<…>` for what varies."""

    code: int
    form: str
    happened: str
    do: str
    client: str

    @cached_property
    def pattern(self) -> re.Pattern[str]:
        parts = re.split(r"<(?!JWT>)[^>]*>", self.form)
        return re.compile(".*".join(map(re.escape, parts)), re.DOTALL)

    @property
    def sample(self) -> str:
        """A message of this form."""
        return re.sub(r"<(?!JWT>)[^>]*>", "7", self.form)


@lru_cache
def rows() -> tuple[Row, ...]:
    found = []
    for line in TABLE.read_text().splitlines():
        if not line.startswith("| ") or line.startswith("| Code |"):
            continue
        match = _ROW.match(line)
        assert match is not None, f"docs/rejections.md has a row that cannot be read: {line}"
        code = int(grpc.StatusCode[match[1]].value[0])
        found.append(Row(code, *(match[part].strip() for part in (2, 3, 4, 5))))
    return tuple(found)


def rows_of(code: int, message: str) -> list[Row]:
    """The rows that this code and message have."""
    return [row for row in rows() if row.code == code and row.pattern.fullmatch(message)]


def assert_documented(code: int, message: str) -> None:
    assert rows_of(code, message), f"docs/rejections.md has no row for code {code}: {message}"
