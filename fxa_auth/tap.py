"""``twistd fxa-auth``: the command line options of the plugin, and the service they make."""

from __future__ import annotations

import os
import sys
from typing import ClassVar

from twisted.application.service import IService, MultiService
from twisted.logger import ILogObserver
from twisted.python import usage
from twisted.python.components import Componentized

from fxa_auth.config import ConfigError, Settings
from fxa_auth.configfiles import load_settings
from fxa_auth.log import Observer, twistd_observer
from fxa_auth.service import AuthService


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
    """Takes the log of the application that it becomes part of; twistd offers a plugin no other way."""

    def __init__(self, observer: Observer | None) -> None:
        super().__init__()
        self._observer = observer

    def setServiceParent(self, parent: Componentized) -> None:
        if self._observer is not None:
            parent.setComponent(ILogObserver, self._observer)
        super().setServiceParent(parent)


def makeService(options: Options) -> IService:
    """The daemon, ready to be started by twistd."""
    from twisted.internet import reactor

    service = AuthService(options.loaded, reactor, sys.stdout)
    if options.parent is None:
        return service
    daemon = _Daemon(twistd_observer(options.parent, options.settings.log.level))
    service.setServiceParent(daemon)
    return daemon
