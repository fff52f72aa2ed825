"""The two wheels and the npm package: built from this checkout, installed into empty environments, used.

What runs is what the documents show: the programs of docs/client-python.md and client-browser.md, and the
four starts, docs/start-*.md, in order. One mesh serves all of it: that of the installed command, in a folder
that holds a `mesh` and a `gateway` of another project.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import tarfile
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from urllib.request import urlopen

import pytest
from playwright.sync_api import expect

from tests.browser.chromium import PATIENCE_MS, chromium
from tests.support.documents import DOCUMENTS, fenced, script
from toolbox.local import provision
from toolbox.local.ports import Ports
from toolbox.local.provision import checkout

pytestmark = pytest.mark.timeout(600)

WITHIN_S = 300.0
CREATE_VITE = "create-vite@9.3.0"
UNTYPED = '# mypy: disable-error-code="import-untyped, no-untyped-call"\n'
"""grpc and google.protobuf have their types elsewhere."""


def run(*command: str | Path, cwd: Path, env: Mapping[str, str] | None = None, status: int = 0) -> str:
    """What it printed on both outputs; the status must be as said."""
    done = subprocess.run(
        command, cwd=cwd, env=env, capture_output=True, text=True, timeout=WITHIN_S, stdin=subprocess.DEVNULL
    )
    said = done.stdout + done.stderr
    assert done.returncode == status, said
    return said


def snippet(document: str, language: str, number: int = 0) -> str:
    return fenced((checkout() / document).read_text(), language)[number]


def start(name: str) -> str:
    """What stands in docs/start-NAME.md after its first chapter, which is the same in all of them."""
    text = (checkout() / "docs" / f"start-{name}.md").read_text()
    return text[text.index("\n## 2. ") :]


class Venv:
    """An environment without any package, not even pip."""

    def __init__(self, folder: Path) -> None:
        self.bin = folder / "bin"
        self._folder = folder
        run(sys.executable, "-m", "venv", "--without-pip", folder, cwd=folder.parent)
        kept = ("PATH", "HOME", "LANG", "TMPDIR", "CHROMIUM")
        self.env = {name: os.environ[name] for name in kept if name in os.environ}

    def install(self, *what: str | Path) -> None:
        pip = (sys.executable, "-m", "pip", "--python", self.bin / "python", "--disable-pip-version-check")
        run(*pip, "install", "--quiet", "--only-binary=:all:", *what, cwd=self._folder)

    def packages(self) -> set[str]:
        pip = (sys.executable, "-m", "pip", "--python", self.bin / "python", "--disable-pip-version-check")
        return {each["name"] for each in json.loads(run(*pip, "list", "--format=json", cwd=self._folder))}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("artefacts")


@pytest.fixture(scope="module")
def wheels(folder: Path) -> dict[str, Path]:
    """By the name of their distribution. Builds read a copy: they must not write to the checkout."""
    made = folder / "wheels"
    build = (sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation")
    run(*build, "-w", made, checkout() / "clients" / "python", checkout(), cwd=folder)
    return {path.name.partition("-")[0]: path for path in made.iterdir()}


@pytest.fixture(scope="module")
def client(folder: Path, wheels: dict[str, Path]) -> Venv:
    venv = Venv(folder / "client")
    venv.install(wheels["grandstand_client"])
    return venv


class Installed:
    """A mesh of the server's wheel, in a folder that holds nothing of ours."""

    def __init__(self, venv: Venv, folder: Path) -> None:
        self.command = venv.bin / "grandstand"
        self._env, self.folder = venv.env, folder
        self._ports = Ports()
        port = str(self._ports.take())
        self.edge = f"http://localhost:{port}"
        self.started = self("up", "--detach", "--port", port)
        at = json.loads(self("status", "--json"))
        self._addresses = {
            "localhost:8080": f"localhost:{port}",
            "localhost:8081": at["mesh"],
            "localhost:8082": at["metrics"].removeprefix("http://").removesuffix("/metrics"),
        }

    def __call__(self, *arguments: str, status: int = 0) -> str:
        return run(self.command, *arguments, cwd=self.folder, env=self._env, status=status)

    def here(self, text: str) -> str:
        """What a document says, with the addresses of this mesh."""
        return re.sub("|".join(self._addresses), lambda found: self._addresses[found[0]], text)

    def follow(self, name: str) -> str:
        """Does what a start says, as in a shell whose environment is active; returns what it has printed."""
        env = {**self._env, "PATH": f"{self.command.parent}{os.pathsep}{self._env['PATH']}"}
        return run("bash", "-c", self.here(script(start(name))), cwd=self.folder, env=env)

    def end(self) -> None:
        self("down")
        self._ports.close()

    def open_poll(self, poll_id: str) -> None:
        self("poll", "open", poll_id, "Who?", "--option", "nova=Nova", "--option", "juno=Juno")


