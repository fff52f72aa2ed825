"""How commands talk to a person: errors are one line on stderr and a non-zero exit, never a traceback.

A command raises; `one_line_errors` around all of them says it. Expected are MeshError, ProvisionError and
GrandstandError, gRPC's errors, and those of the operating system. Anything else is a bug of ours: it is said
in one line too, and GRANDSTAND_TRACEBACK=1 shows the rest.
"""

from __future__ import annotations

import contextlib
import os
import sys
import traceback
from collections.abc import Iterator
from typing import NoReturn

from grandstand.wire.errors import GrandstandError
from toolbox.local.errors import MeshError, from_os
from toolbox.local.provision import ProvisionError, as_typed

EXIT_FAILED = 1
EXIT_INTERRUPTED = 130


def fail(message: str, code: int = EXIT_FAILED) -> NoReturn:
    """Ends the process with one line on stderr."""
    say(" ".join(message.split()))
    sys.exit(code)


def say(line: str) -> None:
    """A line beside the output of a command, such as a warning."""
    print(f"grandstand: {as_typed(line)}", file=sys.stderr, flush=True)


@contextlib.contextmanager
def one_line_errors() -> Iterator[None]:
    """Around every command."""
    try:
        yield
    except KeyboardInterrupt:
        fail("interrupted", EXIT_INTERRUPTED)
    except BrokenPipeError:
        # `grandstand ... | head`: nobody reads on. What is left in the buffer must not raise at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(EXIT_FAILED)
    except (MeshError, ProvisionError, GrandstandError) as error:
        fail(str(error))
    except Exception as error:
        if os.environ.get("GRANDSTAND_TRACEBACK"):
            traceback.print_exc()
        fail(_described(error))


def _described(error: Exception) -> str:
    if status := _grpc_status(error):
        return status
    if isinstance(error, OSError):
        named = f"use {error.filename}" if error.filename else "go on"
        return str(from_os(error, named))
    return (
        f"a bug in grandstand: {type(error).__name__}: {error}"
        " (GRANDSTAND_TRACEBACK=1 shows where; please report it)"
    )


def _grpc_status(error: Exception) -> str | None:
    """The code and message of a failed call; without importing grpc, which most commands never need."""
    code, details = getattr(error, "code", None), getattr(error, "details", None)
    if not (callable(code) and callable(details)):
        return None
    name = getattr(code(), "name", None)
    return f"{name}: {details() or 'no details'}" if name else None
