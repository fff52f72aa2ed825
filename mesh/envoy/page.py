"""The page's files as direct responses: they are in Envoy's configuration, and it serves them from memory.

So the mesh needs no web server, and a file that is not in the list is not reachable, whatever the path says.
Names with a hash in them (vite's `assets/`) are immutable; the rest is asked for again each time.

Envoy holds a whole file for each request until its client has read it, so files of PLAIN_BYTES_MAX and more
are served as gzip, whatever the client accepts: as all browsers do. Rejected: a plain copy for clients that
do not say so, as an attacker would not; `file_server`, Envoy's new filter, which opens a file a request.

The content security policy lets the page run its own bundle and talk to its own edge, and nothing else.
"""

from __future__ import annotations

import base64
import gzip
import mimetypes
from dataclasses import replace
from pathlib import Path
from typing import Any

from mesh.envoy.config import PageFile

FILE_BYTES_MAX = 4 * 1024 * 1024
PLAIN_BYTES_MAX = 16 * 1024

_CONTENT_TYPES = {
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".mjs": "text/javascript; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".json": "application/json",
    ".map": "application/json",
    ".svg": "image/svg+xml",
    ".webmanifest": "application/manifest+json",
    ".woff2": "font/woff2",
    ".ico": "image/x-icon",
    ".txt": "text/plain; charset=utf-8",
}

_POLICY = "; ".join(
    (
        "default-src 'self'",
        "img-src 'self' data:",
        "object-src 'none'",
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'self'",
    )
)

_SECURITY_HEADERS = {
    "content-security-policy": _POLICY,
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cross-origin-opener-policy": "same-origin",
}

MISSING = PageFile(
    path="/",
    content_type=_CONTENT_TYPES[".html"],
    body=b"<!doctype html><title>Grandstand</title><p>The mesh runs. The page itself is not built:"
    b" web/dist or web/admin-dist has no index.html.\n",
)


def page_files(dist: Path, under: str = "/") -> tuple[PageFile, ...]:
    """Every file of a built page, in the order of their paths; `index.html` is also served at `under`.

    Raises ValueError for a file beyond FILE_BYTES_MAX, OSError when the folder cannot be read.
    """
    if not (dist / "index.html").is_file():
        return (replace(MISSING, path=under),)
    found = []
    for file in sorted(path for path in dist.rglob("*") if path.is_file()):
        if (size := file.stat().st_size) > FILE_BYTES_MAX:
            raise ValueError(f"{file} has {size} bytes, a file of the page may have {FILE_BYTES_MAX}")
        path = under + file.relative_to(dist).as_posix()
        immutable = path.startswith(f"{under}assets/")
        served = PageFile(path, content_type(file.name), *_body(file), immutable=immutable)
        if path == f"{under}index.html":
            found.append(replace(served, path=under))
        found.append(served)
    return tuple(found)


def _body(file: Path) -> tuple[bytes, bool]:
    """As it is sent, and whether that is gzip."""
    plain = file.read_bytes()
    if len(plain) >= PLAIN_BYTES_MAX:
        compressed = gzip.compress(plain, mtime=0)
        if len(compressed) < 0.9 * len(plain):  # not so fonts and pictures, which are compressed already
            return compressed, True
    return plain, False


def content_type(name: str) -> str:
    """Of a file by its name; not from the machine's own table for what the page is made of."""
    known = _CONTENT_TYPES.get(Path(name).suffix.lower())
    return known or mimetypes.guess_type(name)[0] or "application/octet-stream"


def page_route(page: PageFile) -> dict[str, Any]:
    headers = {
        "content-type": page.content_type,
        "cache-control": "public, max-age=31536000, immutable" if page.immutable else "no-cache",
        **({"content-encoding": "gzip"} if page.is_gzip else {}),
        **_SECURITY_HEADERS,
    }
    return {
        "match": {"path": page.path, "headers": [_GET_OR_HEAD, _NOT_GRPC]},
        "direct_response": {
            "status": 200,
            "body": {"inline_bytes": base64.b64encode(page.body).decode()},
        },
        "response_headers_to_add": [
            {"header": {"key": key, "value": value}, "append_action": "OVERWRITE_IF_EXISTS_OR_ADD"}
            for key, value in headers.items()
        ],
    }


_GET_OR_HEAD = {
    "name": ":method",
    "string_match": {"safe_regex": {"regex": "GET|HEAD"}},
}
# Envoy answers gRPC with the whole file as a percent-encoded header, grpc-message: 1.8 ms for 195 KiB, and as
# much memory, which no window bounds.
_NOT_GRPC = {
    "name": "content-type",
    "string_match": {"prefix": "application/grpc"},
    "invert_match": True,
    "treat_missing_header_as_empty": True,
}
