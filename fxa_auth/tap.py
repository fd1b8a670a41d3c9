"""``twistd fxa-auth``: the command line options of the plugin, and the service they make."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar

from twisted.application.service import IService, MultiService
from twisted.internet.error import ReactorNotRunning
from twisted.logger import ILogObserver, Logger
from twisted.python import usage
from twisted.python.components import Componentized

from fxa_auth.config import ConfigError, Settings
from fxa_auth.configfiles import load_settings
from fxa_auth.log import Observer, twistd_flags, twistd_observer
from fxa_auth.service import AuthService, CannotStart

_log = Logger()


class Options(usage.Options):
    """Where the settings come from; the environment is read too."""

    synopsis = "[--config FILE]... [--profile dev|test|stage|prod]"
    longdesc = "The Firefox Accounts authentication server. The settings are listed by: fxa-auth config reference"
    optParameters: ClassVar = [["profile", "p", None, "dev, test, stage or prod; wins over NODE_ENV."]]

    def __init__(self) -> None:
        super().__init__()
        self.config_files: list[str] = []

    def opt_config(self, path: str) -> None:
        """A TOML or JSON file of settings; may be given several times, a later one wins."""
        self.config_files.append(path)

    opt_c = opt_config

    def postOptions(self) -> None:
        """Load the settings; a bad one ends the process with one line for each complaint."""
        try:
            self.loaded = load_settings(self.config_files, self["profile"], os.environ)
        except ConfigError as error:
            raise SystemExit("\n".join(f"fxa-auth: {complaint}" for complaint in error.complaints)) from None

    @property
    def settings(self) -> Settings:
        return self.loaded.settings


class _Daemon(MultiService):
    """The server as an application of twistd: logs as twistd was told to, and says in one line why it cannot start."""

    def __init__(
        self, observer: Observer | None, complain: Callable[[str], None], in_foreground: bool, pid_file: str | None
    ) -> None:
        super().__init__()
        self._observer = observer
        self._complain = complain
        self._in_foreground = in_foreground
        self._pid_file = pid_file

    def setServiceParent(self, parent: Componentized) -> None:
        if self._observer is not None:
            parent.setComponent(ILogObserver, self._observer)
        super().setServiceParent(parent)

    def privilegedStartService(self) -> None:
        try:
            super().privilegedStartService()
        except CannotStart as error:
            self._complain(str(error))
            if not self._in_foreground:
                raise  # twistd tells it to whoever waits for the daemon, which a SystemExit would leave waiting
            if self._pid_file:
                Path(self._pid_file).unlink(missing_ok=True)  # twistd does so for every error but a SystemExit
            raise SystemExit(1) from None


def makeService(options: Options) -> IService:
    """The server, ready to be started by twistd, from its plugin or from a .tac file.

    What cannot be used ends the process with one line, as a bad setting does.
    """
    from twisted.internet import reactor

    flags = twistd_flags(sys.argv) if options.parent is None else options.parent
    in_foreground = bool(flags["nodaemon"] or flags.get("debug"))
    log_is_on_stderr = in_foreground and not flags.get("logfile") and not flags.get("syslog")

    if options.settings.events.stdout.kinds and not in_foreground:
        problem = "nobody reads stdout of a daemon in the background: start twistd with --nodaemon, or leave this out"
        raise SystemExit(f"fxa-auth: {options.loaded.complaint('events.stdout.kinds', problem)}")

    def complain(reason: str) -> None:
        """Say on stderr, in one plain line, why the server cannot start; a log that goes elsewhere has it too."""
        if not log_is_on_stderr:
            _log.critical("server.cannot_start", reason=reason)
        print(f"fxa-auth: {reason}", file=sys.__stderr__, flush=True)

    observer = twistd_observer(flags, options.settings.log.level)
    daemon = _Daemon(observer, complain, in_foreground, flags.get("pidfile"))
    try:
        service = AuthService(options.loaded, reactor, sys.stdout, complain)
    except CannotStart as error:
        raise SystemExit(f"fxa-auth: {error}") from None
    service.setServiceParent(daemon)
    reactor.callWhenRunning(_stop_on_signals, reactor)
    return daemon


def _stop_on_signals(reactor: Any) -> None:
    """End with exit code 0 when told to; by itself twistd would seem to have crashed of the signal."""

    def stop() -> None:
        with contextlib.suppress(ReactorNotRunning):
            reactor.stop()

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: reactor.callFromThread(stop))
