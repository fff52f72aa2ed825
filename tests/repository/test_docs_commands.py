"""README and docs: each command is one of the program, each snippet compiles, each link leads somewhere.

Nothing is run here. The four starts run against a mesh in tests/packages/test_artefacts.py, which also checks
the types of snippets.
"""

from __future__ import annotations

import ast
import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from typer._click.exceptions import ClickException
from typer.main import get_command

from tests.support.documents import DOCUMENTS, fenced, shell_lines
from toolbox.cli.app import build
from toolbox.local.provision import checkout

PROGRAMS = ("./grandstand", "grandstand")
NAMES = [str(path.relative_to(checkout())) for path in DOCUMENTS]
PROGRAM: Any = get_command(build())


def commands(text: str) -> Iterator[str]:
    """Those of a document, also inside $(...), in pipes and after variables."""
    for line in shell_lines(text):
        for part in re.split(r"\$\(|\|\||&&|[|;)]", line) if "'" not in line else [line]:
            words = part.split()
            while words and re.fullmatch(r"\w+=\S*", words[0]):
                words.pop(0)
            if words and words[0] in PROGRAMS:
                yield part[part.index(words[0]) :]


def parse(command: str) -> None:
    """Raises ClickException for what the program does not have. Nothing is run."""
    program = PROGRAM
    words, context = shlex.split(command, comments=True)[1:], None
    while True:
        context = program.make_context(program.name, words, parent=context)
        words = [*context._protected_args, *context.args]
        if not hasattr(program, "resolve_command") or not words:
            return
        _, program, words = program.resolve_command(context, words)


@pytest.mark.parametrize("path", DOCUMENTS, ids=NAMES)
def test_the_commands_of_a_document_are_those_of_the_program(path: Path) -> None:
    for command in commands(path.read_text()):
        try:
            parse(command)
        except ClickException as error:
            pytest.fail(f"{command}: {error.format_message()}")


@pytest.mark.parametrize("wrong", ["pol open", "up --detatch", "poll open an-id", "simulate --viewers x"])
def test_a_command_that_the_program_does_not_have_is_found(wrong: str) -> None:
    (command,) = commands(f"    TOKEN=$(grandstand {wrong})\n")
    with pytest.raises(ClickException):
        parse(command)


@pytest.mark.parametrize("path", DOCUMENTS, ids=NAMES)
def test_the_snippets_of_a_document_compile(path: Path) -> None:
    for text in fenced(path.read_text(), "python"):
        compile(text, str(path), "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)


def anchors(path: Path) -> set[str]:
    """As GitHub makes them of headings."""
    found: set[str] = set()
    for heading in re.findall(r"^#+ (.+)$", without_code(path.read_text()), re.MULTILINE):
        text = re.sub(r"\[([^]]*)\]\([^)]*\)", r"\1", heading)
        name = re.sub(r"[^\w\- ]", "", text.lower()).replace(" ", "-")
        number = 0
        while (each := f"{name}-{number}" if number else name) in found:
            number += 1
        found.add(each)
    return found


def without_code(text: str) -> str:
    return re.sub(r"```.*?```", "", text, flags=re.DOTALL)


@pytest.mark.parametrize("path", DOCUMENTS, ids=NAMES)
def test_the_links_of_a_document_lead_somewhere(path: Path) -> None:
    for link in re.findall(r"\]\(([^)\s]+)\)", without_code(path.read_text())):
        if re.match(r"\w+:", link):
            continue
        file, _, anchor = link.partition("#")
        target = (path.parent / file).resolve() if file else path
        assert target.exists(), link
        assert not anchor or anchor in anchors(target), link
