"""Who may call the services on grpc.aio: the token of each call, checked before its request (I10).

    DefineGame, EndGame, DeleteGame,
    Open…, Close…,
    VoidVotes, RemoveScore          a token with the role owner that opens the game
    ReadPartitions, Revoke          a token with the role operator, a client's or the mesh's own
    Explain                         the same, that opens the game
    ListGames                       a token with the role owner, which sees the games that it opens
    Read, ReadStanding, GetGame,
    ListPolls, ListBoards           none, or a good one that opens the game: the edge serves them to anybody
    SendNotice…, CancelNotice,
    TailNotices                     a token with the role owner that opens the game; to a segment, everyone or
                                    about no game, one with the role operator that opens all games
    calls about segments            such an operator's
    ListInbox, AcknowledgeNotices,
    …Preferences                    a token that names an actor, whose own inbox it is

Owners and operators read actors' own ids, others those of mesh.pseudonyms. Where an actor stands whose own id
others do not see is told to the actor and to producers, owners and operators: else whoever guesses an e-mail
address would learn its pseudonym.

Envoy asks for a client's token on its mesh listener as well; a caller that reaches this port without Envoy
meets the same checks here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Protocol

from grandstand.wire.errors import Forbidden, shown
from mesh.auth import OPERATOR, OWNER, Identity, Verifies, authorization_of
from mesh.pseudonyms import PublicId, may_be_shown

Metadata = Iterable[tuple[str, str | bytes]]


class GrpcCall(Protocol):
    """The part of grpc.aio.ServicerContext that says who calls."""

    def invocation_metadata(self) -> Metadata | None: ...
    def peer(self) -> str: ...


@dataclass(frozen=True, slots=True)
class Caller:
    """Whose token was shown, and from where."""

    identity: Identity
    address: str
    """What Envoy saw as the caller's address, and whose connection brought the call. Printable."""


class Access:
    """`now`: Unix seconds."""

    def __init__(self, verifier: Verifies, now: Callable[[], float]) -> None:
        self._verifier = verifier
        self._now = now

    def owner(self, call: GrpcCall, field: str, game_id: str) -> Caller:
        """Raises Unauthenticated, Unavailable (no keys yet), Forbidden (role or game)."""
        identity = self.any_owner(call)
        identity.check_game(field, game_id)
        return Caller(identity, _address(call))

    def any_owner(self, call: GrpcCall) -> Identity:
        """Raises as `owner`, whatever games the token opens."""
        identity = self._identity(call)
        if not identity.owner:
            raise _lacks(OWNER)
        return identity

    def operator(self, call: GrpcCall) -> Caller:
        """Raises as `owner`."""
        identity = self._identity(call)
        if not identity.operator:
            raise _lacks(OPERATOR)
        return Caller(identity, _address(call))

    def operator_of_all(self, call: GrpcCall) -> Caller:
        """An operator whose token opens every game. Raises as `owner`."""
        by = self.operator(call)
        if by.identity.games is not None:
            raise Forbidden("token: is good for some games only, and this concerns all of them; get another")
        return by

    def actor(self, call: GrpcCall) -> Identity:
        """Whoever is somebody. Raises as `owner`."""
        identity = self._identity(call)
        if not identity.actor_id:
            raise Forbidden("token: names no actor, and the inbox of one is asked for; get one that does")
        return identity

    def reader(self, call: GrpcCall, game_id: str) -> Identity | None:
        """Whose token is shown; None where none is. Raises as `owner`."""
        if authorization_of(call.invocation_metadata()) is None:
            return None
        identity = self._identity(call)
        identity.check_game("game_id", game_id)
        return identity

    @staticmethod
    def public_id(reader: Identity | None, public: PublicId) -> PublicId:
        """Under which ids the reader sees actors."""
        return list if reader is not None and reader.owner else public

    @staticmethod
    def standing(reader: Identity | None, actor_id: str) -> None:
        """Raises Forbidden where the reader may not ask where this actor stands."""
        if may_be_shown(actor_id) or (
            reader is not None and (reader.producer or reader.actor_id == actor_id)
        ):
            return
        raise Forbidden(
            f"actor_id: {shown(actor_id)} is shown to others under a pseudonym; its place is told to the "
            "actor itself and to producers: show a token of either"
        )

    def _identity(self, call: GrpcCall) -> Identity:
        return self._verifier.verify(authorization_of(call.invocation_metadata()), self._now())


def _lacks(role: str) -> Forbidden:
    return Forbidden(f"token: has not the role {role}; get one that has it")


def _address(call: GrpcCall) -> str:
    """The last address of x-forwarded-for is what Envoy saw; who calls without Envoy may claim any."""
    forwarded = [value for name, value in call.invocation_metadata() or () if name == "x-forwarded-for"]
    claims = forwarded[-1] if forwarded else ""
    last = (claims if isinstance(claims, str) else claims.decode("latin-1")).rpartition(",")[2].strip()
    return f"{shown(last)} via {call.peer()}" if last else call.peer()
