"""A token that is minted when it is first wanted, and again before it expires. Pure, given its clock."""

from __future__ import annotations

from collections.abc import Callable


class Renewed:
    """Calling it gives a token that is good for at least `renew_s` more (seconds)."""

    def __init__(
        self, mint: Callable[[float], str], *, life_s: float, renew_s: float, clock: Callable[[], float]
    ) -> None:
        if not 0 < renew_s < life_s:
            raise ValueError(f"renew_s is {renew_s}; 0 to life_s ({life_s}) is expected")
        self._mint = mint
        self._life_s = life_s
        self._renew_s = renew_s
        self._clock = clock
        self._token = ""
        self._minted_at_s = 0.0

    def __call__(self) -> str:
        now_s = self._clock()
        # A clock that was set back makes a new one, too: the old one would be too early.
        if not self._token or not 0 <= now_s - self._minted_at_s < self._life_s - self._renew_s:
            self._token = self._mint(now_s)
            self._minted_at_s = now_s
        return self._token
