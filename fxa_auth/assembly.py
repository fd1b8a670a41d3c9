"""Every part of the daemon, made from the settings and joined: the only place that constructs adapters.

Nothing is started here and nothing listens: in which order that happens is the business of ``service``.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import replace
from typing import Any, Protocol, TextIO

from treq.client import HTTPClient
from twisted.web.client import Agent, HTTPConnectionPool

from fxa_auth.accounts import Accounts
from fxa_auth.aws import AwsClient
from fxa_auth.bounces import Bounces
from fxa_auth.clock import time_ms
from fxa_auth.config import Settings
from fxa_auth.credentials import Credentials
from fxa_auth.customs.builtin import BuiltinCustoms
from fxa_auth.customs.chosen import chosen_customs
from fxa_auth.customs.remote import RemoteCustoms
from fxa_auth.data import data_dir
from fxa_auth.devmail import MailSink
from fxa_auth.events import Publisher
from fxa_auth.events.basket import Basket
from fxa_auth.events.feed import Feed
from fxa_auth.events.lines import LineWriter
from fxa_auth.events.sequencer import Sequencer
from fxa_auth.events.sns import SnsTopic
from fxa_auth.http.app import Application, Shedding
from fxa_auth.http.auth import Authenticator
from fxa_auth.http.clientaddress import ClientAddress
from fxa_auth.http.params import ModelReader
from fxa_auth.http.route import Route
from fxa_auth.http.routes.accounts import AccountRoutes
from fxa_auth.http.routes.codes import CodeRoutes
from fxa_auth.http.routes.links import LinkPages, link_redirects
from fxa_auth.http.routes.operations import OperationsRoutes
from fxa_auth.http.routes.passwords import PasswordRoutes
from fxa_auth.http.routes.signing import SigningRoutes
from fxa_auth.http.site import Site
from fxa_auth.letters import Letters
from fxa_auth.mail.compose import Message
from fxa_auth.mail.outbox import Outbox, Terms
from fxa_auth.mail.smtp import SmtpSender
from fxa_auth.mailing import mail_server, make_composer
from fxa_auth.overload import ReactorLag
from fxa_auth.passwords import Passwords
from fxa_auth.preverify import PreVerifyTokens
from fxa_auth.pruning import Pruning
from fxa_auth.publicurl import parse_public_url
from fxa_auth.records import EventKind, Letter
from fxa_auth.registration import Registration
from fxa_auth.reports.intake import Intake
from fxa_auth.reports.listener import ReportListener
from fxa_auth.returnpath import ReturnPaths
from fxa_auth.ses import SesFeedback
from fxa_auth.sessions import Sessions
from fxa_auth.signing import Signing
from fxa_auth.sqs import QueuePoller, SqsQueue, endpoint_of
from fxa_auth.statistics import Source, Statistics, memory
from fxa_auth.storage import Storage
from fxa_auth.texts import Texts
from fxa_auth.tokens import Lifetimes
from fxa_auth.verification import Verification
from fxa_auth.version import running_version
from fxa_auth.workers import ScryptPool

STDOUT = 1
"""The number of the open file; what ``sys.stdout`` is depends on who runs the daemon."""


class Background(Protocol):
    """Work that goes on while the daemon serves, once the store is open."""

    def start(self) -> None: ...

    async def stop(self) -> None:
        """Return when what was under way has ended."""


class Assembly:
    """The parts. ``background`` is in the order of starting; it is stopped in the opposite order.

    ``console`` is where the dev profile tells its user what goes on.

    :raises UnusableTexts: a language, a template or a catalogue that the settings name cannot be used
    :raises TlsFileError: ``smtp.caFile`` cannot be used
    """

    def __init__(self, settings: Settings, reactor: Any, console: TextIO) -> None:
        self._settings = settings
        self._reactor = reactor
        self._random = os.urandom
        self._public_url = parse_public_url(settings.public_url)
        self._lifetimes = Lifetimes(settings.token_lifetimes.by_kind)
        self.connections = HTTPConnectionPool(reactor, persistent=True)
        self.storage = Storage(settings, reactor)
        self.store = self.storage.store
        scrypt = settings.scrypt
        self.scrypt = ScryptPool(
            reactor, len(os.sched_getaffinity(0)), scrypt.max_pending, scrypt.max_pending_per_address
        )
        self.lag = ReactorLag(reactor, settings.toobusy.max_lag)
        self.sink = MailSink(reactor, console) if settings.development else None
        http = HTTPClient(Agent(reactor, pool=self.connections))
        self._customs = chosen_customs(
            settings.customs_url, settings.limits, self.store.limits, self._random, reactor, http
        )
        self.pre_verify = PreVerifyTokens(reactor, http, settings.trusted_jkus, self._public_url.domain)
        self._texts = Texts(settings)
        self.mail_sender = SmtpSender(reactor, mail_server(settings))
        self._bounces = Bounces(self.store, reactor, settings.bounces.suppression_time)
        self._return_paths = self._make_return_paths()
        self.reports = self._make_report_listener()
        self._outbox = self._make_outbox()
        self._sequencer = self._make_sequencer(http)
        self.store.event_recorded = self._sequencer.wake
        self._feedback = SesFeedback(reactor, self._bounces.handle)
        self._pollers = dict(self._make_pollers(http))
        self.signing = Signing(self.store, reactor, self._public_url.domain)
        self.application = self._make_application()
        client_address = ClientAddress(settings.trust_proxies)
        self.site = Site(self.application.klein.resource(), reactor, client_address, settings.development)
        self.background: list[Background] = [
            self._outbox,
            self._sequencer,
            *self._pollers.values(),
            Statistics(reactor, list(self._statistics())),
        ]
        if interval_ms := settings.database.prune_interval:
            age_ms = settings.smtp.dead_letter_age
            pruning = Pruning(reactor, self.store, self._lifetimes, age_ms, interval_ms / 1000, self._random)
            self.background.append(pruning)

    def _make_outbox(self) -> Outbox:
        smtp, reactor = self._settings.smtp, self._reactor
        composer = make_composer(self._settings, self._texts, reactor)
        letters = Letters(self.store, self._lifetimes, reactor)

        def compose(letter: Letter) -> Message:
            message, paths = composer.compose(letter), self._return_paths
            return message if paths is None else replace(message, sender=paths.address_of(letter.uid, time_ms(reactor)))

        async def outdated(letter: Letter) -> str | None:
            return await self._bounces.objection_to(letter) or await letters.outdated(letter)

        terms = Terms(smtp.max_connections, smtp.timeout, smtp.retry_delay, smtp.max_retry_delay, smtp.max_age)
        return Outbox(reactor, self.store.mails, compose, self.mail_sender.send, outdated, self._random, terms)

    def _make_sequencer(self, http: HTTPClient) -> Sequencer:
        settings, log = self._settings, self.store.event_log
        return Sequencer(
            self._reactor,
            log,
            [Feed(self._reactor, log, publisher, self._random) for publisher in self._publishers(http)],
            settings.events.retention,
            settings.database.prune_interval / 1000,
            self._random,
        )

    def _publishers(self, http: HTTPClient) -> Iterator[Publisher]:
        """Under names that must not change: an event log knows the place of each by its name."""
        settings, reactor = self._settings, self._reactor
        if settings.sns_topic_arn != "disabled":
            topic = SnsTopic(AwsClient(reactor, http, settings.aws.endpoint_url), settings.sns_topic_arn)
            yield Publisher("sns", frozenset(settings.events.sns.kinds), topic.deliver)
        if settings.basket.api_url is not None:
            basket = Basket(reactor, http, settings.basket.api_url, settings.basket.api_key or "")
            yield Publisher("basket", frozenset({EventKind.VERIFIED.value}), basket.deliver)
        if settings.events.stdout.kinds:
            yield Publisher("stdout", frozenset(settings.events.stdout.kinds), LineWriter(reactor, STDOUT).deliver)

    def _make_return_paths(self) -> ReturnPaths | None:
        if (verp := self._settings.bounces.verp) is None:
            return None
        return ReturnPaths(verp, lambda: self.storage.seal.derived_keys("return path"))

    def _make_report_listener(self) -> ReportListener | None:
        listen, paths = self._settings.bounces.listen, self._return_paths
        if paths is None or (listen.port is None and listen.socket is None):
            return None
        intake = Intake(self._reactor, self._reactor, paths, self._bounces.handle)
        return ReportListener(self._reactor, intake, paths.domain)

    def _make_pollers(self, http: HTTPClient) -> Iterator[tuple[str, QueuePoller]]:
        bounces, aws = self._settings.bounces, self._settings.aws
        for name, url in (("bounces", bounces.bounce_queue_url), ("complaints", bounces.complaint_queue_url)):
            if url is not None:
                client = AwsClient(self._reactor, http, endpoint_of(url, aws.endpoint_url))
                queue = SqsQueue(client.request, url, bounces.region_of(url))
                yield name, QueuePoller(self._reactor, self._random, name, queue, self._feedback.handle)

    def _make_application(self) -> Application:
        settings, clock = self._settings, self._reactor
        authenticator = Authenticator(
            self.store, self._lifetimes, self._public_url, clock, settings.hawk.mode == "strict"
        )
        return Application(
            self._routes(),
            self._public_url.path,
            authenticator,
            ModelReader(settings.smtp.redirect_domain, () if settings.development else ("preVerified",)),
            Shedding(self.lag.is_too_much),
            settings.development,
        )

    def _routes(self) -> list[Route]:
        settings, store, customs, clock = self._settings, self.store, self._customs, self._reactor
        domain, mail_queued = self._public_url.domain, self._outbox.queued
        passwords = Passwords(
            store, customs, self.scrypt, self._random, clock, settings.verifier_version, settings.lockout_enabled
        )
        rules = settings.registration
        registration = Registration(store, clock, rules.mode, rules.domains, rules.first)
        accounts = Accounts(
            store, passwords, customs, registration, self.pre_verify, self._random, clock, domain, mail_queued
        )
        blackout_ms = settings.smtp.resend_blackout_period
        verification = Verification(store, passwords, customs, clock, blackout_ms, mail_queued)
        credentials = Credentials(store, passwords, customs, self._lifetimes, self._random, clock, domain, mail_queued)
        page = (data_dir("templates") / "pages" / "server.html").read_bytes()
        return [
            *AccountRoutes(accounts, Sessions(store), settings.development).table(),
            *CodeRoutes(verification).table(),
            *self._link_routes(verification),
            *PasswordRoutes(credentials).table(),
            *SigningRoutes(self.signing, page).table(),
            *OperationsRoutes(running_version(settings.reported_version), store.ping, self._random).table(),
        ]

    def _link_routes(self, verification: Verification) -> list[Route]:
        content_server_url = self._settings.content_server.url
        if self._public_url.is_same_as(content_server_url):
            return LinkPages(verification, self._texts.pages).table()
        return link_redirects(content_server_url)

    def _statistics(self) -> Iterator[Source]:
        customs = self._customs
        yield "mem", memory
        yield "scrypt", self.scrypt.statistics
        yield "store", lambda: {"pending": self.storage.database.pending}
        yield "mail", self._outbox.statistics
        yield "events", self._sequencer.statistics
        if self._pollers or self.reports:
            yield "bounces", lambda: {**self._bounces.statistics(), **self._feedback.statistics()}
        if self.reports is not None:
            yield "reports", self.reports.statistics
        if self._pollers:
            yield "sqs", lambda: {name: poller.statistics() for name, poller in self._pollers.items()}
        if isinstance(customs, BuiltinCustoms):
            yield "customs", customs.statistics
        elif isinstance(customs, RemoteCustoms):
            yield "customs", lambda: {"failures": customs.failures}
