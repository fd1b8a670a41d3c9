"""Settings that are allowed, but hardly meant."""

from __future__ import annotations

import ipaddress
from urllib.parse import urlsplit

from fxa_auth.config.loading import Loaded


def doubts(loaded: Loaded) -> list[str]:
    """One line for each doubtful setting: what comes of it, and the mend."""
    settings = loaded.settings
    if settings.development:
        return []
    found = []
    if _is_this_machine(urlsplit(settings.content_server.url).hostname or ""):
        problem = "links in mails lead to the reader's own machine: name the address that readers can reach"
        found.append(loaded.complaint("contentServer.url", problem))
    if settings.public_url.startswith("https:") and not settings.use_https and not settings.trust_proxies:
        problem = (
            "publicUrl is https and useHttps is false, so a proxy must be in front, whose address is taken for that of"
            " every client: write how many proxies there are"
        )
        found.append(loaded.complaint("trustProxies", problem))
    return found


def _is_this_machine(host: str) -> bool:
    """Whether the host is a loopback or unspecified address, or a name that always means one (RFC 6761, 6.3)."""
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return host.rstrip(".").rpartition(".")[2] == "localhost"
    return address.is_loopback or address.is_unspecified
