"""The protos and what is generated from them: checked, generated, and their growth accepted.

    .venv/bin/python -m tools.contracts check      lint, breaking changes, drift
    .venv/bin/python -m tools.contracts generate   the stubs again; TypeScript's where node_modules is
    .venv/bin/python -m tools.contracts accept     the protos become the baseline; refused if they break it

The baseline (protos/baseline.binpb, a buf image without comments) is what clients may rely on. A change that
only adds makes it stale, which `check` tells, since a later removal of the addition would go unseen; `accept`
brings it up to date. It leaves out `grandstand.internal`, which may change with every release.

Stubs are generated beside their place and only files that differ are written, so that a mesh which runs
from the checkout never misses a module. Rejected: a baseline read from the git history (a clone may be
shallow, and the branch it would be compared with has no fixed name here).
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

BASELINE = Path("protos/baseline.binpb")
INTERNAL = "protos/grandstand/internal"
WEB_PLUGIN = Path("node_modules/.bin/protoc-gen-es")

GENERATE = ".venv/bin/python -m tools.contracts generate"
ACCEPT = ".venv/bin/python -m tools.contracts accept"


class ContractsError(Exception):
    """A tool is missing or failed; the message says which and how to go on."""


@dataclass(frozen=True)
class Language:
    """One set of generated stubs: the template that makes it and the folder it fills."""

    template: str
    out: Path


PYTHON = Language("buf.gen.yaml", Path("stubs/python"))
TYPESCRIPT = Language("buf.gen.web.yaml", Path("clients/typescript/src/gen"))


def buf(root: Path, *arguments: str | Path) -> subprocess.CompletedProcess[bytes]:
    """Run buf in the checkout; its exit code tells findings (100) from failures, which raise."""
    program = shutil.which(
        "buf", path=f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}"
    )
    if program is None:
        raise ContractsError("buf is not installed; GRANDSTAND_DEV=1 ./grandstand --help installs it")
    environment = {**os.environ, "GRANDSTAND_TOOLS_PYTHON": sys.executable, "PYTHONPATH": str(root)}
    done = subprocess.run([program, *arguments], cwd=root, env=environment, capture_output=True, check=False)
    if done.returncode not in (0, 100):
        told = done.stderr.decode(errors="replace").strip() or f"exit status {done.returncode}"
        raise ContractsError(f"buf {arguments[0]} failed: {told}")
    return done


def lint(root: Path) -> Iterator[str]:
    yield from _findings(buf(root, "lint"))
    for line in _findings(buf(root, "format", "--diff", "--exit-code")):
        if line.startswith("+++ "):
            path = line.split("\t")[0].removeprefix("+++ ")
            yield f"{path}: not formatted; run buf format --write"


def breaking(root: Path) -> Iterator[str]:
    if not (root / BASELINE).is_file():
        yield f"{BASELINE}: missing; run {ACCEPT}"
        return
    findings = list(_findings(buf(root, "breaking", "--against", str(BASELINE))))
    yield from findings
    if not findings and _image(root) != (root / BASELINE).read_bytes():
        yield f"{BASELINE}: the protos have grown since; run {ACCEPT} and commit it"


def _findings(done: subprocess.CompletedProcess[bytes]) -> Iterator[str]:
    if done.returncode != 0:
        yield from done.stdout.decode(errors="replace").splitlines()


def _image(root: Path) -> bytes:
    return buf(
        root, "build", "--exclude-source-info", "--exclude-path", INTERNAL, "-o", "-#format=binpb"
    ).stdout


def languages(root: Path) -> list[Language]:
    """Those that can be generated here: TypeScript needs the plugin that npm installs."""
    if (root / WEB_PLUGIN).exists():
        return [PYTHON, TYPESCRIPT]
    return [PYTHON]


def drift(root: Path, language: Language) -> Iterator[tuple[Path, bytes | None]]:
    """Each file that is not what the protos give: its path, and what should be in it (None: nothing)."""
    with tempfile.TemporaryDirectory() as scratch:
        buf(root, "generate", "--template", language.template, "-o", scratch)
        fresh = _files(Path(scratch) / language.out)
    if language is PYTHON:
        # PEP 561: without it type checkers take nothing from an installed stub.
        fresh |= {path.parent / "py.typed": b"" for path in fresh}
    kept = _files(root / language.out)
    for path in sorted(fresh.keys() | kept.keys()):
        if fresh.get(path) != kept.get(path):
            yield language.out / path, fresh.get(path)


def _files(folder: Path) -> dict[Path, bytes]:
    return {
        path.relative_to(folder): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and path.suffix != ".pyc"
    }


def check(root: Path, *, web_required: bool = False) -> list[str]:
    """All complaints, each one line that names the file and the way out; empty when all is well."""
    complaints = [*lint(root), *breaking(root)]
    if web_required and not (root / WEB_PLUGIN).exists():
        complaints.append(f"{WEB_PLUGIN}: missing, so TypeScript goes unchecked; run npm ci")
    for language in languages(root):
        for path, content in drift(root, language):
            what = "not generated from any proto" if content is None else "not what the protos generate"
            complaints.append(f"{path}: {what}; run {GENERATE} and commit it")
    return complaints


def generate(root: Path) -> list[Path]:
    """Write the stubs that differ, remove those that no proto gives; returns the paths touched."""
    touched = []
    for language in languages(root):
        for path, content in drift(root, language):
            touched.append(path)
            if content is None:
                (root / path).unlink()
                continue
            (root / path).parent.mkdir(parents=True, exist_ok=True)
            (root / path).write_bytes(content)
    return touched


def accept(root: Path, *, even_breaking: bool = False) -> None:
    """Make the protos the baseline. Breaking ones are refused, unless the caller has decided otherwise."""
    if (root / BASELINE).is_file() and not even_breaking:
        findings = list(_findings(buf(root, "breaking", "--against", str(BASELINE))))
        if findings:
            raise ContractsError(
                "\n".join(findings)
                + "\nnot accepted: v1 only grows. Add instead, or reserve what goes; before"
                f" the first release, {ACCEPT} --breaking"
            )
    (root / BASELINE).write_bytes(_image(root))


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tools.contracts", description=__doc__.splitlines()[0])
    commands = parser.add_subparsers(dest="command", required=True)
    checking = commands.add_parser("check", help="fail on findings, breaking changes and drift")
    checking.add_argument("--web", action="store_true", help="require the TypeScript stubs to be checked")
    commands.add_parser("generate", help="generate the stubs again")
    accepting = commands.add_parser("accept", help="make the protos the baseline of the breaking check")
    accepting.add_argument("--breaking", action="store_true", help="even if clients break")
    asked = parser.parse_args()
    root = Path(__file__).resolve().parent.parent
    try:
        if asked.command == "check":
            complaints = check(root, web_required=asked.web)
            print("\n".join(complaints) or "contracts: in order")
            return 1 if complaints else 0
        if asked.command == "generate":
            touched = generate(root)
            print("\n".join(map(str, touched)) or "contracts: nothing to change")
        else:
            accept(root, even_breaking=asked.breaking)
            print(f"{BASELINE}: holds the protos as they are")
    except ContractsError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
