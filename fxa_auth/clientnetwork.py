"""Which client addresses count as one client, where clients are told apart to share something out or to hold back.

An IPv6 customer is given a network of 64 bits at least, and may use any address in it.
"""

from __future__ import annotations

from functools import lru_cache
from ipaddress import IPv4Address, IPv6Address, ip_address

IPV6_PREFIX = 64


@lru_cache(maxsize=4096)
def of(address: str) -> str:
    """The client that an address belongs to: an IPv4 address as it is, else the IPv6 network (``2001:db8::/64``).

    An IPv4 address in IPv6 clothes (``::ffff:192.0.2.1``) counts as IPv4. What is no address stands for itself.
    """
    try:
        parsed: IPv4Address | IPv6Address = ip_address(address.partition("%")[0])
    except ValueError:
        return address
    if isinstance(parsed, IPv6Address):
        if parsed.ipv4_mapped is None:
            network = int(parsed) >> (128 - IPV6_PREFIX) << (128 - IPV6_PREFIX)
            return f"{IPv6Address(network)}/{IPV6_PREFIX}"
        parsed = parsed.ipv4_mapped
    return str(parsed)