@pytest.fixture(scope="module")
def installed(folder: Path, wheels: dict[str, Path]) -> Iterator[Installed]:
    venv = Venv(folder / "server")
    venv.install("--find-links", wheels["grandstand"].parent, f"{wheels['grandstand']}[local]")
    home = folder / "some game"
    for foreign in ("mesh", "gateway"):
        (home / foreign).mkdir(parents=True)
        (home / foreign / "__init__.py").write_text("raise ImportError('of another project')\n")
    mesh = Installed(venv, home)
    try:
        yield mesh
    finally:
        mesh.end()


def test_the_client_brings_little_and_is_typed(client: Venv, folder: Path) -> None:
    allowed = {"grandstand-client", "grpcio", "protobuf", "googleapis-common-protos", "typing_extensions"}
    assert client.packages() <= allowed
    program = snippet("docs/client-python.md", "python").replace(
        "print(viewer.states", "reveal_type(viewer.states"
    )
    (folder / "typed.py").write_text(program)
    shown = [text for path in DOCUMENTS for text in fenced(path.read_text(), "python")]
    complete = [text for text in shown if re.search("^from grandstand", text, re.MULTILINE)]
    assert len(complete) >= 7
    for number, text in enumerate(complete):
        (folder / f"shown_{number}.py").write_text(UNTYPED + text)
    mypy = (sys.executable, "-m", "mypy", "--strict", "--python-executable", client.bin / "python")
    files = ("typed.py", *(f"shown_{number}.py" for number in range(len(complete))))
    said = run(*mypy, *files, cwd=folder, env={**client.env, "MYPYPATH": ""})
    assert 'Revealed type is "int"' in said
    (folder / "wrong.py").write_text("from grandstand.client import Nobody\n")
    assert "Nobody" in run(*mypy, "wrong.py", cwd=folder, env={**client.env, "MYPYPATH": ""}, status=1)


def test_the_server_runs_without_a_checkout(installed: Installed, wheels: dict[str, Path]) -> None:
    assert re.fullmatch(r"grandstand \d+\.\d+\.\d+\n", installed("--version"))
    with urlopen(installed.edge) as page:
        assert b"<title>" in page.read()
    assert "\ngrandstand down stops it." in installed.started
    assert "checkout" in installed("test", status=1)
    assert "checkout" in installed("bench", status=1)
    assert (installed.folder / ".grandstand" / "logs").is_dir()


def test_the_programs_of_the_python_document_run(installed: Installed, client: Venv, folder: Path) -> None:
    installed.open_poll("mvp")
    token = installed("token", "--actor", "ann").strip()
    for number, said in ((0, "1\n"), (1, "1\n")):
        program = snippet("docs/client-python.md", "python", number)
        (folder / "program.py").write_text(installed.here(program))
        env = {**client.env, "TOKEN": token}
        assert run(client.bin / "python", "program.py", cwd=folder, env=env) == said


def test_the_four_starts_begin_alike() -> None:
    documents = [path.read_text() for path in sorted((checkout() / "docs").glob("start-*.md"))]
    first = {text[text.index("## 1. ") : text.index("## 2. ")] for text in documents}
    assert (len(documents), len(first)) == (4, 1)


