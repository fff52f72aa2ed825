"""Keys from a file or a URL, as they are now: the operator rotates them, and no service is restarted.

A file is read every KEYS_FILE_LOOK_S: cheaper than being wrong about times of change, and right with renames
and links put elsewhere, as Kubernetes does it. A URL is fetched every KEYS_FETCH_S, or as its Cache-Control
says within KEYS_FETCH_MIN_S to KEYS_FETCH_MAX_S; and at once when a token names a key that is not there, but
no sooner than KEYS_FETCH_AGAIN_S after the last fetch: anybody can make up a kid.

Invariants: what was good stays until something else that is good, and allowed in this environment, takes its
place; `ring` is the same object for as long as the content is the same, so that what a verifier remembers
lives through a fetch. Each failure is logged once for as long as it stays the same.

Bounds: KEYS_DOCUMENT_BYTES_MAX, KEYS_FETCH_PATIENCE_S for a whole fetch, one fetch at a time, no redirects
(the operator named the place that is trusted; another one must be named, too).

Rejected: inotify (not on every file system, and not for what a link points to); failing to start while a URL
cannot be reached, which would make a restart of a service an outage of the platform's key server: until the
first keys come, tokens are answered UNAVAILABLE, as the edge does.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import http.client
import logging
import random
import re
import time
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from mesh import limits
from mesh.auth.files import read_document
from mesh.auth.keys import NO_KEYS, BadKeys, Environment, KeyRing, check_environment, parse_ring

log = logging.getLogger(__name__)

_MAX_AGE = re.compile(r"(?:\A|[,\s])max-age=(\d{1,9})(?:[,\s]|\Z)", re.IGNORECASE)
_UNCACHED = re.compile(r"(?:\A|[,\s])no-(?:store|cache)(?:[,\s]|\Z)", re.IGNORECASE)
_CHUNK_BYTES = 16 * 1024


@dataclass(frozen=True, slots=True)
class Document:
    content: bytes
    good_for_s: float
    """When to look again."""


class KeyLocation(Protocol):
    """Where a document of keys is."""

    name: str
    again_s: float
    """After a failure, and at the earliest when somebody asks for a key that is not there."""
    must_be_there: bool
    """Whether a service without it does not start."""

    def read(self) -> Document:
        """Blocks. Raises OSError, BadKeys."""
        ...


class KeySource:
    """Calling it gives the ring as it is now; `run` keeps it up to date."""

    def __init__(
        self, place: KeyLocation, environment: Environment, parse: Callable[[bytes], KeyRing] = parse_ring
    ) -> None:
        self._place = place
        self._parse = parse
        self._environment = environment
        self._ring = NO_KEYS
        self._digest = b""
        self._wait_s = 0.0
        self._wanted = asyncio.Event()
        self._complaint = ""

    def __call__(self) -> KeyRing:
        return self._ring

    def look_again(self) -> None:
        """A key is wanted that is not there. Costs nothing when said often."""
        self._wanted.set()

    async def start(self) -> None:
        """The first look. Raises BadKeys, and OSError for a place that must be there."""
        try:
            await self._look()
        except OSError as error:
            if self._place.must_be_there:
                raise OSError(f"the keys cannot be read: {error}") from None
            self._complain(error)

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            looked_at_s = time.monotonic()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._wait_s):
                    await self._wanted.wait()
            await asyncio.sleep(looked_at_s + min(self._place.again_s, self._wait_s) - time.monotonic())
            self._wanted.clear()  # what is wanted from here on may be missing in what is read
            try:
                await self._look()
            except (OSError, BadKeys) as error:
                self._complain(error)

    async def _look(self) -> None:
        self._wait_s = self._place.again_s * random.uniform(1.0, 1.5)
        document = await asyncio.to_thread(self._place.read)
        digest = hashlib.sha256(document.content).digest()
        if digest != self._digest:
            self._take(document.content)
            self._digest = digest
        self._wait_s = document.good_for_s
        self._complaint = ""

    def _take(self, content: bytes) -> None:
        try:
            ring = self._parse(content)
            check_environment(self._environment, ring)
        except BadKeys as error:
            raise BadKeys(f"{self._place.name}: {error}") from None
        self._ring = ring
        names = ", ".join(f"{key.kid or 'unnamed'} ({key.algorithm})" for key in ring.keys.values())
        log.info("keys from %s: %s", self._place.name, names)
        for passed_over in ring.passed_over:
            log.info("%s: passed over: %s", self._place.name, passed_over)

    def _complain(self, error: Exception) -> None:
        complaint = f"{error}; {'the old keys stay' if self._ring.keys else 'there are no keys yet'}"
        if complaint != self._complaint:
            log.error("%s", complaint)
            self._complaint = complaint


class KeyFile:
    """A file of keys."""

    again_s = limits.KEYS_FILE_LOOK_S
    must_be_there = True

    def __init__(self, path: Path) -> None:
        self.name = str(path)
        self._path = path

    def read(self) -> Document:
        return Document(read_document(self._path), limits.KEYS_FILE_LOOK_S)


class KeyUrl:
    """An http(s) URL of keys."""

    again_s = limits.KEYS_FETCH_AGAIN_S
    must_be_there = False

    def __init__(self, url: str) -> None:
        self.name = url
        self._opener = urllib.request.build_opener(_NoRedirects)

    def read(self) -> Document:
        give_up_at_s = time.monotonic() + limits.KEYS_FETCH_PATIENCE_S
        request = urllib.request.Request(self.name, headers={"accept": "application/json"})
        try:
            with self._opener.open(request, timeout=limits.KEYS_FETCH_PATIENCE_S) as response:
                if response.status != 200:
                    raise OSError(f"it answered {response.status}")
                content = _read(response, give_up_at_s)
                return Document(content, good_for_s(response.headers.get("cache-control", "")))
        except (OSError, ValueError, http.client.HTTPException) as error:
            raise OSError(f"{self.name}: {error}") from None


def good_for_s(cache_control: str) -> float:
    """How long an answer with this Cache-Control is taken for new, within our bounds (seconds)."""
    if _UNCACHED.search(cache_control):
        return limits.KEYS_FETCH_MIN_S
    if found := _MAX_AGE.search(cache_control):
        return min(max(float(found[1]), limits.KEYS_FETCH_MIN_S), limits.KEYS_FETCH_MAX_S)
    return limits.KEYS_FETCH_S


def _read(response: http.client.HTTPResponse, give_up_at_s: float) -> bytes:
    """At most one byte more than is allowed. Each read has its timeout; who drips is given up, too."""
    content = b""
    while chunk := response.read1(min(_CHUNK_BYTES, limits.KEYS_DOCUMENT_BYTES_MAX + 1 - len(content))):
        content += chunk
        if time.monotonic() > give_up_at_s:
            raise TimeoutError(f"no whole answer within {limits.KEYS_FETCH_PATIENCE_S:g} s")
    return content


class _NoRedirects(urllib.request.HTTPRedirectHandler):
    """Answers as if 3xx were any other refusal."""

    def redirect_request(self, *_: object) -> None:
        return None
