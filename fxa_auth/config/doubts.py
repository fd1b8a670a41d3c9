"""Settings that are allowed, but hardly meant."""

from __future__ import annotations

import ipaddress
from urllib.parse import urlsplit

from fxa_auth.config.loading import Loaded


def doubts(loaded: Loaded) -> list[str]:
    """One line for each doubtful setting: what comes of it, and the mend."""
    settings = loaded.settings
    if not settings.development and _is_this_machine(urlsplit(settings.content_server.url).hostname or ""):
        problem = "links in mails lead to the reader's own machine: name the address that readers can reach"
        return [loaded.complaint("contentServer.url", problem)]
    return []


def _is_this_machine(host: str) -> bool:
    """Whether the host is a loopback or unspecified address, or a name that always means one (RFC 6761, 6.3)."""
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return host.rstrip(".").rpartition(".")[2] == "localhost"
    return address.is_loopback or address.is_unspecified
