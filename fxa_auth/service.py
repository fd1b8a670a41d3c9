"""The daemon's life: the order in which its parts start and stop, and what is said meanwhile.

It listens from the first moment and answers 503 to whatever needs the store until that is open. On the way down it
stops accepting, lets the requests under way end, and only then takes the parts away beneath them.
"""

from __future__ import annotations

import atexit
import contextlib
import errno
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, TextIO

from twisted.application.service import Service
from twisted.internet.address import UNIXAddress
from twisted.internet.defer import CancelledError, Deferred, TimeoutError, maybeDeferred
from twisted.internet.error import CannotListenError
from twisted.internet.interfaces import IListeningPort
from twisted.internet.ssl import CertificateOptions
from twisted.internet.task import deferLater
from twisted.internet.threads import deferToThreadPool
from twisted.logger import Logger
from twisted.python.failure import Failure

from fxa_auth import files, keyfiles
from fxa_auth.assembly import Assembly, Background
from fxa_auth.config import Loaded, doubts
from fxa_auth.extras import missing_extras
from fxa_auth.hints import how_to_begin_inviting, how_to_invite
from fxa_auth.reports.listener import ReportListener
from fxa_auth.store.database import DatabaseUnavailable, UnusableDatabase
from fxa_auth.texts import UnusableTexts
from fxa_auth.tls import TlsFileError, server_tls

_log = Logger()

SOCKET_MODE = 0o660
"""Who may connect by a Unix socket: its owner and its group."""

LONGEST_PAUSE_S = 15
DRAIN_TIMEOUT_S = 20
"""How long requests under way may take to end once the server is told to stop."""

