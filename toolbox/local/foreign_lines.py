"""What the programs of others write to their logs, in the form of our own (mesh.logs.line). Pure.

They run with TZ=UTC, so the times that they write are in it. A line that nobody knows keeps its words, and
its time is when it was read. Envoy writes JSON as it is configured (mesh.envoy.bootstrap).
"""

from __future__ import annotations

import re

from mesh.logs.line import fields_of, json_line, timestamp

_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
_TIME = r"(?P<time>[\d:]{8}\.\d{3})\d*"
_SAYS = r"(?P<says>.*)"
_DATE = r"(?P<y>\d{4})[/-](?P<m>\d\d)[/-](?P<d>\d\d)"
_NATS = re.compile(rf"\[\d+\] {_DATE} {_TIME} \[(?P<level>[A-Z]{{3}})\] {_SAYS}")
_VALKEY = re.compile(
    rf"\d+:[A-Z] (?P<d>\d\d) (?P<m>{'|'.join(_MONTHS)}) (?P<y>\d{{4}}) {_TIME} (?P<level>[.*#-]) {_SAYS}"
)
# Before it has read its configuration.
_ENVOY = re.compile(rf"\[{_DATE} {_TIME}\]\[\d+\]\[(?P<level>\w+)\]\[(?P<logger>\w+)\] {_SAYS}")
_LEVELS = {
    "TRC": "debug",
    "DBG": "debug",
    "INF": "info",
    "WRN": "warning",
    "ERR": "error",
    "FTL": "error",
    ".": "debug",
    "-": "info",
    "*": "info",
    "#": "warning",
    "trace": "debug",
    "critical": "error",
}


def normal(instance: str, line: str, read_at_s: float) -> str:
    """A line of JSON. `read_at_s`: Unix seconds."""
    fields = fields_of(line)
    if fields is not None:
        if "instance" in fields:
            return line
        time = str(fields.get("time", "")).replace("+00:00", "Z") or timestamp(read_at_s)
        return json_line({"time": time, "level": _level(fields), "instance": instance} | _rest(fields))
    for form in (_NATS, _VALKEY, _ENVOY):
        if found := form.fullmatch(line):
            parts = found.groupdict()
            month = parts["m"]
            if month in _MONTHS:
                month = f"{_MONTHS.index(month) + 1:02}"
            return json_line(
                {
                    "time": f"{parts['y']}-{month}-{parts['d']}T{parts['time']}Z",
                    "level": _LEVELS.get(parts["level"], parts["level"].lower()),
                    "instance": instance,
                    "logger": parts.get("logger"),
                    "message": parts["says"],
                }
            )
    said = {"time": timestamp(read_at_s), "level": "info", "instance": instance, "message": line}
    return json_line(said)


def _level(fields: dict[str, object]) -> str:
    level = str(fields.get("level", "info"))
    return _LEVELS.get(level, level)


def _rest(fields: dict[str, object]) -> dict[str, object]:
    return {name: value for name, value in fields.items() if name not in ("time", "level", "instance")}
