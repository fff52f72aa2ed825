"""Programs of the distribution's own packages: unpacked into a folder of ours, and not installed.

An apt of our own fetches them, with its lists beside them, so that no root is needed and nothing of the
system changes. The distribution's signatures are checked as ever.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from toolbox.local import provision
from toolbox.local.provision import ProvisionError, Say

_APT_CONF = """\
#clear APT::Update;
APT::Sandbox::User "root";
Dir::State::lists "./lists";
Dir::Cache "./";
Dir::Cache::archives "./archives";
Acquire::Languages "none";
"""


@contextmanager
def unpacked(
    place: Path, packages: Sequence[str], what: str, say: Say, extras: Sequence[str] = ()
) -> Iterator[Path]:
    """The folder with the packages' files, which becomes `place` at the end; the archives are beside it.
    `what` names them for a person. `extras`: it does without these. Raises ProvisionError."""
    if not (shutil.which("apt-get") and shutil.which("dpkg-deb")):
        raise ProvisionError(
            f"no {what} here: it comes as a package of Debian or Ubuntu, and there is no apt-get"
        )
    with provision.scratch_beside(place.parent) as scratch:
        say(f"fetching {what} (Debian's packages, into the checkout, once)")
        for folder in ("lists", "archives"):
            (scratch / folder / "partial").mkdir(parents=True)
        (scratch / "apt.conf").write_text(_APT_CONF)
        apt = ["apt-get", "-q", "-c", "./apt.conf"]
        provision.run([*apt, "update"], cwd=scratch, check=False)
        provision.run([*apt, "download", *packages], cwd=scratch)
        if extras:
            provision.run([*apt, "download", *extras], cwd=scratch, check=False)
        files = scratch / "unpacked"
        for archive in sorted(scratch.glob("*.deb")):
            provision.run(["dpkg-deb", "-x", archive, files])
        yield files
        provision.settle(files, place)
