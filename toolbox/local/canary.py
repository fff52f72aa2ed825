"""The canary of a local mesh: its process, and the token that it acts by.

That is an owner's of the canary's games alone, in a file, renewed in time: the canary never sees the key that
signs it. A platform's mesh has a token of the platform in its place.
"""

from __future__ import annotations

from pathlib import Path

from mesh.auth.keys import BadKeys
from toolbox.local import development
from toolbox.local.errors import MeshError
from toolbox.local.home import Home
from toolbox.local.keys import write_whole
from toolbox.local.spec import HttpProbe, ProcessSpec
from toolbox.local.store_users import CANARY
from toolbox.local.stores import LOOPBACK

_GRACE_S = 5.0


def has_canary(asked: bool | None, token: Path | None, keys: str | None) -> bool:
    """Whether `up` starts one. Raises MeshError."""
    if token is not None:
        if keys is None:
            raise MeshError("--canary-token goes with --keys: the development key signs the canary's tokens")
        if not token.is_file():
            raise MeshError(f"--canary-token {token}: there is no such file")
    can = keys is None or token is not None
    if asked and not can:
        raise MeshError("--canary with --keys needs --canary-token FILE: only your platform signs tokens")
    return can if asked is None else asked


def canary_process(
    python: Path, edge: str, mesh: str, admin_port: int, token: str, replicas: int
) -> ProcessSpec:
    """Ready once it says of itself; without a mesh it waits for one. `token`: the file."""
    return ProcessSpec(
        name=CANARY,
        command=(
            *(str(python), "-P", "-m", "mesh.canary", "--edge", edge, "--mesh", mesh),
            *("--token-file", token, "--admin", f"{LOOPBACK}:{admin_port}"),
            *(("--replicas", str(replicas)) if replicas > 1 else ()),
        ),
        probe=HttpProbe(admin_port, "/livez"),
        address=f"{LOOPBACK}:{admin_port}",
        grace_s=_GRACE_S,
        optional=True,
        keep_trying=True,
    )


class CanaryToken:
    said = "a fresh token for the canary"

    def __init__(self, home: Home) -> None:
        """Writes it. Raises MeshError."""
        self._path = home.canary_token
        self._mint = development.canary_token(home.root)
        self._written = ""
        self.problem = ""
        self._renew()

    def look(self) -> bool:
        """Renews it if it is time; True if that went wrong, or went right again."""
        before = self.problem
        try:
            self._renew()
            self.problem = ""
        except (MeshError, BadKeys, OSError) as error:
            self.problem = str(error)
        return before != self.problem

    def _renew(self) -> None:
        token = self._mint()
        if token != self._written:
            write_whole(self._path, token)
            self._written = token
