"""The abuse policy that the setting ``customsUrl`` names, for the daemon and for the commands beside it."""

from __future__ import annotations

from treq.client import HTTPClient
from twisted.internet.interfaces import IReactorTime

from fxa_auth.customs import Customs, NoCustoms
from fxa_auth.customs.remote import RemoteCustoms


def chosen_customs(url: str, clock: IReactorTime, http: HTTPClient) -> Customs:
    """``url`` is ``none``, or the URL of a customs server, which is asked through ``http``."""
    return NoCustoms() if url == "none" else RemoteCustoms(clock, http, url)
