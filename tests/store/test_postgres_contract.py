"""The store's contracts, on PostgreSQL."""

from __future__ import annotations

from twisted.trial.unittest import TestCase

from tests.store.on_postgres import OnPostgres
from tests.store.test_accounts import AccountContract
from tests.store.test_events import EventContract
from tests.store.test_mails import MailContract
from tests.store.test_sqlite import PortContract
from tests.store.test_tokens import TokenContract


class PortTests(OnPostgres, PortContract, TestCase):
    pass


class AccountTests(OnPostgres, AccountContract, TestCase):
    pass


class TokenTests(OnPostgres, TokenContract, TestCase):
    pass


class MailTests(OnPostgres, MailContract, TestCase):
    pass


class EventTests(OnPostgres, EventContract, TestCase):
    pass
