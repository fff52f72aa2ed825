"""What keeps a mesh from running, said in one line that names the value and the way out."""

from __future__ import annotations

import errno
import os
import ssl


class MeshError(Exception):
    """Ends a command; its text is all the user sees."""


def from_os(error: OSError, doing: str) -> MeshError:
    """`doing` is what failed, such as "write the state of the mesh to /x/y"."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return MeshError(f"disk full: cannot {doing}; free some space or give another --home")
    return MeshError(f"cannot {doing}: {error.strerror or error}")


def tls_or_socket_reason(error: OSError) -> str:
    """Why a connection to somebody else's server failed."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return (
            f"its certificate is not trusted: {error.verify_message}; name the CA's file by the environment"
            " variable SSL_CERT_FILE"
        )
    if isinstance(error, ssl.SSLError):
        return f"TLS failed ({error.reason or error}); one side speaks TLS and the other does not"
    if isinstance(error, ConnectionRefusedError):
        return "connection refused: nothing listens there"
    return (
        (os.strerror(error.errno) if error.errno and error.errno > 0 else "")
        or str(error)
        or type(error).__name__
    )
