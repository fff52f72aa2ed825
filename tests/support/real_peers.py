"""Clients that others wrote, found or fetched for tests alone.

`grpc_js`: Node's gRPC client, pinned by grpc_js/package-lock.json, on the pinned node; fetched on first use
from the npm registry into `tools_dir()`. `curl`: libcurl, which is nghttp2, in the wheel of pycurl; the curl
of the machine may be missing, or speak no HTTP/2.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from io import BytesIO
from pathlib import Path
from typing import NamedTuple

import pycurl

from toolbox.local import provision

GRPC_JS = Path(__file__).parent / "grpc_js"
CURL_WITHIN_S = 30


class GrpcJs(NamedTuple):
    node: Path
    modules: Path
    """The folder that holds node_modules."""
    script: Path


def grpc_js() -> GrpcJs:
    """Raises ProvisionError."""
    node = provision.node()
    place = provision.tools_dir() / "grpc-js"
    if not (place / "node_modules" / "@grpc" / "grpc-js" / "package.json").is_file():
        with provision.scratch_beside(place.parent) as scratch:
            provision.to_stderr("fetching grpc-js for the tests (6 MB, once)")
            unpacked = scratch / "unpacked"
            unpacked.mkdir()
            for name in ("package.json", "package-lock.json"):
                shutil.copy(GRPC_JS / name, unpacked)
            npm = provision.npm_command(provision.to_stderr)
            command = [*npm, "ci", "--ignore-scripts", "--no-audit", "--no-fund"]
            provision.run([*command, "--cache", scratch / "cache"], cwd=unpacked)
            provision.settle(unpacked, place)
    return GrpcJs(node, place, GRPC_JS / "client.cjs")


class Answer(NamedTuple):
    headers: str
    """A line each, trailers too."""
    body: bytes


def curl(url: str, body: bytes, options: Mapping[int, object]) -> Answer:
    """POSTs `body` as a gRPC client would. Raises pycurl.error."""
    headers, received = list[bytes](), BytesIO()
    handle = pycurl.Curl()
    try:
        handle.setopt(pycurl.URL, url)
        handle.setopt(pycurl.NOPROXY, "*")
        handle.setopt(pycurl.NOSIGNAL, 1)
        handle.setopt(pycurl.TIMEOUT, CURL_WITHIN_S)
        handle.setopt(pycurl.POSTFIELDS, body)
        handle.setopt(pycurl.HEADERFUNCTION, headers.append)
        handle.setopt(pycurl.WRITEDATA, received)
        for option, value in options.items():
            handle.setopt(option, value)
        handle.perform()
    finally:
        handle.close()
    return Answer(b"".join(headers).decode().replace("\r", ""), received.getvalue())
