"""All collectors at once, each within WITHIN_S: one that hangs is itself a fact."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable
from typing import Any

from toolbox.doctor.certificates import certificate_facts
from toolbox.doctor.facts import DoctorFacts
from toolbox.doctor.machine_facts import machine_facts
from toolbox.doctor.mesh_facts import mesh_facts
from toolbox.doctor.store_facts import nats_facts, redis_facts
from toolbox.local import status
from toolbox.local.home import Home, tenant
from toolbox.local.status import MeshStatus
from toolbox.local.store_users import ADMIN, StoreUrls

WITHIN_S = 12.0


def running(home: Home) -> MeshStatus | None:
    """The mesh in `home`, also one that is just starting; None when there is none."""
    found = tenant(home)
    now = status.read(home.status) if found and found.running else None
    return now if now is not None and found is not None and now.pid == found.pid else None


def examine(home: Home, nats_url: str | None, redis_url: str | None) -> DoctorFacts:
    """`nats_url`, `redis_url`: somebody else's, instead of the stores of the mesh in `home`."""
    return asyncio.run(_examine(home, nats_url, redis_url))


async def _examine(home: Home, nats_url: str | None, redis_url: str | None) -> DoctorFacts:
    mesh = running(home)
    own = _own_stores(home) if mesh else StoreUrls("", "")
    nats, redis = nats_url or own.nats, redis_url or own.redis
    asked: dict[str, Awaitable[Any]] = {
        "machine": asyncio.to_thread(
            machine_facts, home, own_nats=nats_url is None, own_redis=redis_url is None
        ),
        "certificates": certificate_facts(mesh.addresses.edge if mesh else "", nats, redis),
    }
    if nats:
        asked["nats"] = asyncio.to_thread(nats_facts, nats)
    if redis:
        asked["redis"] = asyncio.to_thread(redis_facts, redis)
    if mesh:
        asked["mesh"] = mesh_facts(mesh)
    found: dict[str, Any] = {}
    problems: dict[str, str] = {}

    async def within(name: str, answer: Awaitable[Any]) -> None:
        try:
            async with asyncio.timeout(WITHIN_S):
                found[name] = await answer
        except TimeoutError:
            problems[name] = f"it took longer than {WITHIN_S:g} s"
        except Exception as error:
            problems[name] = f"{type(error).__name__}: {error}"

    await asyncio.gather(*(within(name, answer) for name, answer in asked.items()))
    return DoctorFacts(**found, problems=problems)


def _own_stores(home: Home) -> StoreUrls:
    """Empty where this user may not read them, or they are not written yet."""
    try:
        return StoreUrls(**json.loads(home.store_urls.read_text())[ADMIN])
    except (OSError, ValueError, KeyError):
        return StoreUrls("", "")
