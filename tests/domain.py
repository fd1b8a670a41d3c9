"""The domain as one whole: real parts over SQLite in memory, a clock in hand, an abuse policy that obeys the test."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import AsyncIterator, Coroutine, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from twisted.internet import reactor
from twisted.internet.defer import Deferred, DeferredList
from twisted.internet.task import Clock
from twisted.trial.unittest import TestCase

from fxa_auth import onepw
from fxa_auth.accounts import Accounts, SignIn
from fxa_auth.credentials import Credentials
from fxa_auth.errors import ApiError
from fxa_auth.passwords import Passwords
from fxa_auth.records import Account, Client, Event, LinkOptions, MailKind, StoredMail, Token, TokenKind
from fxa_auth.registration import Registration
from fxa_auth.sessions import Sessions
from fxa_auth.signing import Signing
from fxa_auth.store import Store
from fxa_auth.store.database import Statement
from fxa_auth.store.seal import Seal
from fxa_auth.store.sealingkeys import find_keys
from fxa_auth.store.sqlite import SqliteDatabase
from fxa_auth.tokens import Lifetimes, TokenKeys
from fxa_auth.verification import Verification

EMAIL = "Me@example.com"
DOMAIN = "api.example.com:9000"
START_S = 1_700_000_000
PW, NEW_PW, WRONG_PW = b"\x01" * 32, b"\x02" * 32, b"\xff" * 32
WRAP_KB = b"\x0b" * 32
OPTIONS = LinkOptions("sync", "https://firefox.com/x", "resume me")
LIFETIMES_MS = {
    TokenKind.ACCOUNT_RESET: 15 * 60_000,
    TokenKind.PASSWORD_FORGOT: 60 * 60_000,
    TokenKind.PASSWORD_CHANGE: 15 * 60_000,
}


class ObedientCustoms:
    """An abuse policy that remembers what it was asked and answers what the test has set."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, ...]] = []
        self.refusal: ApiError | None = None
        self.lockout = False

    async def check(self, ip: str, email: str, action: str) -> None:
        self.calls.append(("check", ip, email, action))
        if self.refusal is not None:
            raise self.refusal

    @asynccontextmanager
    async def guess(self, ip: str, email: str, action: str) -> AsyncIterator[ObedientGuess]:
        """Leave is always given; a password that turns out wrong is remembered as ``failed_login``."""
        yield ObedientGuess(self, ip, email)

    async def password_reset(self, email: str) -> None:
        self.calls.append(("password_reset", email))

    async def unlocked(self, email: str) -> None:
        self.calls.append(("unlocked", email))


@dataclass(frozen=True)
class ObedientGuess:
    """Leave to try a password that ``customs`` has given."""

    customs: ObedientCustoms
    ip: str
    email: str
    if_right: Sequence[Statement] = ()

    async def wrong(self) -> bool:
        self.customs.calls.append(("failed_login", self.ip, self.email))
        return self.customs.lockout


class ObedientStretcher:
    """A hash that costs nothing; while ``gate`` is set, hashing waits for it."""

    def __init__(self) -> None:
        self.hashes = 0
        self.asked_by: list[str] = []
        self.gate: Deferred[None] | None = None

    async def stretch(self, auth_pw: bytes, auth_salt: bytes, client_address: str) -> bytes:
        self.hashes += 1
        self.asked_by.append(client_address)
        if self.gate is not None:
            await self.gate
        return onepw.xor(auth_pw, auth_salt)


