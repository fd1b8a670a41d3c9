"""Settings that are allowed, but hardly meant."""

from __future__ import annotations

import ipaddress
from urllib.parse import urlsplit

from fxa_auth.config.loading import Loaded
from fxa_auth.publicurl import PublicUrl, parse_public_url


def doubts(loaded: Loaded) -> list[str]:
    """One line for each doubtful setting: what comes of it, and the mend."""
    settings = loaded.settings
    if settings.development:
        return []
    found = []
    if _is_this_machine(urlsplit(settings.content_server.url).hostname or ""):
        problem = "links in mails lead to the reader's own machine: name the address that readers can reach"
        found.append(loaded.complaint("contentServer.url", problem))
    if _differ_by_scheme(parse_public_url(settings.public_url), parse_public_url(settings.content_server.url)):
        problem = (
            f"but for http and https this is that of {loaded.shown('publicUrl')}, so that links in mails may lead round"
            " in circles: write both alike"
        )
        found.append(loaded.complaint("contentServer.url", problem))
    if settings.public_url.startswith("https:") and not settings.use_https and not settings.trust_proxies:
        problem = (
            "publicUrl is https and useHttps is false, so a proxy must be in front, whose address is taken for that of"
            " every client: write how many proxies there are"
        )
        found.append(loaded.complaint("trustProxies", problem))
    return found


def _differ_by_scheme(here: PublicUrl, there: PublicUrl) -> bool:
    """Whether one is http and the other https, each on its usual port: a proxy is likely to send one to the other."""
    return here.scheme != there.scheme and (here.domain, here.path) == (there.domain, there.path)


def _is_this_machine(host: str) -> bool:
    """Whether the host is a loopback or unspecified address, or a name that always means one (RFC 6761, 6.3)."""
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return host.rstrip(".").rpartition(".")[2] == "localhost"
    return address.is_loopback or address.is_unspecified
