"""The references of the documentation, written from what they describe: RPCs and settings.

    .venv/bin/python -m tools.references    writes docs/rpc.md and docs/settings.md

RPCs come from the protos, their comments and what Envoy lets through (mesh.envoy.contract), settings from the
parsers of the command line and of the services.
"""

from __future__ import annotations

import argparse
import re
from collections.abc import Iterator, Mapping
from pathlib import Path

from google.protobuf.descriptor_pb2 import (
    DescriptorProto,
    FieldDescriptorProto,
    FileDescriptorProto,
    FileDescriptorSet,
)
from typer.core import TyperArgument, TyperGroup, TyperOption
from typer.main import get_command

from mesh.config import parser_of
from mesh.envoy.contract import KINDS, Rpc, rpcs
from toolbox.cli.app import build
from tools.contracts import buf

# Numbers of fields in descriptor.proto: those of a file, then those of a message, a service and an enum.
_MESSAGES, _ENUMS, _SERVICES = 4, 5, 6
_FIELDS, _METHODS, _VALUES, _NESTED = 2, 2, 2, 3

ENVIRONMENT = {
    "GRANDSTAND_NATS": "the URL of NATS, in place of `--nats`",
    "GRANDSTAND_REDIS": "the URL of Redis, in place of `--redis`",
    "GRANDSTAND_HOME": "the folder of the mesh, in place of `--home`",
    "GRANDSTAND_TOKEN": "the token that commands act with, in place of `--token`",
    "GRANDSTAND_PYTHON": "the Python that `./grandstand` sets up with",
    "GRANDSTAND_TRACEBACK": "1: an unexpected error prints its traceback",
    "NATS_SERVER": "the nats-server that `up` runs, in place of the wheel's",
    "CHROMIUM": "the Chromium of the browser tests",
    "OTEL_TRACES_SAMPLER_ARG": "the share of traces that are sampled, 0 to 1: 1, or 0.01 with `--production`",
}


def rpc_reference(root: Path) -> str:
    """docs/rpc.md."""
    image = FileDescriptorSet.FromString(
        buf(root, "build", "--exclude-path", "protos/grandstand/internal", "-o", "-#format=binpb").stdout
    )
    ours = sorted(
        (file for file in image.file if file.package.startswith("grandstand.")), key=lambda f: f.package
    )
    known = {rpc.path: rpc for rpc in rpcs()}
    return "\n".join([_RPC_HEAD, *(line for file in ours for line in _file(file, known))]).rstrip() + "\n"


_RPC_HEAD = """\
# Every RPC

Generated from the protos by `python -m tools.references`. Players and browsers reach the edge; the mesh
listener is for your own backend and for operators. "Retry" says whether Envoy may send a call again by
itself. [rejections.md](rejections.md) lists refusals with their codes, [tokens.md](tokens.md) the roles.
"""


class _Comments:
    def __init__(self, file: FileDescriptorProto) -> None:
        self._at = {tuple(place.path): place.leading_comments for place in file.source_code_info.location}

    def __call__(self, *path: int) -> str:
        """In one paragraph a paragraph."""
        paragraphs = re.split(r"\n\s*\n", self._at.get(path, "").strip())
        return "\n\n".join(_flowed(paragraph) for paragraph in paragraphs).strip()


def _flowed(paragraph: str) -> str:
    """Lines joined, but for tables and lists, which are indented."""
    if re.search(r"^ {2,}", paragraph, re.MULTILINE):
        return "```\n" + "\n".join(line.removeprefix(" ") for line in paragraph.splitlines()) + "\n```"
    return " ".join(line.strip() for line in paragraph.splitlines())


def _file(file: FileDescriptorProto, known: Mapping[str, Rpc]) -> Iterator[str]:
    comments = _Comments(file)
    for number, service in enumerate(file.service):
        yield from (f"## {file.package}.{service.name}", "", comments(_SERVICES, number), "")
        for place, method in enumerate(service.method):
            asks = ("stream " if method.client_streaming else "") + _short(method.input_type)
            answers = ("stream " if method.server_streaming else "") + _short(method.output_type)
            yield from (f"### {service.name}.{method.name}", "", f"`{asks}` → `{answers}`", "")
            rpc = known.get(f"/{file.package}.{service.name}/{method.name}")
            if rpc is not None:
                yield from (_listeners(rpc), "")
            yield from (comments(_SERVICES, number, _METHODS, place), "")
    if file.message_type or file.enum_type:
        yield from (f"## Messages of {file.package}", "")
    for number, message in enumerate(file.message_type):
        yield from _message(message, message.name, comments, (_MESSAGES, number))
    for number, enum in enumerate(file.enum_type):
        yield from (f"### {enum.name}", "", comments(_ENUMS, number), "")
        for place, value in enumerate(enum.value):
            yield f"- `{value.name}` {comments(_ENUMS, number, _VALUES, place)}".rstrip()
        yield ""


