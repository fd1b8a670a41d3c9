"""The real application on a loopback port: SQLite in memory, a clock that the test sets, an abuse policy that obeys it.

Each answer is held against the standing rules of the protocol as it arrives, and each signed one against mohawk.
"""

from __future__ import annotations

import io
import json
import logging
import os
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import cache
from typing import Any

from mohawk import Sender
from mohawk.base import EmptyValue
from twisted.internet import reactor
from twisted.internet.defer import Deferred, maybeDeferred
from twisted.internet.ssl import CertificateOptions
from twisted.internet.task import Clock, deferLater
from twisted.logger import globalLogPublisher
from twisted.protocols.policies import WrappingFactory
from twisted.trial.unittest import TestCase

from fxa_auth import errors, log
from fxa_auth.accounts import Accounts, PreVerification
from fxa_auth.certificates import SigningKey
from fxa_auth.credentials import Credentials
from fxa_auth.http.app import Application, Shedding
from fxa_auth.http.auth import Authenticator
from fxa_auth.http.clientaddress import ClientAddress, Trust
from fxa_auth.http.params import ModelReader
from fxa_auth.http.route import HTML_TYPE, Route
from fxa_auth.http.routes.accounts import AccountRoutes
from fxa_auth.http.routes.codes import CodeRoutes
from fxa_auth.http.routes.links import LinkPages, link_redirects
from fxa_auth.http.routes.operations import OperationsRoutes
from fxa_auth.http.routes.passwords import PasswordRoutes
from fxa_auth.http.routes.signing import SigningRoutes
from fxa_auth.http.site import Site
from fxa_auth.passwords import Passwords
from fxa_auth.publicurl import parse_public_url
from fxa_auth.records import Account, Letter, MailKind, TokenKind
from fxa_auth.registration import Registration
from fxa_auth.sessions import Sessions
from fxa_auth.signing import Signing
from fxa_auth.store import Store
from fxa_auth.store.database import Statement
from fxa_auth.store.seal import Seal
from fxa_auth.store.sealingkeys import find_keys
from fxa_auth.store.sqlite import SqliteDatabase
from fxa_auth.tokens import Lifetimes, derive
from fxa_auth.verification import Verification
from fxa_auth.version import Version
from fxa_auth.workers import ScryptPool
from tests.http.wire import Reply, Wire, connect, request_bytes
from tests.texts import default_texts

NOW_S = 1_430_000_000.25
EMAIL = "Jane@Example.org"
PASSWORD = "ab" * 32
CONTENT_SERVER = "https://content.example.com"
PAGE = b"<!doctype html><p>what this is"
VERSION = Version("1.36.0", "c0ffee" * 6 + "cafe", "https://example.com/source", "7")
LIFETIMES_MS = {
    TokenKind.ACCOUNT_RESET: 15 * 60_000,
    TokenKind.PASSWORD_FORGOT: 60 * 60_000,
    TokenKind.PASSWORD_CHANGE: 15 * 60_000,
}

# It would warn on stderr that nobody keeps the nonces of our answers, which have none.
logging.getLogger("mohawk").addHandler(logging.NullHandler())


@cache
def signing_key() -> SigningKey:
    """One for all tests, as it takes its time."""
    return SigningKey.generate()


@dataclass
class ObedientCustoms:
    """An abuse policy that says what the test wants and remembers what it was told."""

    marks: list[tuple[str, ...]] = field(default_factory=list)
    refused: dict[str, int | None] = field(default_factory=dict)
    locks_out: bool = False

    async def check(self, ip: str, email: str, action: str) -> None:
        self.marks.append((action, email, ip))
        if action in self.refused:
            raise errors.too_many_requests(self.refused[action])

    @asynccontextmanager
    async def guess(self, ip: str, email: str, action: str) -> AsyncIterator[ObedientGuess]:
        yield ObedientGuess(self, ip, email)

    async def password_reset(self, email: str) -> None:
        self.marks.append(("password reset", email))

    async def unlocked(self, email: str) -> None:
        self.marks.append(("unlocked", email))


@dataclass(frozen=True)
class ObedientGuess:
    """Leave to try a password; that it was wrong is a mark of its own."""

    customs: ObedientCustoms
    ip: str
    email: str
    if_right: Sequence[Statement] = ()

    async def wrong(self) -> bool:
        self.customs.marks.append(("failed login", self.email, self.ip))
        return self.customs.locks_out


