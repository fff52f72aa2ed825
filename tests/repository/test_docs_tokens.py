"""What docs/tokens.md shows is run: its keys and its tokens are good."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from pathlib import Path

from mesh.auth import Games, Trust, Verifier, parse_ring
from toolbox.cli.testing import driver_node
from toolbox.local import provision

ISSUER = "https://platform.example"
RUN_WITHIN_S = 60.0


def blocks(language: str) -> list[str]:
    text = (provision.checkout() / "docs" / "tokens.md").read_text()
    return re.findall(rf"```{language}\n(.*?)```", text, re.DOTALL)


def printed(command: list[str | Path], folder: Path) -> str:
    done = subprocess.run(
        command, cwd=folder, capture_output=True, text=True, timeout=RUN_WITHIN_S, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_the_keys_and_tokens_of_the_examples_are_good(tmp_path: Path) -> None:
    make_keys, mint = blocks("python")
    (node_mint,) = blocks("javascript")
    (tmp_path / "mint.py").write_text(f"{make_keys}\n{mint}\nprint(token)\n")
    (tmp_path / "mint.mjs").write_text(f"{node_mint}\nconsole.log(token);\n")
    by_python = printed([sys.executable, "mint.py"], tmp_path)
    node = os.environ.get("PLAYWRIGHT_NODEJS_PATH") or driver_node() or provision.node()
    by_node = printed([node, "mint.mjs"], tmp_path)

    ring = parse_ring((tmp_path / "jwks.json").read_bytes())
    verifier = Verifier(Trust(lambda: ring, issuer=ISSUER))
    for token in (by_python, by_node):
        who = verifier.verify(f"Bearer {token}", time.time())
        assert (who.actor_id, who.producer, who.games) == ("ann", False, Games.of(["final"]))
