"""From the settings to messages and the way they go, for the daemon and for the commands that send or show one."""

from __future__ import annotations

import os
from email.utils import parseaddr
from pathlib import Path

from twisted.internet.interfaces import IReactorTime

from fxa_auth.config import Settings
from fxa_auth.mail.compose import Composer
from fxa_auth.mail.server import SmtpServer
from fxa_auth.texts import Texts
from fxa_auth.tls import authorities


def make_composer(settings: Settings, texts: Texts, clock: IReactorTime) -> Composer:
    content_server_url, smtp = settings.content_server.url, settings.smtp
    return Composer(
        texts.wordings, texts.languages, content_server_url, smtp.sender, clock, os.urandom, smtp.return_path
    )


def mail_server(settings: Settings) -> SmtpServer:
    """The server that mails are handed to.

    :raises TlsFileError: ``smtp.caFile`` cannot be used
    """
    smtp = settings.smtp
    _, address = parseaddr(smtp.sender)
    return SmtpServer(
        host=smtp.host,
        port=smtp.port,
        ehlo_name=smtp.ehlo_name or address.rpartition("@")[2],
        secure=smtp.secure,
        start_tls=smtp.start_tls,
        authorities=() if smtp.ca_file is None else authorities("smtp.caFile", Path(smtp.ca_file)),
        user=smtp.user or "",
        password=smtp.password or "",
        max_connections=smtp.max_connections,
        connect_timeout_s=smtp.connect_timeout / 1000,
        reply_timeout_s=smtp.reply_timeout / 1000,
        timeout_s=smtp.timeout / 1000,
    )
