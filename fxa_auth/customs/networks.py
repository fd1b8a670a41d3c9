"""How clients are told apart by their addresses, and how networks that are banned are found again.

An IPv6 client counts by its /64, which is what one subscriber gets; IPv4 in IPv6 clothes is IPv4. Pure: texts and
numbers in and out, no name is ever looked up.
"""

from __future__ import annotations

import ipaddress
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network

Network = IPv4Network | IPv6Network

IPV6_CLIENT_BITS = 64
_HOST_BITS = 64
_MAPPED = 0xFFFF << 32
_MAPPED_BITS = 96
_ALL_BITS = 128


def client_group(ip: str) -> str:
    """What requests from ``ip`` are counted under: an IPv4 address, an IPv6 /64, or the text itself if it is neither.

    >>> client_group("2001:db8::1:2:3:4"), client_group("::ffff:192.0.2.1"), client_group("unix")
    ('2001:db8::/64', '192.0.2.1', 'unix')
    """
    address = _parse(ip)
    if isinstance(address, IPv6Address):
        return str(IPv6Network((int(address) >> _HOST_BITS << _HOST_BITS, IPV6_CLIENT_BITS)))
    return ip if address is None else str(address)


def network_keys(ip: str) -> list[str]:
    """The keys of all networks that hold the client at ``ip``; none if that is no address.

    There are 33 for IPv4 and 65 for IPv6, so that a look-up by them costs the same however many networks are banned.
    """
    address = _parse(ip)
    if address is None:
        return []
    if isinstance(address, IPv4Address):
        number, narrowest, widest = _MAPPED | int(address), _ALL_BITS, _MAPPED_BITS
    else:
        number, narrowest, widest = int(address), IPV6_CLIENT_BITS, 0
    return [_key(number, bits) for bits in range(widest, narrowest + 1)]


def network_key(network: Network) -> str:
    """The key under which a network is kept: 32 hex digits, a slash, and how many bits of them count.

    One within a single IPv6 client's /64 is widened to that.
    """
    number, bits = int(network.network_address), network.prefixlen
    if isinstance(network, IPv4Network):
        return _key(_MAPPED | number, _MAPPED_BITS + bits)
    if network.prefixlen >= _MAPPED_BITS and number >> 32 == _MAPPED >> 32:
        return _key(number, bits)
    return _key(number, min(bits, IPV6_CLIENT_BITS))


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


def _key(number: int, bits: int) -> str:
    rest = _ALL_BITS - bits
    return f"{number >> rest << rest:032x}/{bits}"


def _parse(ip: str) -> IPv4Address | IPv6Address | None:
    try:
        address = ipaddress.ip_address(ip)
    except ValueError:
        return None
    if isinstance(address, IPv6Address) and address.ipv4_mapped is not None:
        return address.ipv4_mapped
    return address
