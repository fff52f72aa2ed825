"""What is attacked, and the names that attackers and the witness share."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench import _frames
from bench._attack_line import Address
from toolbox.local.development import development_token

SOURCE = "127.66.0.1"
GAME, POLL, BOARD, PULSE, KIND = "witness", "now", "top", "cheer", "fire"
ASIDE = "aside"
"""A game beside that of the witness."""
OPTIONS = tuple(f"option-{n}" for n in range(8))
VOTER = "voter-{}"


@dataclass(frozen=True, slots=True)
class Target:
    """Where the mesh is, and whose development key signs the attackers' tokens."""

    edge: Address
    mesh: Address
    gateway: Address
    """Past Envoy: the engine itself."""
    nats: Address
    redis: Address
    home: Path

    def token(self, actor_id: str, *roles: str, life_s: float = 3600.0, **claims: Any) -> str:
        return development_token(self.home, actor_id, roles=roles, life_s=life_s, **claims)

    def bearer(self, actor_id: str, *roles: str, **claims: Any) -> tuple[str, str]:
        return "authorization", f"Bearer {self.token(actor_id, *roles, **claims)}"


def message(request: Any) -> bytes:
    return _frames.message(request.SerializeToString())
