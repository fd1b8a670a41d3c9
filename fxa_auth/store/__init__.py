"""The store: accounts, tokens, queued mails, events and leases, over whichever database the settings name.

The domain composes a change from the steps that the tables describe, and ``Store.change`` carries it out at once.
"""

from __future__ import annotations

from collections.abc import Sequence

from fxa_auth.store.accounts import AccountTable
from fxa_auth.store.database import Database, Row, Statement
from fxa_auth.store.events import EventTable
from fxa_auth.store.leases import LeaseTable
from fxa_auth.store.mails import MailTable
from fxa_auth.store.seal import Seal
from fxa_auth.store.tokens import TokenTable


class Store:
    """All tables of one database, its secrets sealed with one key."""

    def __init__(self, database: Database, seal: Seal) -> None:
        self._database = database
        self._seal = seal
        self.accounts = AccountTable(database, seal)
        self.tokens = TokenTable(database, seal)
        self.mails = MailTable(database, seal)
        self.events = EventTable()
        self.leases = LeaseTable()

    async def change(self, *steps: Statement) -> list[Sequence[Row]]:
        """Carry out the steps in one transaction, all or none.

        :raises DemandFailed: a step found nothing where it had to
        :raises DatabaseUnavailable: the database does not answer or failed
        """
        return await self._database.change(steps)

    async def ping(self) -> None:
        """Ask the database for a sign of life. Until the sealing keys are loaded there is none.

        :raises DatabaseUnavailable: it gave none
        """
        self._seal.require_keys()
        await self._database.query("SELECT 1", {})
