"""What README and docs show: their commands and their snippets."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from toolbox.local.provision import checkout

NOT_RUN = "<!-- not run here: "


def _documents() -> Iterator[Path]:
    root = checkout()
    yield from sorted(root.glob("*.md"))
    yield from sorted((root / "docs").glob("*.md"))
    for name in ("clients/python", "clients/typescript", "examples", "examples/custom_fold", "web"):
        yield root / name / "README.md"


DOCUMENTS = tuple(_documents())


def fenced(text: str, language: str) -> list[str]:
    """The blocks of one language, as they stand."""
    return re.findall(rf"^```{language}\n(.*?)^```", text, re.DOTALL | re.MULTILINE)


def shell_lines(text: str) -> list[str]:
    """The lines of indented blocks, without their indent."""
    apart = re.sub(r"^```.*?^```", "", text, flags=re.DOTALL | re.MULTILINE)
    return re.findall(r"^ {4}(\S.*)$", apart, re.MULTILINE)


def script(text: str) -> str:
    """A document as a shell script: what it has saved as files, and its commands, in order.

    A file is a fenced block after "Save this as `NAME`". Commands are indented blocks, without those after a
    comment that says why they are not run.
    """
    lines = ["set -euo pipefail"]
    skipped, saved, fence = False, "", ""
    for line in text.splitlines():
        if fence:
            ends = line.startswith("```")
            if fence == "saved":
                lines.append("END-OF-FILE" if ends else line)
            fence = "" if ends else fence
        elif line.startswith("```"):
            fence = "saved" if saved else "shown"
            if saved:
                lines.append(f"cat > {saved} <<'END-OF-FILE'")
            saved = ""
        elif line.startswith("    "):
            if not skipped:
                lines.append(line[4:])
        elif line:
            skipped = line.startswith(NOT_RUN)
            if name := re.search(r"[Ss]ave this as `([\w.]+)`", line):
                saved = name[1]
    return "\n".join(lines) + "\n"