def _listeners(rpc: Rpc) -> str:
    edge = f"Edge ({'with' if rpc.wants_token else 'without'} a token) and mesh listener"
    where = edge if rpc.at_edge else "Mesh listener, with a token"
    return f"{where}. Retry: {'yes' if rpc.retryable else 'no'}."


def _message(
    message: DescriptorProto, name: str, comments: _Comments, path: tuple[int, ...]
) -> Iterator[str]:
    yield from (f"### {name}", "")
    if text := comments(*path):
        yield from (text, "")
    if message.field:
        yield from ("| field | type | |", "|---|---|---|")
    entries = {nested.name for nested in message.nested_type if nested.options.map_entry}
    for place, field in enumerate(message.field):
        text = comments(*path, _FIELDS, place).replace("\n", " ").replace("|", "\\|")
        kind = "map" if _short(field.type_name).rpartition(".")[2] in entries else _type(field)
        yield f"| `{field.name}` | {kind} | {text} |"
    if message.field:
        yield ""
    for place, nested in enumerate(message.nested_type):
        if not nested.options.map_entry:
            yield from _message(nested, f"{name}.{nested.name}", comments, (*path, _NESTED, place))


def _type(field: FieldDescriptorProto) -> str:
    several = "repeated " if field.label == FieldDescriptorProto.LABEL_REPEATED else ""
    plain = FieldDescriptorProto.Type.Name(field.type).removeprefix("TYPE_").lower()
    return f"{several}`{_short(field.type_name) or plain}`"


def _short(name: str) -> str:
    return re.sub(r"^\.grandstand\.\w+\.v1\.|^\.", "", name)


def settings_reference() -> str:
    """docs/settings.md."""
    lines = [_SETTINGS_HEAD, "## Environment", "", "| variable | |", "|---|---|"]
    lines += [f"| `{name}` | {text} |" for name, text in ENVIRONMENT.items()]
    lines += [
        "",
        "## Services",
        "",
        "`python -m ingest`, `aggregate`, `gateway` and `notify` take the same options.",
        "",
    ]
    lines += _options_of(parser_of(KINDS[0]))
    lines += ["", "## Commands", ""]
    group = get_command(build())
    assert isinstance(group, TyperGroup)
    lines += _commands(group, "grandstand")
    return "\n".join(lines).rstrip() + "\n"


_SETTINGS_HEAD = """\
# Every setting

Generated from the code by `python -m tools.references`.
"""


def _options_of(parser: argparse.ArgumentParser) -> Iterator[str]:
    yield from ("| option | default | |", "|---|---|---|")
    for action in parser._actions:
        if action.dest == "help":
            continue
        value = f" {action.metavar}" if action.metavar else ""
        if action.choices and not action.metavar:
            value = " " + "\\|".join(map(str, action.choices))
        default = "" if action.default in (None, argparse.SUPPRESS, []) else f"`{action.default}`"
        yield f"| `{action.option_strings[-1]}{value}` | {default} | {action.help or ''} |"


def _commands(group: TyperGroup, name: str) -> Iterator[str]:
    for each, command in group.commands.items():
        if command.hidden:
            continue
        if isinstance(command, TyperGroup):
            yield from _commands(command, f"{name} {each}")
            continue
        words = [f"{param.name}".upper() for param in command.params if isinstance(param, TyperArgument)]
        yield from (f"### {' '.join([name, each, *words])}", "", *_help(command.help or ""), "")
        options = [it for it in command.params if isinstance(it, TyperOption) and not it.hidden]
        if options := [it for it in options if it.name != "help"]:
            yield from ("| option | default | |", "|---|---|---|", *map(_option, options), "")


def _help(text: str) -> Iterator[str]:
    text, example, command = text.partition("Example: ")
    yield _paragraph(text)
    if example:
        yield from ("", f"    {_paragraph(command)}")


def _option(option: TyperOption) -> str:
    default = option.default
    shown = "" if default in (None, False, (), [], "") or callable(default) else f"`{default}`"
    names = ", ".join(f"`{name}`" for name in [*option.opts, *option.secondary_opts])
    return f"| {names} | {shown} | {_paragraph(option.help or '')} |"


def _paragraph(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")


def references(root: Path) -> dict[Path, str]:
    return {Path("docs/rpc.md"): rpc_reference(root), Path("docs/settings.md"): settings_reference()}


if __name__ == "__main__":
    checkout = Path(__file__).resolve().parent.parent
    for path, text in references(checkout).items():
        (checkout / path).write_text(text)
