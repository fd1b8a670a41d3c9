"""From the settings to messages, for the daemon and for the commands that send or show one."""

from __future__ import annotations

import os

from twisted.internet.interfaces import IReactorTime

from fxa_auth.config import Settings
from fxa_auth.mail.compose import Composer
from fxa_auth.texts import Texts


def make_composer(settings: Settings, texts: Texts, clock: IReactorTime) -> Composer:
    content_server_url, sender = settings.content_server.url, settings.smtp.sender
    return Composer(texts.wordings, texts.languages, content_server_url, sender, clock, os.urandom)
