"""``twistd fxa-auth``: the command line options of the plugin, and the service they make."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
from typing import Any, ClassVar

from twisted.application.service import IService, MultiService
from twisted.internet.error import ReactorNotRunning
from twisted.logger import ILogObserver
from twisted.python import usage
from twisted.python.components import Componentized

from fxa_auth.config import ConfigError, Settings
from fxa_auth.configfiles import load_settings
from fxa_auth.log import Observer, twistd_flags, twistd_observer
from fxa_auth.service import AuthService, CannotStart


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

    def __init__(self, observer: Observer | None, in_foreground: bool) -> None:
        super().__init__()
        self._observer = observer
        self._in_foreground = in_foreground

    def setServiceParent(self, parent: Componentized) -> None:
        if self._observer is not None:
            parent.setComponent(ILogObserver, self._observer)
        super().setServiceParent(parent)

    def privilegedStartService(self) -> None:
        try:
            super().privilegedStartService()
        except CannotStart as error:
            if not self._in_foreground:
                raise  # twistd tells it to whoever waits for the daemon, which a SystemExit would leave waiting
            print(f"fxa-auth: {error}", file=sys.__stderr__, flush=True)
            raise SystemExit(1) from None


def makeService(options: Options) -> IService:
    """The server, ready to be started by twistd, from its plugin or from a .tac file."""
    from twisted.internet import reactor

    flags = twistd_flags(sys.argv) if options.parent is None else options.parent
    daemon = _Daemon(twistd_observer(flags, options.settings.log.level), bool(flags["nodaemon"] or flags.get("debug")))
    AuthService(options.loaded, reactor, sys.stdout).setServiceParent(daemon)
    reactor.callWhenRunning(_stop_on_signals, reactor)
    return daemon


def _stop_on_signals(reactor: Any) -> None:
    """End with exit code 0 when told to; by itself twistd would seem to have crashed of the signal."""

    def stop() -> None:
        with contextlib.suppress(ReactorNotRunning):
            reactor.stop()

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: reactor.callFromThread(stop))
