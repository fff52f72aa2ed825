"""The installed command `grandstand`: puts the wheel's packages on the path, then runs the command line.

The wheel installs this module as `grandstand_server`, with mesh, gateway and the others in its folder. They
come first on the path, before packages of the same names in site-packages or the current folder. The
services are processes of their own; they find them through PYTHONPATH.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path


def main() -> None:
    root = str(Path(__file__).parent)
    sys.path.insert(0, root)
    given = os.environ.get("PYTHONPATH")
    os.environ["PYTHONPATH"] = os.pathsep.join((root, given)) if given else root
    from toolbox.cli.app import main as command_line

    command_line()