class ObedientPreVerification:
    """Vouches for every address, or raises what the test has set."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, str]] = []
        self.refusal: ApiError | None = None

    async def verify(self, token: str, email: str) -> None:
        self.calls.append((token, email))
        if self.refusal is not None:
            raise self.refusal


class DomainTestCase(TestCase):
    """All domain objects on one empty store. ``announced`` are the mails that the outbox was told of."""

    verifier_version = 1
    lockout_enabled = True
    resend_blackout_ms = 0

    async def setUp(self) -> None:
        self.clock = Clock()
        self.clock.advance(START_S)
        self.database = await self.make_database()
        seal = Seal()
        seal.use(*await find_keys(self.database, (), {}, 0))
        self.store = Store(self.database, seal)
        self.customs, self.stretcher = self.make_customs(), ObedientStretcher()
        self.pre_verification = ObedientPreVerification()
        self.announced: list[tuple[MailKind, bytes]] = []
        self.passwords = self.make_passwords(self.verifier_version)
        self.accounts = self.make_accounts(["open"])
        self.credentials = Credentials(
            self.store,
            self.passwords,
            self.customs,
            Lifetimes(LIFETIMES_MS),
            os.urandom,
            self.clock,
            DOMAIN,
            self.announce,
        )
        self.verification = Verification(
            self.store, self.passwords, self.customs, self.clock, self.resend_blackout_ms, self.announce
        )
        self.sessions = Sessions(self.store)
        self.signing = Signing(self.store, self.clock, DOMAIN)

    def make_customs(self) -> Any:
        return ObedientCustoms()

    async def make_database(self) -> Any:
        """A new database, started, and stopped at the test's end."""
        database = SqliteDatabase(reactor, self.clock, None)  # type: ignore[arg-type]
        self.addCleanup(lambda: Deferred.fromCoroutine(database.stop()))
        await database.start()
        return database

    def make_passwords(self, version: int) -> Passwords:
        return Passwords(
            self.store, self.customs, self.stretcher, os.urandom, self.clock, version, self.lockout_enabled
        )

    def make_accounts(self, mode: Sequence[str], domains: Sequence[str] = (), first: int = 0) -> Accounts:
        """Under these rules of registration."""
        return Accounts(
            self.store,
            self.passwords,
            self.customs,
            Registration(self.store, self.clock, mode, domains, first),
            self.pre_verification,
            os.urandom,
            self.clock,
            DOMAIN,
            self.announce,
        )

    def announce(self, kind: MailKind, uid: bytes) -> None:
        self.announced.append((kind, uid))

    # What tests do.

    @property
    def now_ms(self) -> int:
        return int(self.clock.seconds() * 1000)

    def client(self, language: str | None = None, received_at_ms: int | None = None) -> Client:
        """A request that came in just now."""
        return Client("192.0.2.1", language, self.now_ms if received_at_ms is None else received_at_ms)

    async def create(
        self,
        email: str = EMAIL,
        auth_pw: bytes = PW,
        *,
        verified: bool = True,
        with_keys: bool = False,
        token: str | None = None,
        invite_code: str | None = None,
        client: Client | None = None,
    ) -> SignIn:
        return await self.accounts.create(
            email,
            auth_pw,
            client or self.client(),
            OPTIONS,
            pre_verified=verified,
            pre_verify_token=token,
            invite_code=invite_code,
            with_keys=with_keys,
        )

    async def login(self, email: str = EMAIL, auth_pw: bytes = PW, *, with_keys: bool = False) -> SignIn:
        return await self.accounts.login(email, auth_pw, self.client(), with_keys=with_keys)

    async def lock(self) -> bytes:
        """Lock the account; the answer is its unlock code."""
        await self.accounts.lock(EMAIL, PW, self.client())
        code = (await self.account()).unlock_code
        assert code is not None
        return code

    async def kb_of(self, token: TokenKeys | None) -> tuple[bytes, bytes]:
        """kA and wrapKb, fetched with a keyFetchToken and opened as a client does."""
        assert token is not None
        bundle = await self.accounts.fetch_keys(await self.live(token))
        xor_key = onepw.hkdf(token.bundle_key, "account/keys", 96)[32:]
        plain = onepw.xor(bundle[:64], xor_key)
        return plain[:32], plain[32:]

    # What tests look at.

    async def find(self, keys: TokenKeys) -> Token | None:
        return await self.store.tokens.find(keys.kind, keys.id_hash)

    async def live(self, keys: TokenKeys) -> Token:
        token = await self.find(keys)
        assert token is not None, f"the {keys.kind.value} is gone"
        return token

    async def account(self, email: str = EMAIL) -> Account:
        account = await self.store.accounts.by_email(email.lower())
        assert account is not None
        return account

    async def rows(self, table: str) -> list[dict[str, Any]]:
        return [dict(row) for row in await self.database.query(f"SELECT * FROM {table}", {})]

    async def log(self) -> list[Event]:
        """All events recorded, in the order of the log."""
        await self.store.event_log.number(1000, self.now_ms)
        return await self.store.event_log.after(0, 1000)

    async def events(self) -> list[str]:
        """The kinds of all events recorded, in the order of the log."""
        return [event.kind for event in await self.log()]

    async def mails(self) -> list[StoredMail]:
        return list(await self.store.mails.page(None, 1000))

    async def assertRefused(self, errno: int, call: Coroutine[Any, Any, Any]) -> ApiError:
        error: ApiError = await self.assertFailure(Deferred.fromCoroutine(call), ApiError)
        self.assertEqual(error.errno, errno, str(error))
        return error


async def outcomes(calls: list[Coroutine[Any, Any, Any]]) -> tuple[list[Any], Counter[int]]:
    """Run all at once: the answers of those that succeeded, and how often each errno came (200 for success)."""
    results = await DeferredList([Deferred.fromCoroutine(call) for call in calls], consumeErrors=True)
    counted = Counter(200 if success else result.value.errno for success, result in results)
    return [result for success, result in results if success], counted
