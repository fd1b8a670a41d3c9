"""The daemon put together: the only place that constructs adapters, and the order in which parts start and stop.

It listens from the first moment and answers 503 to whatever needs the store until that is open. On the way down it
stops accepting, lets the requests under way end, and only then takes the parts away beneath them.
"""

from __future__ import annotations

import atexit
import contextlib
import errno
import os
import resource
from collections.abc import Callable
from pathlib import Path
from typing import Any, TextIO

from treq.client import HTTPClient
from twisted.application.service import Service
from twisted.internet.defer import CancelledError, Deferred, TimeoutError, maybeDeferred
from twisted.internet.error import CannotListenError
from twisted.internet.interfaces import IListeningPort
from twisted.internet.ssl import CertificateOptions
from twisted.internet.task import deferLater
from twisted.internet.threads import deferToThreadPool
from twisted.logger import Logger
from twisted.python.failure import Failure
from twisted.web.client import Agent, HTTPConnectionPool

from fxa_auth import keyfiles
from fxa_auth.accounts import Accounts
from fxa_auth.config import Loaded, Settings
from fxa_auth.credentials import Credentials
from fxa_auth.customs.chosen import chosen_customs
from fxa_auth.customs.remote import RemoteCustoms
from fxa_auth.data import data_dir
from fxa_auth.devmail import MailSink
from fxa_auth.http.app import Application, Shedding
from fxa_auth.http.auth import Authenticator
from fxa_auth.http.clientaddress import ClientAddress
from fxa_auth.http.params import ModelReader
from fxa_auth.http.route import Route
from fxa_auth.http.routes.accounts import AccountRoutes
from fxa_auth.http.routes.codes import CodeRoutes
from fxa_auth.http.routes.operations import OperationsRoutes
from fxa_auth.http.routes.passwords import PasswordRoutes
from fxa_auth.http.routes.signing import SigningRoutes
from fxa_auth.http.site import Site
from fxa_auth.mail.compose import Composer
from fxa_auth.mail.outbox import Outbox
from fxa_auth.mail.smtp import SmtpSender
from fxa_auth.overload import ReactorLag
from fxa_auth.passwords import Passwords
from fxa_auth.periodic import Periodic
from fxa_auth.preverify import PreVerifyTokens
from fxa_auth.pruning import Pruning
from fxa_auth.publicurl import parse_public_url
from fxa_auth.sessions import Sessions
from fxa_auth.signing import Signing
from fxa_auth.storage import Storage
from fxa_auth.store.database import DatabaseUnavailable, UnusableDatabase
from fxa_auth.tls import TlsFileError, server_tls
from fxa_auth.tokens import Lifetimes
from fxa_auth.verification import Verification
from fxa_auth.version import running_version
from fxa_auth.workers import ScryptPool

_log = Logger()

STAT_INTERVAL_S = 15
LONGEST_PAUSE_S = 15
DRAIN_TIMEOUT_S = 20
"""How long requests under way may take to end once the server is told to stop."""


_LISTEN_MENDS: dict[int | None, tuple[str, str]] = {
    errno.EADDRINUSE: ("port", "end what uses it or name another port"),
    errno.EACCES: ("port", "name a port above 1023, or start as root with --uid"),
}
_BAD_HOST = ("host", "name an address of this machine")


class CannotStart(Exception):
    """Something that the operator has to mend; the text is one line that names the setting, its source and the mend."""


class Stopping(Exception):
    """The server was told to stop while it was starting."""


