"""A checkout in miniature for tests of set-up: the real `grandstand` script, small locks, a CLI that echoes.

Its packages come from a folder of wheels made here, so set-up runs to its end without a network.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

from toolbox.local.provision import checkout

WITHIN_S = 120.0

ECHO = """\
import importlib.metadata, json, os, sys
print(json.dumps({
    "arguments": sys.argv[1:],
    "folder": os.getcwd(),
    "packages": sorted(d.name for d in importlib.metadata.distributions() if d.name.startswith("tiny")),
}))
sys.exit(7 if "fail" in sys.argv else 0)
"""


class FreshCheckout:
    """`root` has a space in its name; `run` starts the script and waits for it."""

    def __init__(self, folder: Path) -> None:
        self.root = folder / "a check out"
        self.wheels = folder / "wheels"
        self.wheels.mkdir()
        (self.root / "toolbox" / "cli").mkdir(parents=True)
        (self.root / "toolbox" / "cli" / "__main__.py").write_text(ECHO)
        shutil.copy(checkout() / "grandstand", self.root)
        self.lock("requirements.lock", "tiny_runtime")
        self.lock("requirements-dev.lock", "tiny_runtime", "tiny_dev")

    def lock(self, name: str, *packages: str) -> None:
        lines = [f"{package}==1.0 --hash=sha256:{self._wheel(package)}\n" for package in packages]
        (self.root / name).write_text("".join(lines))

    def _wheel(self, package: str) -> str:
        path = self.wheels / f"{package}-1.0-py3-none-any.whl"
        if not path.exists():
            info = f"{package}-1.0.dist-info"
            files = {
                f"{package}.py": "",
                f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {package}\nVersion: 1.0\n",
                f"{info}/WHEEL": "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
            }
            files[f"{info}/RECORD"] = "".join(f"{name},,\n" for name in [*files, f"{info}/RECORD"])
            with zipfile.ZipFile(path, "w") as archive:
                for name, content in files.items():
                    archive.writestr(name, content)
        return hashlib.sha256(path.read_bytes()).hexdigest()

    def environment(self, **changes: str) -> dict[str, str]:
        """The machine's own, cut off from the network: pip knows the folder of wheels and nothing else."""
        own = {
            name: value for name, value in os.environ.items() if not name.startswith(("PIP_", "GRANDSTAND"))
        }
        return {
            **own,
            "GRANDSTAND_PYTHON": sys.executable,
            "PIP_CONFIG_FILE": os.devnull,
            "PIP_NO_INDEX": "1",
            "PIP_FIND_LINKS": self.wheels.as_uri(),
            **changes,
        }

    def start(
        self, *arguments: str, script: Path | None = None, folder: Path | None = None, **changes: str
    ) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [script or self.root / "grandstand", *arguments],
            cwd=folder or self.root.parent,
            env=self.environment(**changes),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def run(self, *arguments: str, **options: Any) -> Finished:
        return Finished(self.start(*arguments, **options))

    def left_over(self) -> list[str]:
        """What set-up made and should have taken away."""
        return [path.name for path in (self.root / ".grandstand").glob("setup-*")]


class Finished:
    """How a run of the script ended."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.out, self.err = process.communicate(timeout=WITHIN_S)
        self.status = process.returncode

    @property
    def echoed(self) -> dict[str, Any]:
        """What the CLI saw, when the script got as far as that."""
        assert self.out, self.err
        answer: dict[str, Any] = json.loads(self.out)
        return answer

    @property
    def last_line(self) -> str:
        return self.err.splitlines()[-1]
