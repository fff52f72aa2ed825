"""One attack of `bench abuse`, in a process of its own: `python -m bench._attacker NAME TARGET`.

TARGET is the JSON of a `Target`. It answers a line with a number by attacking for this many seconds, and says
what it reached in one JSON object. It takes at most SHARE_MAX of a core: after each turn it looks what it
has used, and sleeps while that is more. While it sleeps its rate falls behind; `rate_per_s` says what it was.
"""

from __future__ import annotations

import json
import resource
import sys
import time
from pathlib import Path
from typing import Any

from bench._attack_kinds import STARTS_MAX, Attack
from bench._attack_plans import PLANS, Plan
from bench._attack_target import Target
from bench._child import READY
from toolbox.local.machine import raise_descriptor_limit

SHARE_MAX = 0.5
_SLACK_S = 0.05
"""Of CPU that may be used in advance."""
_WAIT_S = 0.002
_DEBT_S = 1.0
"""Units that were due longer ago are not made up for."""
_OUTCOMES_MAX = 12


def attack(plan: Plan, made: Attack, seconds: float) -> dict[str, Any]:
    """What it reached."""
    begin_s, begin_cpu_s = time.monotonic(), _cpu_s()
    started = skipped = held_max = 0
    while (spent_s := time.monotonic() - begin_s) < seconds:
        if _cpu_s() - begin_cpu_s > SHARE_MAX * spent_s + _SLACK_S:
            time.sleep(_WAIT_S)
            continue
        due = plan.burst + int(plan.rate_per_s * spent_s) - started - skipped
        most = max(plan.burst, int(plan.rate_per_s * _DEBT_S))
        if due > most:
            skipped += due - most
            due = most
        begun = made.start(min(due, STARTS_MAX))
        started += begun
        made.turn(0.0 if begun == STARTS_MAX else _WAIT_S)
        held_max = max(held_max, made.held)
    spent_s = time.monotonic() - begin_s
    outcomes = made.outcomes.most_common()
    return {
        "achieved": {
            "started": started,
            "rate_per_s": round(started / spent_s, 1),
            **({"held_max": held_max} if plan.held else {}),
        },
        "cpu_cores": round((_cpu_s() - begin_cpu_s) / spent_s, 3),
        "outcomes": {
            **dict(outcomes[:_OUTCOMES_MAX]),
            **(
                {"others": sum(n for _, n in outcomes[_OUTCOMES_MAX:])}
                if len(outcomes) > _OUTCOMES_MAX
                else {}
            ),
        },
        "landed": made.landed,
    }


def _cpu_s() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def target(text: str) -> Target:
    found = json.loads(text)
    addresses = {name: (at[0], at[1]) for name, at in found.items() if name != "home"}
    return Target(**addresses, home=Path(found["home"]))


def main() -> None:
    plan = PLANS[sys.argv[1]]
    made = plan.make(target(sys.argv[2]))
    raise_descriptor_limit()
    print(READY, flush=True)
    for line in sys.stdin:
        print(json.dumps(attack(plan, made, float(line))), flush=True)


if __name__ == "__main__":
    main()
