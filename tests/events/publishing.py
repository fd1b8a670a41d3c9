"""What the tests of publishing stand on: a real log in SQLite, a clock in hand, and a receiver that obeys the test."""

from __future__ import annotations

import os
from collections.abc import Iterable
from typing import Any

from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import TestCase

from fxa_auth.events import Publisher
from fxa_auth.events.feed import Feed
from fxa_auth.records import Event, EventKind
from fxa_auth.store import Store
from fxa_auth.store.seal import Seal
from fxa_auth.store.sealingkeys import find_keys
from fxa_auth.store.sqlite import SqliteDatabase
from tests.store.contract import an_account

EMAIL = "me@example.com"
START_S = 1_700_000_000
LOGIN = frozenset({EventKind.LOGIN.value})


class Receiver:
    """Takes events, or does to them what the test has set: ``fault`` to raise, or a ``gate`` to wait for."""

    def __init__(self) -> None:
        self.asked: list[int] = []
        """The numbers of all events that it was handed, taken or not."""
        self.taken: list[int] = []
        self.fault: Exception | None = None
        self.gate: Deferred[None] | None = None

    async def deliver(self, event: Event) -> None:
        self.asked.append(event.number)
        if self.gate is not None:
            await self.gate
        if self.fault is not None:
            raise self.fault
        self.taken.append(event.number)


class PublishingCase(TestCase):
    """An account whose logins are the events; nothing happens unless the test moves the clock."""

    async def setUp(self) -> None:
        self.clock = Clock()
        self.clock.advance(START_S)
        self.database = SqliteDatabase(reactor, reactor, None)  # type: ignore[arg-type]
        self.addCleanup(lambda: Deferred.fromCoroutine(self.database.stop()))
        await self.database.start()
        seal = Seal()
        seal.use(*await find_keys(self.database, (), {}, 0))
        self.store = Store(self.database, seal)
        self.log = self.store.event_log
        account = an_account(EMAIL)
        self.uid = account.uid
        await self.store.change(self.store.accounts.add(account, "address is free"))
        self.receiver = Receiver()

    @property
    def now_ms(self) -> int:
        return int(self.clock.seconds() * 1000)

    async def record(self, count: int = 1) -> None:
        """So many logins, without numbers."""
        for _ in range(count):
            await self.store.change(*self.store.events.login(self.uid, EMAIL, self.now_ms))

    async def record_verified(self) -> None:
        await self.store.change(*self.store.events.verified(self.uid, EMAIL, None, self.now_ms))

    async def publish(self, count: int = 1) -> None:
        """So many logins, with numbers."""
        await self.record(count)
        await self.log.number(1000, self.now_ms)

    def feed(self, receiver: Receiver, name: str = "sns", kinds: Iterable[str] = LOGIN, log: Any = None) -> Feed:
        """A feed of its own, as another daemon would have; it stops with the test."""
        publisher = Publisher(name, frozenset(kinds), receiver.deliver)
        # Half of what chance may be: pauses are neither shorter nor longer.
        feed = Feed(self.clock, log or self.log, publisher, lambda length: b"\x7f" + os.urandom(length - 1))
        self.addCleanup(lambda: self.stopped(feed))
        return feed

    def stopped(self, feed: Feed) -> Deferred[None]:
        return Deferred.fromCoroutine(feed.stop())

    async def place(self, publisher: str = "sns") -> int | None:
        return await self.log.place(publisher)
