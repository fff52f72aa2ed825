"""`--home`: every command takes `home: HomeOption = None` and asks toolbox.local.running of it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

HomeOption = Annotated[
    Path | None,
    typer.Option(
        "--home",
        envvar="GRANDSTAND_HOME",
        show_default="<checkout>/.grandstand",
        help="The folder the mesh keeps its state and logs in.",
    ),
]