class NobodyVouches:
    async def verify(self, token: str, email: str) -> None:
        raise errors.invalid_verification_code(sig="invalid")


@dataclass(frozen=True)
class Key:
    """A token in a client's hands."""

    kind: TokenKind
    data: str

    @property
    def id(self) -> str:
        return derive(self.kind, bytes.fromhex(self.data)).id.hex()

    @property
    def credentials(self) -> dict[str, Any]:
        keys = derive(self.kind, bytes.fromhex(self.data))
        return {"id": keys.id.hex(), "key": keys.auth_key, "algorithm": "sha256"}


class Log:
    """The lines that the process writes, at the most talkative level."""

    def __init__(self) -> None:
        self._stream = io.StringIO()
        self._observer = log.observer(self._stream, "trace", pretty=False)
        globalLogPublisher.addObserver(self._observer)  # type: ignore[arg-type]

    def close(self) -> None:
        globalLogPublisher.removeObserver(self._observer)  # type: ignore[arg-type]

    @property
    def text(self) -> str:
        return self._stream.getvalue()

    def lines(self, op: str) -> list[dict[str, Any]]:
        return [line for line in map(json.loads, self.text.splitlines()) if line["op"] == op]


class Api:
    """A server, and the client that talks to it."""

    def __init__(
        self,
        *,
        public_url: str = "https://api.example.com",
        development: bool = True,
        strict: bool = False,
        trust: Trust = "loopback",
        lifetimes_ms: Mapping[TokenKind, int] = LIFETIMES_MS,
        verifier_version: int = 0,
        lockout: bool = True,
        blackout_ms: int = 0,
        redirect_domain: str = "firefox.com",
        is_overloaded: Callable[[], bool] = lambda: False,
        pre_verification: PreVerification | None = None,
        registration: Sequence[str] = ("open",),
        more_routes: Sequence[Route] = (),
        pages: bool = False,
    ) -> None:
        self.clock = clock = Clock()
        clock.advance(NOW_S)
        self.url = parse_public_url(public_url)
        self._has_pages = pages
        self.customs = customs = ObedientCustoms()
        self.database = SqliteDatabase(reactor, clock, None)  # type: ignore[arg-type]
        self._seal = Seal()
        self.store = store = Store(self.database, self._seal)
        self.scrypt = ScryptPool(reactor, 1, 0, 0)  # type: ignore[arg-type]
        passwords = Passwords(store, customs, self.scrypt, os.urandom, clock, verifier_version, lockout)
        vouching = pre_verification or NobodyVouches()
        rules = Registration(store, clock, registration, (), 0)
        domain = self.url.domain
        accounts = Accounts(store, passwords, customs, rules, vouching, os.urandom, clock, domain, undelivered)
        verification = Verification(store, passwords, customs, clock, blackout_ms, undelivered)
        lifetimes = Lifetimes(lifetimes_ms)
        credentials = Credentials(store, passwords, customs, lifetimes, os.urandom, clock, domain, undelivered)
        self.signing = Signing(store, clock, self.url.domain)
        self.routes: list[Route] = [
            *AccountRoutes(accounts, Sessions(store), development).table(),
            *CodeRoutes(verification).table(),
            *(LinkPages(verification, default_texts().pages).table() if pages else link_redirects(CONTENT_SERVER)),
            *PasswordRoutes(credentials).table(),
            *SigningRoutes(self.signing, PAGE).table(),
            *OperationsRoutes(VERSION, store.ping, os.urandom).table(),
            *more_routes,
        ]
        self.application = Application(
            self.routes,
            self.url.path,
            Authenticator(store, lifetimes, self.url, clock, strict),
            ModelReader(redirect_domain, () if development else ("preVerified",)),
            Shedding(is_overloaded),
            development,
        )
        self.site = site = Site(self.application.klein.resource(), clock, ClientAddress(trust), development)
        self.factory = WrappingFactory(site)

    async def listen(self, tls: CertificateOptions | None = None) -> None:
        """Accept connections; the store is not open yet."""
        listen: Any = reactor.listenTCP if tls is None else reactor.listenSSL  # type: ignore[attr-defined]
        self._listening = listen(0, self.factory, *([] if tls is None else [tls]), interface="127.0.0.1")
        self.port: int = self._listening.getHost().port

    async def open_store(self) -> None:
        self.scrypt.start()
        await self.database.start()
        self._seal.use(*await find_keys(self.database, (), {}, 0))
        self.signing.key = signing_key()

    async def stop(self) -> None:
        await maybeDeferred(self._listening.stopListening)
        while self.factory.protocols:
            for connection in list(self.factory.protocols):
                connection.transport.abortConnection()
            await turn()
        await self.application.drain()
        self.scrypt.stop()
        await self.database.stop()

    async def connect(self) -> Wire:
        return await connect(self.port)

    async def raw(self, data: bytes, is_head: bool = False) -> Reply:
        """The first answer to exactly these bytes, checked for all that every answer must be."""
        wire = await self.connect()
        wire.send(data)
        reply = await wire.reply(is_head)
        wire.hang_up()
        self.check(reply, data[:80], is_head=is_head)
        return reply

    def check(self, reply: Reply, request: object, origin: str | None = None, is_head: bool = False) -> None:
        is_page = self._has_pages and reply.header("Content-Type") == HTML_TYPE
        faults = reply.faults(self.clock.seconds(), origin, is_head, is_page)
        assert not faults, f"{request!r}: {faults}"

    def signer(
        self,
        method: str,
        path: str,
        key: Key,
        content: tuple[bytes, str] | None = None,
        ts: float | None = None,
        nonce: str | None = None,
    ) -> Sender:
        """mohawk's signature of a request; ``content`` is the body and its type, if they are to be covered."""
        return Sender(
            key.credentials,
            self.url.origin + path,
            method,
            content=content[0] if content else EmptyValue,
            content_type=content[1] if content else EmptyValue,
            always_hash_content=content is not None,
            nonce=nonce,
            _timestamp=str(int(self.clock.seconds() if ts is None else ts)),
        )

    async def send(
        self,
        method: str,
        path: str,
        body: Any = b"",
        key: Key | None = None,
        headers: Mapping[str, str] | None = None,
        *,
        hashed: bool = True,
        ts: float | None = None,
        nonce: str | None = None,
    ) -> Reply:
        """Send a request; a ``body`` that is no bytes goes as JSON, and ``key`` signs it by mohawk."""
        headers = {"Connection": "close", **(headers or {})}
        if not isinstance(body, bytes):
            body = json.dumps(body).encode()
            headers.setdefault("Content-Type", "application/json")
        sender = None
        if key is not None:
            content = (body, headers.get("Content-Type", "")) if hashed and method == "POST" else None
            sender = self.signer(method, path, key, content, ts, nonce)
            headers.setdefault("Authorization", sender.request_header)
        wire = await self.connect()
        wire.send(request_bytes(method, path, headers, body))
        reply = await wire.reply(is_head=method == "HEAD")
        wire.hang_up()
        self.check(reply, (method, path, body[:200]), headers.get("Origin"), method == "HEAD")
        proof = reply.header("Server-Authorization")
        if sender is not None and proof is not None and method != "HEAD":
            content_type = reply.header("Content-Type")
            sender.accept_response(
                proof, content=reply.body, content_type=content_type, timestamp_skew_in_seconds=2**40
            )
        return reply

    async def get(self, path: str, key: Key | None = None, **more: Any) -> Reply:
        return await self.send("GET", self.url.path + path, b"", key, **more)

    async def post(self, path: str, body: Any = None, key: Key | None = None, **more: Any) -> Reply:
        return await self.send("POST", self.url.path + path, {} if body is None else body, key, **more)

    # Shortcuts on the way to what a test is about.

    async def sign_up(self, email: str = EMAIL, verified: bool = True, **more: str) -> dict[str, Any]:
        """The answer to a create with keys."""
        reply = await self.post("/v1/account/create?keys=true", {"email": email, "authPW": PASSWORD, **more})
        assert reply.status == 200, reply
        answer: dict[str, Any] = reply.json
        if verified:
            await self.store.change(self.store.accounts.verify_email(bytes.fromhex(answer["uid"])))
        return answer

    async def tokens(self, email: str = EMAIL) -> dict[TokenKind, Key]:
        """One live token of each kind of an account that exists."""
        login = (await self.post("/v1/account/login?keys=true", {"email": email, "authPW": PASSWORD})).json
        change = (await self.post("/v1/password/change/start", {"email": email, "oldAuthPW": PASSWORD})).json
        forgot = await self.forgot(email)
        code = (await self.letters())[-1].code.hex()
        reset = (await self.post("/v1/password/forgot/verify_code", {"code": code}, forgot)).json
        return {
            TokenKind.SESSION: session(login),
            TokenKind.KEY_FETCH: Key(TokenKind.KEY_FETCH, login["keyFetchToken"]),
            TokenKind.PASSWORD_CHANGE: Key(TokenKind.PASSWORD_CHANGE, change["passwordChangeToken"]),
            TokenKind.ACCOUNT_RESET: Key(TokenKind.ACCOUNT_RESET, reset["accountResetToken"]),
            TokenKind.PASSWORD_FORGOT: await self.forgot(email),
        }

    async def forgot(self, email: str = EMAIL) -> Key:
        answer = (await self.post("/v1/password/forgot/send_code", {"email": email})).json
        return Key(TokenKind.PASSWORD_FORGOT, answer["passwordForgotToken"])

    async def account(self, email: str = EMAIL) -> Account:
        account = await self.store.accounts.by_email(email.lower())
        assert account is not None
        return account

    async def letters(self) -> list[Letter]:
        """All mails queued so far, oldest first."""
        rows = await self.database.query("SELECT id FROM mails ORDER BY rowid", {})
        mails = {mail.id: mail.letter for mail in await self.store.mails.page(None, 1000)}
        return [mails[row["id"]] for row in rows]

    async def events(self) -> list[tuple[str, dict[str, Any]]]:
        """Kind and payload of all events so far."""
        await self.store.event_log.number(1000, 0)
        return [(event.kind, dict(event.payload)) for event in await self.store.event_log.after(0, 1000)]

    async def kinds(self) -> list[str]:
        """The kinds of all events so far."""
        return [kind for kind, _ in await self.events()]


