"""Who may make an account: the rules of ``registration.mode``, each of which may let somebody in.

A create is asked for its ways in before its password is hashed. The way it takes is paid in the transaction that makes
the account (a use of an invite, one of the first places), so nothing is ever owed or to be given back, whatever
becomes of the create, and of several that want the last use one gets it. What an account is good for is no matter here.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger

from fxa_auth import emailaddress, errors
from fxa_auth.clock import time_ms
from fxa_auth.invitecodes import code_hash
from fxa_auth.records import Account, Invite
from fxa_auth.store import Store
from fxa_auth.store.database import DemandFailed, Row, Statement

_log = Logger()

_STILL_OPEN = "the way in is still open"


@dataclass(frozen=True)
class _Applicant:
    """``email`` is normalized; ``old`` is the unverified account that has the address now."""

    email: str
    invite_code: str | None = field(repr=False)
    old: Account | None
    now_ms: int


@dataclass(frozen=True)
class _Way:
    """A way in by a rule. ``payment`` makes of a uid the steps that follow the account's own; ``closed`` says why they
    found nothing, if they do. Of several ways the one that costs least is tried first."""

    rule: str
    cost: int = 0
    payment: Callable[[bytes], Sequence[Statement]] = lambda uid: ()
    closed: str = ""
    invite: Invite | None = None


_Found = tuple[Sequence[_Way], str]
"""What a rule answers: the ways in, and why there are none."""


class Registration:
    """The rules that ``mode`` names, in the words of the setting.

    ``domains`` are in lower case; with ``first`` accounts on the server, the rule of that name lets nobody in any more.
    """

    def __init__(
        self, store: Store, clock: IReactorTime, mode: Sequence[str], domains: Sequence[str], first: int
    ) -> None:
        self._store = store
        self._clock = clock
        self._mode = mode
        self._domains = frozenset(domains)
        self._first = first
        self._rules = {
            "open": self._open,
            "closed": self._closed,
            "domains": self._by_domain,
            "first": self._among_the_first,
            "invite": self._by_invite,
        }

    async def admission(self, email: str, invite_code: str | None, old: Account | None) -> Admission:
        """The ways in for a create. ``old`` is the unverified account that it is going to replace.

        :raises ApiError: 403/999, no rule lets it in
        """
        applicant = _Applicant(emailaddress.normalize(email), invite_code, old, time_ms(self._clock))
        ways: list[_Way] = []
        reasons: list[str] = []
        for rule in self._mode:
            found, reason = await self._rules[rule](applicant)
            ways += found
            if not found:
                reasons.append(f"{rule} ({reason})")
        if not ways:
            raise _refusal(reasons)
        return Admission(self._store, sorted(ways, key=lambda way: way.cost), reasons)

    async def _open(self, applicant: _Applicant) -> _Found:
        return [_Way("open")], ""

    async def _closed(self, applicant: _Applicant) -> _Found:
        return [], "no accounts are made here"

    async def _by_domain(self, applicant: _Applicant) -> _Found:
        domain = applicant.email.partition("@")[2]
        return [_Way("domains")] if domain in self._domains else [], "addresses at this domain are not let in"

    async def _among_the_first(self, applicant: _Applicant) -> _Found:
        """All accounts count, however they came; one that is about to be replaced holds no place."""
        accounts, leases, is_full = self._store.accounts, self._store.leases, "all places are taken"
        replaced = None if applicant.old is None else applicant.old.uid
        if await accounts.count(self._first, replaced) == self._first:
            return [], is_full
        turn, place = leases.one_at_a_time("registration.first"), accounts.at_most(self._first, _STILL_OPEN)
        return [_Way("first", 1, lambda uid: (turn, place), is_full)], is_full

    async def _by_invite(self, applicant: _Applicant) -> _Found:
        """An address whose unverified account came by an invite may show that again, and takes no further use of it."""
        invites, now_ms = self._store.invites, applicant.now_ms
        shown_hash = None if applicant.invite_code is None else code_hash(applicant.invite_code)
        found = await invites.matching(applicant.email, shown_hash)
        earlier = None if applicant.old is None else await invites.used_by(applicant.old.uid)
        ways = []
        for invite in found:
            if invite.is_expired(now_ms):
                continue
            if invite.id == earlier:
                ways.append(_Way("invite", 0, self._use(invite, 0, now_ms), "the invite has gone", invite))
            elif invite.uses_left:
                ways.append(_Way("invite", 2, self._use(invite, 1, now_ms), "the invite is used up", invite))
        return ways, _why_not(applicant, found)

    def _use(self, invite: Invite, taken: int, now_ms: int) -> Callable[[bytes], Sequence[Statement]]:
        return lambda uid: self._store.invites.use(invite.id, uid, taken, now_ms, _STILL_OPEN)


class Admission:
    """The ways in that one create has found, the one that costs least first."""

    def __init__(self, store: Store, ways: Sequence[_Way], reasons: Sequence[str]) -> None:
        self._store = store
        self._ways = ways
        self._reasons = reasons

    async def change(self, uid: bytes, *steps: Statement) -> list[Sequence[Row]]:
        """Carry out the steps that make the account, by the first way that is still open. ``uid`` is 16 bytes.

        :raises DemandFailed: one of ``steps`` found nothing where it had to
        :raises ApiError: 403/999, all ways have been closed meanwhile
        :raises DatabaseUnavailable: the database does not answer or failed
        """
        reasons = list(self._reasons)
        for way in self._ways:
            try:
                results = await self._store.change(*steps, *way.payment(uid))
            except DemandFailed as error:
                if error.demand != _STILL_OPEN:
                    raise
                reasons.append(f"{way.rule} ({way.closed})")
            else:
                if way.invite is not None:
                    _log.info("invite.used", uid=uid.hex(), invite=way.invite.id.hex())
                return results
        raise _refusal(reasons)


def _why_not(applicant: _Applicant, found: Sequence[Invite]) -> str:
    """What became of a code may be told to its holder; whether an address was ever invited is nobody's business."""
    if applicant.invite_code is None:
        return "there is none for this address"
    by_code = [invite for invite in found if invite.normalized_email is None]
    if not by_code:
        return "the code is unknown"
    return "the code has expired" if by_code[0].is_expired(applicant.now_ms) else "the code is used up"


def _refusal(reasons: Sequence[str]) -> errors.ApiError:
    _log.info("account.refused", reasons=list(reasons))
    return errors.registration_refused(reasons)
