"""Prometheus for a local mesh: where the program comes from, and its configuration.

It is the machine's own, one named by PROMETHEUS, or the distribution's package, fetched on first use. Each
process is scraped by itself, as in production, with the labels `service` and `instance`; Envoy by way of
`up`, as its admin is a socket of this user's. The rules are those of deploy/observability.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Sequence
from pathlib import Path

from toolbox.local import debian_packages, provision
from toolbox.local.home import Home
from toolbox.local.metrics_collector import Scraped
from toolbox.local.provision import ProvisionError, Say
from toolbox.local.spec import HttpProbe, ProcessSpec
from toolbox.local.stores import LOOPBACK

_PAGES = b"/usr/share/prometheus/web/"
_OWN_PAGES = b"usr/share/prometheus/web//"
"""Debian's, and below the folder that ours is started in."""
_FOR_PAGES = (
    *(f"libjs-{name}" for name in ("bootstrap4", "d3", "eonasdan-bootstrap-datetimepicker", "jquery")),
    *(f"libjs-{name}" for name in ("jquery-hotkeys", "moment", "mustache", "popper.js", "rickshaw")),
    "fonts-glyphicons-halflings",
)
"""Without moment-timezone, which unpacks to 214 MB."""
RULES = Path("deploy") / "observability" / "rules.yml"
SCRAPE_S = 5
RETENTION = "15d"
RETENTION_SIZE = "2GB"
_WAY_OUT = "install Prometheus, or name it by PROMETHEUS"


assert len(_PAGES) == len(_OWN_PAGES)


def prometheus(say: Say = provision.to_stderr) -> Path:
    """The program; promtool is beside it. Raises ProvisionError."""
    named = os.environ.get("PROMETHEUS")
    if named:
        found = shutil.which(named)
        if not found:
            raise ProvisionError(f"PROMETHEUS={named} is no program that can be run; name one or unset it")
        return Path(found)
    if found := shutil.which("prometheus"):
        return Path(found)
    place = provision.tools_dir() / "prometheus"
    program = place / "usr" / "bin" / "prometheus"
    if not program.is_file():
        try:
            with debian_packages.unpacked(place, ("prometheus",), "Prometheus", say, _FOR_PAGES) as files:
                unpacked = files / program.relative_to(place)
                unpacked.write_bytes(unpacked.read_bytes().replace(_PAGES, _OWN_PAGES))
        except ProvisionError as error:
            raise ProvisionError(f"{error}; {_WAY_OUT}") from None
    return program


def config_of(home: Home) -> Path:
    """Read again at a SIGHUP."""
    return home.run / "prometheus.yml"


def process(program: Path, port: int, home: Home, stop_stage: int) -> ProcessSpec:
    return ProcessSpec(
        name="prometheus",
        command=(
            *(str(program), f"--config.file={config_of(home)}"),
            *(
                f"--storage.tsdb.path={home.root / 'prometheus'}",
                f"--storage.tsdb.retention.time={RETENTION}",
            ),
            *(f"--storage.tsdb.retention.size={RETENTION_SIZE}", f"--web.listen-address={LOOPBACK}:{port}"),
            *("--enable-feature=exemplar-storage", "--log.level=warn"),
        ),
        probe=HttpProbe(port, "/-/ready"),
        address=f"{LOOPBACK}:{port}",
        # Where the pages of an unpacked one are.
        cwd=program.parent.parent.parent,
        grace_s=5.0,
        stop_stage=stop_stage,
        optional=True,
    )


def config(processes: Sequence[Scraped], metrics_port: int, rules: Path, every_s: int = SCRAPE_S) -> str:
    """Of Prometheus, as JSON, which is YAML too. `metrics_port`: where `up` collects everything."""
    jobs = [
        {
            "job_name": "grandstand",
            "static_configs": [
                {
                    "targets": [f"{LOOPBACK}:{each.port}"],
                    "labels": {"service": each.service, "instance": each.instance},
                }
                for each in processes
            ],
        },
        {
            "job_name": "envoy",
            "metrics_path": "/metrics/envoy",
            "static_configs": [
                {
                    "targets": [f"{LOOPBACK}:{metrics_port}"],
                    "labels": {"service": "envoy", "instance": "envoy"},
                }
            ],
        },
    ]
    every = f"{every_s}s"
    whole = {
        "global": {"scrape_interval": every, "scrape_timeout": every, "evaluation_interval": every},
        "rule_files": [str(rules)],
        "scrape_configs": jobs,
    }
    return json.dumps(whole, indent=1) + "\n"
