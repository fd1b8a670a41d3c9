"""Networks that are banned: how they are kept, and found again by the address of a client in them.

What counts as one client is for ``clientnetwork`` to say: a narrower network cannot be banned. Pure: texts and numbers
in and out, no name is ever looked up.
"""

from __future__ import annotations

import ipaddress
from ipaddress import IPv4Network, IPv6Network

from fxa_auth import clientnetwork

Network = IPv4Network | IPv6Network

_MAPPED = 0xFFFF << 32
_MAPPED_BITS = 96
"""IPv4 has its place within IPv6: ::ffff:0:0/96."""

_ALL_BITS = 128


def network_keys(ip: str) -> list[str]:
    """The keys of all networks that hold the client at ``ip``; none if that is no address.

    There are 33 for IPv4 and 65 for IPv6, so that a look-up by them costs the same however many networks are banned.
    """
    try:
        client = ipaddress.ip_network(clientnetwork.of(ip))
    except ValueError:
        return []
    number, narrowest = _place(client)
    widest = _MAPPED_BITS if isinstance(client, IPv4Network) else 0
    return [_key(number, bits) for bits in range(widest, narrowest + 1)]


def network_key(network: Network) -> str:
    """The key under which a network is kept: 32 hex digits, a slash, and how many bits of them count.

    One within a single IPv6 client's /64 is widened to that.
    """
    number, bits = _place(network)
    if number >> 32 != _MAPPED >> 32:
        bits = min(bits, clientnetwork.IPV6_PREFIX)
    return _key(number, bits)


def network_of(key: str) -> Network:
    """The network that a key stands for."""
    digits, _, bits = key.partition("/")
    number, prefix_length = int(digits, 16), int(bits)
    if prefix_length >= _MAPPED_BITS:
        return IPv4Network((number ^ _MAPPED, prefix_length - _MAPPED_BITS))
    return IPv6Network((number, prefix_length))


def parse_network(text: str) -> Network:
    """A network, or an address as a network of its own; bits behind the prefix are let go.

    :raises ValueError: it is neither
    """
    return ipaddress.ip_network(text, strict=False)


def shown_network(network: Network) -> str:
    """As people write it: a single IPv4 address without its ``/32``."""
    is_single = isinstance(network, IPv4Network) and network.prefixlen == network.max_prefixlen
    return str(network.network_address if is_single else network)


def _place(network: Network) -> tuple[int, int]:
    """Its first address and the length of its prefix, both in IPv6."""
    if isinstance(network, IPv4Network):
        return _MAPPED | int(network.network_address), _MAPPED_BITS + network.prefixlen
    return int(network.network_address), network.prefixlen


def _key(number: int, bits: int) -> str:
    rest = _ALL_BITS - bits
    return f"{number >> rest << rest:032x}/{bits}"
