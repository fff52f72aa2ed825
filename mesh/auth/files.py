"""Files of keys: read up to their bound, and complained about by name."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from mesh import limits
from mesh.auth.keys import BadKeys, SigningKey, parse_signing_keys


def read_document(path: Path) -> bytes:
    """The file's bytes, one more than is allowed if there are too many. Raises OSError."""
    with path.open("rb") as file:
        return file.read(limits.KEYS_DOCUMENT_BYTES_MAX + 1)


def read_signing_keys(
    path: Path, parse: Callable[[bytes], tuple[SigningKey, ...]] = parse_signing_keys
) -> tuple[SigningKey, ...]:
    """The private keys of a file; the first one signs. Raises BadKeys naming the file, OSError."""
    try:
        return parse(read_document(path))
    except BadKeys as error:
        raise BadKeys(f"{path}: {error}") from None