LAST_HASHES_TIMEOUT_S = 10
"""How long they may take after that, when their hashes have been made or given up."""

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

    :raises CannotStart: a text that readers get to see, or who may vouch for the mail server, cannot be used
    """

    def __init__(self, loaded: Loaded, reactor: Any, console: TextIO, complain: Callable[[str], None]) -> None:
        self._loaded = loaded
        self._settings = loaded.settings
        self._reactor = reactor
        self._console = console
        self._complain = complain
        self._ports: dict[str, IListeningPort] = {}
        self._starting: Deferred[None] | None = None
        self._started: list[Background] = []
        self._pause: Deferred[None] | None = None
        self._config_files = [str(Path(name).absolute()) for name in loaded.files]  # twistd may leave this folder
        try:
            self._parts = Assembly(loaded.settings, reactor, console)
        except (UnusableTexts, TlsFileError) as error:
            raise CannotStart(loaded.complaint(error.setting, error)) from error

    # Up.

    def privilegedStartService(self) -> None:
        """Listen.

        :raises CannotStart: a port cannot be opened, a TLS file not be used, or an extra is not installed
        """
        for complaint in missing_extras(self._loaded):
            raise CannotStart(complaint)
        settings = self._settings
        try:
            tls = None
            if settings.use_https:
                tls = server_tls(Path(settings.key_path or ""), Path(settings.cert_path or ""))
            self._listen("listen", settings.listen.host, settings.listen.port, self._parts.site, tls)
            if (sink := self._parts.sink) is not None:
                smtp = settings.smtp
                self._listen("smtp", smtp.host, smtp.port, sink.smtp_factory())
                self._listen("smtp.api", smtp.api.host, smtp.api.port, sink.site())
            if (reports := self._parts.reports) is not None:
                self._listen_for_reports(reports)
        except TlsFileError as error:
            raise CannotStart(self._loaded.complaint(error.setting, error)) from None

    def _listen_for_reports(self, reports: ReportListener) -> None:
        listen = self._settings.bounces.listen
        if listen.port is not None:
            self._listen("bounces.listen", listen.host, listen.port, reports)
        if listen.socket is not None:
            self._listen_on_socket("bounces.listen.socket", listen.socket, reports)

    def _listen_on_socket(self, setting: str, path: str, factory: Any) -> None:
        """Listen on a Unix socket; one that a dead process has left behind is replaced."""
        try:
            files.remove_dead_socket(Path(path))
            self._ports[setting] = self._reactor.listenUNIX(path, factory, mode=SOCKET_MODE)
        except (CannotListenError, OSError) as error:
            fault = getattr(error, "socketError", error)
            reason = getattr(fault, "strerror", None) or fault
            mend = "name a file, in a folder that this user may write to, that nothing else has"
            raise CannotStart(self._loaded.complaint(setting, f"cannot listen ({reason}); {mend}")) from None

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
        self._parts.scrypt.start()
        self._parts.lag.start()
        self._reactor.callWhenRunning(self._begin)

    def _begin(self) -> None:
        self._announce()
        for doubt in doubts(self._loaded):
            _log.warn("settings.doubtful", reason=doubt)
        self._starting = Deferred.fromCoroutine(self._open())
        self._starting.addErrback(self._give_up)

    async def _open(self) -> None:
        """Open the store, find the keys, and let the background work begin."""
        await self._open_storage()
        self._parts.signing.key = await self._find_signing_key()
        self._parts.storage.unseal()  # not before the signing key is on the disk: from now on there may be accounts
        for part in self._parts.background:
            part.start()
            self._started.append(part)
        _log.info("server.ready", database=self._settings.database.shown_url, publicUrl=self._settings.public_url)
        self._announce_registration()

    async def _open_storage(self) -> None:
        """Open the store; a server that does not answer is waited for, with growing pauses."""
        database, pauses_s = self._settings.database, iter((0.5, 1, 2, 4, 8))
        while self.running:
            try:
                return await self._parts.storage.open()
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
            if await self._parts.store.accounts.is_any():
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
        places = {setting: _place_of(port.getHost()) for setting, port in self._ports.items()}
        _log.info("server.listening", addresses=list(places.values()), profile=self._settings.env)
        if self._parts.sink is None:
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

    def _announce_registration(self) -> None:
        """Where nobody, or not everybody, can make an account: tell the operator how to let somebody in."""
        mode = self._settings.registration.mode
        if not {"closed", "invite"} & set(mode):
            return
        how = how_to_invite(self._loaded, self._config_files)
        setting = self._loaded.shown("registration.mode")
        if "invite" in mode:
            _log.info("server.registration_by_invite", setting=setting, **how)
        else:
            mend = how_to_begin_inviting(self._loaded, self._config_files)
            _log.info("server.registration_closed", setting=setting, mend=mend, **how)

    # Down.

    def stopService(self) -> Deferred[None]:
        super().stopService()
        return Deferred.fromCoroutine(self._stop())

    async def _stop(self) -> None:
        parts = self._parts
        for port in self._ports.values():
            try:
                await maybeDeferred(port.stopListening)
            except OSError:  # somebody has removed the file of a Unix socket
                _log.failure("server.port_not_closed")
        if self._pause is not None:
            self._pause.cancel()
        if self._starting is not None:
            parts.storage.interrupt()
            await self._starting
        if parts.sink is not None:
            parts.sink.stop()
        parts.site.begin_to_stop()
        await self._bounded(parts.application.drain, "requests", DRAIN_TIMEOUT_S)
        parts.scrypt.stop()  # whoever still waits for a hash is told so while there is a connection to tell it on
        await self._bounded(parts.application.drain, "hashes", LAST_HASHES_TIMEOUT_S)
        await self._bounded(parts.site.close_connections, "answers", DRAIN_TIMEOUT_S)
        if parts.reports is not None:
            await self._bounded(parts.reports.drain, "reports", DRAIN_TIMEOUT_S)
        for part in reversed(self._started):
            await part.stop()
        await parts.mail_sender.stop()
        await parts.lag.stop()
        await parts.pre_verify.stop()
        await parts.connections.closeCachedConnections()
        await parts.storage.close()
        _log.info("server.stopped")

    async def _bounded(self, work: Callable[[], Any], what: str, timeout_s: float) -> None:
        try:
            await Deferred.fromCoroutine(work()).addTimeout(timeout_s, self._reactor)
        except TimeoutError:
            _log.warn("server.stop_impatient", waited_for=what)


def _place_of(address: Any) -> str:
    """Where a port listens: host and port, or the name of a Unix socket."""
    return os.fsdecode(address.name or b"") if isinstance(address, UNIXAddress) else _place(address.host, address.port)


def _place(host: str, port: int) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