def test_a_game_client_engineer_votes_with_the_client_and_with_stubs(
    installed: Installed, client: Venv, folder: Path
) -> None:
    said = installed.follow("game-client")
    assert "yes 1\nno 0\n" in said
    assert "yes 1\nno 1\n" in said
    assert said.endswith("2 voters\n\n")
    (folder / "readme.py").write_text(installed.here(snippet("README.md", "python")))
    env = {**client.env, "TOKEN": installed("token", "--actor", "cleo").strip()}
    assert run(client.bin / "python", "readme.py", cwd=folder, env=env) == "3\n"


def test_an_owner_opens_a_poll_closes_it_and_reads_the_result(installed: Installed) -> None:
    said = installed.follow("backend")
    assert "2 voters" in said
    assert "home 2\naway 0\n" in said


def test_an_operator_sees_a_vote_and_a_process_that_comes_back(installed: Installed) -> None:
    said = installed.follow("operator")
    assert said.count("1 voter\n") == 2
    assert re.search(r"gateway-1 +ready +\d+ +1 ", said)
    assert "# EOF" in said
    assert "gateway-1.log" in said


def test_the_npm_package_works_in_a_stock_project(installed: Installed, folder: Path) -> None:
    installed.open_poll("browser")
    installed.follow("browser")
    npm, env = provision.npm_command(provision.to_stderr), {**os.environ}
    if not shutil.which("node"):
        env["PATH"] = f"{provision.node().parent}{os.pathsep}{env['PATH']}"
    tarball = _packed(folder / "npm", npm, env)
    with tarfile.open(tarball) as archive:
        names = archive.getnames()
    assert "package/dist/index.d.ts" in names
    assert not [name for name in names if name.endswith(".ts") and not name.endswith(".d.ts")]

    quiet = ("--silent", "--prefer-offline", "--no-audit", "--no-fund")
    apart = folder / "stock"
    apart.mkdir()
    create = ("exec", "--yes", "--", CREATE_VITE, "app", "--template", "vanilla-ts", "--no-interactive")
    run(*npm, *create, cwd=apart, env=env)
    app = apart / "app"
    run(*npm, "install", *quiet, tarball, cwd=app, env=env)
    program = snippet("docs/client-browser.md", "typescript").replace('"mvp"', '"browser"')
    (app / "src" / "document.ts").write_text(installed.here(program))
    (app / "src" / "start.ts").write_text(installed.here(snippet("docs/start-browser.md", "typescript")))
    (app / "src" / "main.ts").write_text('import "./document";\nimport "./start";\n')
    for number, document in enumerate(("README.md", "clients/typescript/README.md")):
        (app / "src" / f"shown{number}.ts").write_text(snippet(document, "typescript"))
    run(*npm, "run", "build", cwd=app, env=env)
    handler = partial(_Quiet, directory=str(app / "dist"))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        with chromium() as browser:
            page = browser.new_page()
            page.goto(f"http://127.0.0.1:{server.server_port}/")
            expect(page.locator("body")).to_contain_text("poll/browser: 1 voters", timeout=PATIENCE_MS)
            page.get_by_role("button", name="Vote for nova").click()
            expect(page.locator("pre")).to_contain_text("nova: 1", timeout=PATIENCE_MS)
        server.shutdown()


def _packed(folder: Path, npm: Sequence[str | Path], env: Mapping[str, str]) -> Path:
    """Made in a copy, with the compiler of the checkout where `npm ci` was run there."""
    package = folder / "clients" / "typescript"
    made = shutil.ignore_patterns("node_modules", "dist")
    for part in ("clients/typescript", "web"):
        shutil.copytree(checkout() / part, folder / part, ignore=made)
    for name in ("package.json", "package-lock.json", "tsconfig.base.json"):
        shutil.copy(checkout() / name, folder)
    if (checkout() / "node_modules").is_dir():
        (folder / "node_modules").symlink_to(checkout() / "node_modules")
    else:
        run(*npm, "ci", "--silent", cwd=folder, env=env)
    run(*npm, "pack", "--silent", cwd=package, env=env)
    (tarball,) = package.glob("*.tgz")
    return tarball


class _Quiet(SimpleHTTPRequestHandler):
    def log_request(self, *_: object) -> None:
        """Nothing."""
