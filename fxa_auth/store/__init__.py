"""The store: accounts, tokens, mails, events, invites, leases and limits, over whichever database the settings name.

The domain composes a change from the steps that the tables describe, and ``Store.change`` carries it out at once.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from twisted.logger import Logger

from fxa_auth.store.accounts import AccountTable
from fxa_auth.store.bans import BanTable
from fxa_auth.store.database import Database, DatabaseUnavailable, DemandFailed, Row, Statement
from fxa_auth.store.eventlog import EventLog
from fxa_auth.store.events import EventTable, records_event
from fxa_auth.store.invites import InviteTable
from fxa_auth.store.leases import LeaseTable
from fxa_auth.store.limits import LimitTable
from fxa_auth.store.mails import MailTable
from fxa_auth.store.seal import Seal
from fxa_auth.store.suppressions import SuppressionTable
from fxa_auth.store.tokens import TokenTable

_log = Logger()

_KEY_IS_RECORDED = "sealing key is recorded"


class Store:
    """All tables of one database, under one seal.

    ``event_recorded`` is called after every change that recorded an event.
    """

    event_recorded: Callable[[], None]

    def __init__(self, database: Database, seal: Seal) -> None:
        self._database = database
        self._seal = seal
        self.accounts = AccountTable(database, seal)
        self.tokens = TokenTable(database, seal)
        self.mails = MailTable(database, seal)
        self.events = EventTable()
        self.invites = InviteTable(database)
        self.leases = LeaseTable()
        self.suppressions = SuppressionTable(database)
        self.limits = LimitTable(database)
        self.bans = BanTable(database)
        self.event_log = EventLog(database)
        self.leases = LeaseTable()
        self.event_recorded = lambda: None
        self._has_told = False

    async def change(self, *steps: Statement) -> list[Sequence[Row]]:
        """Carry out the steps in one transaction, all or none; the answer holds each step's RETURNING rows.

        Nothing is changed once ``fxa-auth db rewrap`` has struck off the key that this store seals with: what it seals
        would be lost with that key.

        :raises DemandFailed: a step found nothing where it had to
        :raises DatabaseUnavailable: the database does not answer or failed, or the sealing key was struck off
        """
        try:
            _, *results = await self._database.change([self._guard(), *steps])
        except DemandFailed as error:
            if error.demand != _KEY_IS_RECORDED:
                raise
            raise self._struck_off() from None
        if any(map(records_event, steps)):
            self.event_recorded()
        return results

    async def ping(self) -> None:
        """Ask the database for a sign of life, and for the key that seals. Until the keys are loaded there is none.

        :raises DatabaseUnavailable: it gave none, or the sealing key was struck off
        """
        guard = self._guard()
        if not await self._database.query(guard.sql, guard.params):
            raise self._struck_off()

    def _guard(self) -> Statement:
        """The step that comes before all others."""
        sql = "SELECT 1 AS found FROM sealing_keys WHERE key_id = :id"
        return Statement(sql, {"id": self._seal.newest_id}, _KEY_IS_RECORDED)

    def _struck_off(self) -> DatabaseUnavailable:
        """What every change fails with from now on; the log is told once."""
        key, mend = self._seal.newest_id, "restart this daemon with the newest key first in sealingKeys"
        if not self._has_told:
            self._has_told = True
            _log.error("store.sealing_key_struck_off", key=key, mend=mend)
        return DatabaseUnavailable(f"sealing key {key} was struck off by db rewrap: {mend}")
