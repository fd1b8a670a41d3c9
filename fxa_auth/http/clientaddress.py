"""Which address a request comes from, when proxies may have added theirs in front."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network

Trust = int | tuple[str, ...] | str
"""A number of hops, a tuple of networks, or ``"loopback"``: a loopback peer is believed the whole chain."""

_Address = IPv4Address | IPv6Address


def chain(forwarded_for: str, peer: str) -> list[str]:
    """The addresses of X-Forwarded-For from the client on, and the peer's at the end."""
    return [*(part.strip() for part in forwarded_for.split(",") if part.strip()), peer]


class ClientAddress:
    """Picks the address that counts. A client can't pick it: only what a trusted proxy reports is believed."""

    def __init__(self, trust: Trust) -> None:
        self._hops = trust if isinstance(trust, int) else 0
        self._believes_loopback = trust == "loopback"
        self._networks: list[IPv4Network | IPv6Network] = []
        if isinstance(trust, tuple):
            self._networks = [ip_network(network, strict=False) for network in trust]

    def pick(self, addresses: list[str]) -> str:
        """The client's address out of a chain as ``chain`` gives it.

        From the right, each trusted proxy is passed over in favour of the address it reports; the walk ends before
        an entry that is no address.
        """
        current = _parse(addresses[-1])
        if current is None:
            return addresses[-1]
        whole_chain = self._believes_loopback and current.is_loopback
        for hop, entry in enumerate(reversed(addresses[:-1])):
            reported = _parse(entry)
            if reported is None or not (whole_chain or hop < self._hops or self._is_trusted(current)):
                break
            current = reported
        return str(current)

    def _is_trusted(self, address: _Address) -> bool:
        return any(address in network for network in self._networks)


def _parse(entry: str) -> _Address | None:
    """An address, also with a port behind it as some proxies write it; IPv4 in IPv6 clothes is IPv4."""
    if entry.startswith("["):
        entry = entry[1:].partition("]")[0]
    elif entry.count(":") == 1:
        entry = entry.partition(":")[0]
    try:
        address = ip_address(entry)
    except ValueError:
        return None
    if isinstance(address, IPv6Address) and address.ipv4_mapped is not None:
        return address.ipv4_mapped
    return address