class AuthService(Service):
    """The whole server as one Twisted service.

    ``console`` is where the dev profile tells its user what goes on; ``complain`` is given the line that says why the
    server cannot start.
    """

    def __init__(self, loaded: Loaded, reactor: Any, console: TextIO, complain: Callable[[str], None]) -> None:
        self._loaded = loaded
        self._settings = settings = loaded.settings
        self._reactor = reactor
        self._console = console
        self._complain = complain
        self._ports: dict[str, IListeningPort] = {}
        self._starting: Deferred[None] | None = None
        self._pause: Deferred[None] | None = None
        self._public_url = parse_public_url(settings.public_url)
        self._random = os.urandom
        self._connections = HTTPConnectionPool(reactor, persistent=True)
        self._http = HTTPClient(Agent(reactor, pool=self._connections))
        self._build_adapters(settings)
        self._lifetimes = Lifetimes(settings.token_lifetimes.by_kind)
        self._application = self._build_application(settings)
        client_address = ClientAddress(settings.trust_proxies)
        self._site = Site(self._application.klein.resource(), reactor, client_address, settings.development)
        self._tasks: list[Periodic | Pruning] = [Periodic(reactor, STAT_INTERVAL_S, "stat", self._log_stats)]
        if interval_ms := settings.database.prune_interval:
            self._tasks.append(Pruning(reactor, self._store, self._lifetimes, interval_ms / 1000, self._random))

    # What there is.

    def _build_adapters(self, settings: Settings) -> None:
        reactor = self._reactor
        self._storage = Storage(settings, reactor)
        self._store = self._storage.store
        self._scrypt = ScryptPool(reactor, len(os.sched_getaffinity(0)), settings.scrypt.max_pending)
        self._lag = ReactorLag(reactor, settings.toobusy.max_lag)
        self._sink = MailSink(reactor, self._console) if settings.development else None
        self._customs = chosen_customs(settings.customs_url, reactor, self._http)
        self._pre_verify = PreVerifyTokens(reactor, self._http, settings.trusted_jkus, self._public_url.domain)
        smtp = settings.smtp
        composer = Composer(data_dir("templates"), settings.content_server.url, smtp.sender, reactor, self._random)
        sender = SmtpSender(
            reactor, smtp.host, smtp.port, smtp.secure, smtp.user or "", smtp.password or "", smtp.timeout / 1000
        )
        self._outbox = Outbox(reactor, self._store.mails, composer.compose, sender.send, smtp.retry_delay)

    def _build_application(self, settings: Settings) -> Application:
        store, customs, clock, domain = self._store, self._customs, self._reactor, self._public_url.domain
        lifetimes, mail_queued = self._lifetimes, self._outbox.wake
        passwords = Passwords(
            store, customs, self._scrypt, self._random, clock, settings.verifier_version, settings.lockout_enabled
        )
        accounts = Accounts(store, passwords, customs, self._pre_verify, self._random, clock, domain, mail_queued)
        blackout_ms = settings.smtp.resend_blackout_period
        verification = Verification(store, passwords, customs, clock, blackout_ms, mail_queued)
        credentials = Credentials(store, passwords, customs, lifetimes, self._random, clock, mail_queued)
        self._signing = Signing(store, clock, domain)
        page = (data_dir("templates") / "pages" / "server.html").read_bytes()
        routes: list[Route] = [
            *AccountRoutes(accounts, Sessions(store), settings.development).table(),
            *CodeRoutes(verification, settings.content_server.url).table(),
            *PasswordRoutes(credentials).table(),
            *SigningRoutes(self._signing, page).table(),
            *OperationsRoutes(running_version(settings.reported_version), store.ping, self._random).table(),
        ]
        return Application(
            routes,
            self._public_url.path,
            Authenticator(store, lifetimes, self._public_url, clock, settings.hawk.mode == "strict"),
            ModelReader(settings.smtp.redirect_domain, () if settings.development else ("preVerified",)),
            Shedding(self._lag.is_too_much),
            settings.development,
        )

    # Up.

    def privilegedStartService(self) -> None:
        """Listen.

        :raises CannotStart: a port cannot be opened, or a TLS file not be used
        """
        settings = self._settings
        try:
            tls = None
            if settings.use_https:
                tls = server_tls(Path(settings.key_path or ""), Path(settings.cert_path or ""))
            self._listen("listen", settings.listen.host, settings.listen.port, self._site, tls)
            if self._sink is not None:
                smtp = settings.smtp
                self._listen("smtp", smtp.host, smtp.port, self._sink.smtp_factory())
                self._listen("smtp.api", smtp.api.host, smtp.api.port, self._sink.site())
        except TlsFileError as error:
            raise CannotStart(self._loaded.complaint(error.setting, error)) from None

    def _listen(self, setting: str, host: str, port: int, factory: Any, tls: CertificateOptions | None = None) -> None:
        try:
            if tls is None:
                listening = self._reactor.listenTCP(port, factory, interface=host)
            else:
                listening = self._reactor.listenSSL(port, factory, tls, interface=host)
        except CannotListenError as error:
            fault = error.socketError
            reason = getattr(fault, "strerror", None) or fault
            member, mend = _LISTEN_MENDS.get(getattr(fault, "errno", None), _BAD_HOST)
            problem = f"cannot listen on {_place(host, port)} ({reason}); {mend}"
            raise CannotStart(self._loaded.complaint(f"{setting}.{member}", problem)) from None
        self._ports[setting] = listening

    def startService(self) -> None:
        super().startService()
        self._scrypt.start()
        self._lag.start()
        self._reactor.callWhenRunning(self._begin)

    def _begin(self) -> None:
        self._announce()
        self._starting = Deferred.fromCoroutine(self._open())
        self._starting.addErrback(self._give_up)

    async def _open(self) -> None:
        """Open the store, find the keys, and let the background work begin."""
        await self._open_storage()
        self._signing.key = await self._find_signing_key()
        self._storage.unseal()  # not before the signing key is on the disk: from now on there may be accounts
        self._outbox.start()
        for task in self._tasks:
            task.start()
        _log.info("server.ready", database=self._settings.database.shown_url, publicUrl=self._settings.public_url)

    async def _open_storage(self) -> None:
        """Open the store; a server that does not answer is waited for, with growing pauses."""
        database, pauses_s = self._settings.database, iter((0.5, 1, 2, 4, 8))
        while self.running:
            try:
                return await self._storage.open()
            except (DatabaseUnavailable, UnusableDatabase) as error:
                if isinstance(error, UnusableDatabase):
                    raise CannotStart(self._loaded.complaint(error.setting, error)) from error
                if not database.is_postgres:
                    raise CannotStart(self._loaded.complaint("database.url", error)) from error
                pause_s = next(pauses_s, LONGEST_PAUSE_S)
                _log.warn("server.waits_for_database", reason=str(error), pauseSeconds=pause_s)
                self._pause = deferLater(self._reactor, pause_s)
                with contextlib.suppress(CancelledError):  # by a stop, which the loop sees
                    await self._pause
        raise Stopping

    async def _find_signing_key(self) -> Any:
        settings = self._settings
        secret, public = Path(settings.secret_key_file), Path(settings.public_key_file)
        try:
            if keyfiles.exists(secret):
                return keyfiles.load(secret, public)
            if await self._store.accounts.is_any():
                problem = (
                    "is not there, but the store holds accounts whose certificates it signed; restore it from a "
                    "backup, or point the setting at it"
                )
                raise CannotStart(self._loaded.complaint("secretKeyFile", problem))
            return await deferToThreadPool(
                self._reactor, self._reactor.getThreadPool(), keyfiles.create, secret, public
            )
        except keyfiles.KeyFileError as error:
            raise CannotStart(self._loaded.complaint(error.setting, error)) from error

    def _give_up(self, failure: Failure) -> None:
        """End the process with a status other than 0, which twistd by itself would not."""
        if failure.check(Stopping):
            return
        if failure.check(CannotStart):
            self._complain(str(failure.value))
        else:
            _log.failure("server.cannot_start", failure)
        atexit.register(os._exit, 1)
        self._reactor.stop()

    def _announce(self) -> None:
        hosts: dict[str, Any] = {setting: port.getHost() for setting, port in self._ports.items()}
        places = {setting: _place(host.host, host.port) for setting, host in hosts.items()}
        _log.info("server.listening", addresses=list(places.values()), profile=self._settings.env)
        if self._sink is None:
            return
        scheme = "https" if self._settings.use_https else "http"
        for line in (
            f"fxa-auth ({self._settings.env} profile): not for real accounts",
            f"  API           {scheme}://{places['listen']}  (public URL {self._settings.public_url})",
            f"  mailed links  http://{places['smtp.api']}/mail/<local part>  (SMTP sink on {places['smtp']})",
            f"  accounts      {self._settings.database.shown_url}",
            "  Ctrl-C stops it.",
        ):
            print(line, file=self._console, flush=True)

    # Down.

    def stopService(self) -> Deferred[None]:
        super().stopService()
        return Deferred.fromCoroutine(self._stop())

    async def _stop(self) -> None:
        for port in self._ports.values():
            await maybeDeferred(port.stopListening)
        if self._pause is not None:
            self._pause.cancel()
        if self._starting is not None:
            self._storage.interrupt()
            await self._starting
        if self._sink is not None:
            self._sink.stop()
        self._site.begin_to_stop()
        await self._bounded(self._application.drain, "requests")
        await self._bounded(self._site.close_connections, "answers")
        for task in self._tasks:
            await task.stop()
        await self._outbox.stop()
        await self._lag.stop()
        await self._pre_verify.stop()
        await self._connections.closeCachedConnections()
        self._scrypt.stop()
        await self._storage.close()
        _log.info("server.stopped")

    async def _bounded(self, work: Callable[[], Any], what: str) -> None:
        try:
            await Deferred.fromCoroutine(work()).addTimeout(DRAIN_TIMEOUT_S, self._reactor)
        except TimeoutError:
            _log.warn("server.stop_impatient", waited_for=what)

    # Meanwhile.

    async def _log_stats(self) -> None:
        _log.info("stat", stat="mem", rss=_resident_bytes())
        _log.info(
            "stat",
            stat="scrypt",
            maxPending=self._scrypt.max_pending,
            numPending=self._scrypt.pending,
            numPendingHWM=self._scrypt.take_high_water_mark(),
        )
        _log.info("stat", stat="store", pending=self._storage.database.pending)
        if isinstance(self._customs, RemoteCustoms):
            _log.info("stat", stat="customs", failures=self._customs.failures)


def _place(host: str, port: int) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _resident_bytes() -> int:
    try:
        pages = int(Path("/proc/self/statm").read_text("ascii").split()[1])
    except OSError:
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    return pages * resource.getpagesize()
