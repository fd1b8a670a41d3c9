"""Networks that are banned: a client is found in each network that holds it, and in no other."""

from __future__ import annotations

from ipaddress import ip_address, ip_network

from hypothesis import example, given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from fxa_auth.customs.networks import network_key, network_keys, network_of, parse_network, shown_network

IPV4, IPV6 = st.ip_addresses(v=4).map(str), st.ip_addresses(v=6).map(str)


def is_found(ip: str, network: str) -> bool:
    return network_key(parse_network(network)) in network_keys(ip)


class NetworkTests(SynchronousTestCase):
    def test_who_is_found(self) -> None:
        for ip, network, found in (
            ("192.0.2.7", "192.0.2.7", True),
            ("192.0.2.7", "192.0.2.8", False),
            ("192.0.2.7", "192.0.2.0/24", True),
            ("192.0.2.7", "192.0.2.99/24", True),
            ("192.0.3.7", "192.0.2.0/24", False),
            ("192.0.2.7", "0.0.0.0/0", True),
            ("::ffff:192.0.2.7", "192.0.2.0/24", True),
            ("192.0.2.7", "::ffff:192.0.2.7", True),
            ("192.0.2.7", "::ffff:192.0.2.0/120", True),
            ("192.0.2.7", "::/0", False),
            ("2001:db8::1", "0.0.0.0/0", False),
            ("2001:db8::1", "::/0", True),
            ("2001:db8::1", "2001:db8::1", True),
            ("2001:db8::2", "2001:db8::1", True),  # the same client
            ("2001:db8::2", "2001:db8::1/96", True),
            ("2001:db8:0:1::1", "2001:db8::1", False),
            ("2001:db8:9::1", "2001:db8::/32", True),
            ("2001:db9::1", "2001:db8::/32", False),
            ("unix", "0.0.0.0/0", False),
            ("unix", "::/0", False),
        ):
            self.assertEqual(is_found(ip, network), found, (ip, network))

    def test_a_network_is_shown_as_people_write_it(self) -> None:
        for text, shown in (
            ("192.0.2.7", "192.0.2.7"),
            ("192.0.2.7/24", "192.0.2.0/24"),
            ("::ffff:192.0.2.7", "192.0.2.7"),
            ("2001:db8::7", "2001:db8::/64"),
            ("2001:DB8:0::/48", "2001:db8::/48"),
            ("::/0", "::/0"),
            ("0.0.0.0/0", "0.0.0.0/0"),
        ):
            self.assertEqual(shown_network(network_of(network_key(parse_network(text)))), shown)

    def test_what_is_no_network_is_refused(self) -> None:
        for text in ("", "x", "192.0.2", "192.0.2.0/33", "2001:db8::/129", "192.0.2.1-5", "example.com", "1/2/3"):
            self.assertRaises(ValueError, parse_network, text)

    @given(IPV4, IPV4, st.integers(0, 32))
    @example("192.0.2.255", "192.0.2.0", 24)
    def test_ipv4_is_found_as_arithmetic_says(self, ip: str, other: str, bits: int) -> None:
        network = ip_network(f"{other}/{bits}", strict=False)
        self.assertEqual(is_found(ip, str(network)), ip_address(ip) in network)
        self.assertEqual(network_of(network_key(network)), network)
        self.assertTrue(is_found(ip, f"{ip}/{bits}"))

    @given(IPV6, IPV6, st.integers(0, 64))
    def test_ipv6_is_found_as_arithmetic_says(self, ip: str, other: str, bits: int) -> None:
        network = ip_network(f"{other}/{bits}", strict=False)
        is_ipv4 = ip_address(ip).ipv4_mapped is not None  # type: ignore[union-attr]
        self.assertEqual(is_found(ip, str(network)), not is_ipv4 and ip_address(ip) in network)
        self.assertEqual(network_of(network_key(network)), network)
        self.assertTrue(is_ipv4 or is_found(ip, f"{ip}/{bits}"))
