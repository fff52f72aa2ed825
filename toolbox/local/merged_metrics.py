"""The OpenMetrics texts of several processes as one, each sample with labels that say whose it is. Pure.

A family stands once in such a text, with all its samples, so that texts cannot just follow each other. Lines
are moved and labels put in front of theirs; nothing is parsed further.
"""

from __future__ import annotations

from collections.abc import Mapping

_END = "# EOF"


class NotMetrics(ValueError):
    """A text that does not end as OpenMetrics does: it was cut off."""


class MergedMetrics:
    def __init__(self) -> None:
        self._heads: dict[str, list[str]] = {}
        self._samples: dict[str, list[str]] = {}

    def add(self, text: str, labels: Mapping[str, str]) -> None:
        """`labels`: such as service and instance; none of them may be in the text. Raises NotMetrics."""
        lines = text.splitlines()
        if not lines or lines[-1] != _END:
            raise NotMetrics(f"{len(text)} characters that do not end with {_END!r}")
        extra = ",".join(f'{name}="{value}"' for name, value in labels.items())
        head, samples, known = list[str](), list[str](), True
        family = ""
        for line in lines[:-1]:
            if line.startswith("# "):
                _, _, name, *_ = line.split(" ", 3)
                if name != family:
                    family, known = name, name in self._heads
                    head = self._heads.setdefault(name, [])
                    samples = self._samples.setdefault(name, [])
                if not known:
                    head.append(line)
            else:
                samples.append(_labelled(line, extra))

    def text(self) -> bytes:
        lines = []
        for family, head in self._heads.items():
            lines += head
            lines += self._samples[family]
        return "\n".join([*lines, _END, ""]).encode()


def _labelled(sample: str, extra: str) -> str:
    space, brace = sample.index(" "), sample.find("{")
    if 0 <= brace < space:
        return f"{sample[: brace + 1]}{extra},{sample[brace + 1 :]}"
    return f"{sample[:space]}{{{extra}}}{sample[space:]}"
