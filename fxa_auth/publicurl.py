"""The URL under which clients reach this server, taken apart once.

Hawk signatures are made over its host and port, routes live under its path, and its host[:port] is the domain that
certificates are issued for. The Host header of a request plays no part in any of these.
"""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import urlsplit

DEFAULT_PORTS = {"http": 80, "https": 443}


@dataclass(frozen=True)
class PublicUrl:
    """``host`` lower-cased (an IPv6 address in brackets), ``path`` without a slash at its end, often empty."""

    scheme: str
    host: str
    port: int
    domain: str
    path: str

    @property
    def origin(self) -> str:
        return f"{self.scheme}://{self.domain}"

    def is_same_as(self, url: str) -> bool:
        """Whether ``url``, which the settings have checked, leads here as well."""
        return parse_public_url(url) == self


def parse_public_url(url: str) -> PublicUrl:
    """Take apart an http or https URL that the settings have already checked."""
    parts = urlsplit(url)
    host = (parts.hostname or "").lower()
    if ":" in host:
        host = f"[{host}]"
    default_port = DEFAULT_PORTS[parts.scheme]
    port = parts.port or default_port
    domain = host if port == default_port else f"{host}:{port}"
    return PublicUrl(parts.scheme, host, port, domain, parts.path.rstrip("/"))