def undelivered(kind: MailKind, uid: bytes) -> None:
    """What hears of queued mails and does nothing: they stay in the queue for the test to read."""


def session(answer: Mapping[str, Any]) -> Key:
    return Key(TokenKind.SESSION, answer["sessionToken"])


async def turn() -> None:
    """Let the reactor do what it has to do."""
    await deferLater(reactor, 0)  # type: ignore[arg-type]


class ApiCase(TestCase):
    """A test with a server of its own, made with ``options``."""

    timeout = 60
    options: Mapping[str, Any] = {}

    async def setUp(self) -> None:
        self.log = Log()
        self.addCleanup(self.log.close)
        self.api = await self.serve(**self.options)

    async def serve(self, tls: CertificateOptions | None = None, **options: Any) -> Api:
        """A further server, gone after the test."""
        api = Api(**options)
        await api.listen(tls)
        self.addCleanup(lambda: Deferred.fromCoroutine(api.stop()))
        await api.open_store()
        return api

    async def all_gone(self) -> None:
        """Wait until no client is connected."""
        while self.api.factory.protocols:
            await turn()

    def assertCode(self, reply: Reply, status: int, errno: int = 0, why: object = "") -> None:
        self.assertEqual(reply.code, (status, errno), f"{why} {reply.body!r}")

    def assertError(self, reply: Reply, status: int, errno: int, **extras: Any) -> None:
        """An error with exactly these members beyond those that every one has (in development ``log`` too)."""
        self.assertCode(reply, status, errno)
        self.assertEqual(dict(list(reply.json.items())[5:]), {**extras, **self._log_member})

    @property
    def _log_member(self) -> dict[str, Any]:
        return {"log": []} if self.options.get("development", True) else {}

    def assertAnswer(self, reply: Reply, expected: Any, why: object = "") -> None:
        """200 and exactly these members in this order."""
        self.assertEqual((reply.status, reply.body), (200, json.dumps(expected, separators=(",", ":")).encode()), why)

    def assertMembers(self, reply: Reply, names: str, why: object = "") -> dict[str, Any]:
        """200 and members of exactly these names in this order."""
        self.assertEqual((reply.status, list(reply.json)), (200, names.split()), (why, reply.body))
        answer: dict[str, Any] = reply.json
        return answer
