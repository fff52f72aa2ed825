"""What keeps a mesh from running, said in one line that names the value and the way out."""

from __future__ import annotations

import errno


class MeshError(Exception):
    """Ends a command; its text is all the user sees."""


def from_os(error: OSError, doing: str) -> MeshError:
    """`doing` is what failed, such as "write the state of the mesh to /x/y"."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return MeshError(f"the disk is full: cannot {doing}; free some space or give another --home")
    return MeshError(f"cannot {doing}: {error.strerror or error}")
