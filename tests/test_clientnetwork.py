"""Which addresses are one client."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from fxa_auth import clientnetwork


class ClientNetworkTests(SynchronousTestCase):
    def test_an_ipv4_address_is_a_client(self) -> None:
        self.assertEqual(clientnetwork.of("192.0.2.1"), "192.0.2.1")
        self.assertNotEqual(clientnetwork.of("192.0.2.1"), clientnetwork.of("192.0.2.2"))

    def test_an_ipv6_network_is_a_client(self) -> None:
        self.assertEqual(clientnetwork.of("2001:db8:1:2:3:4:5:6"), "2001:db8:1:2::/64")
        self.assertEqual(clientnetwork.of("2001:0DB8:1:2::"), "2001:db8:1:2::/64")
        self.assertNotEqual(clientnetwork.of("2001:db8:1:3::"), "2001:db8:1:2::/64")
        self.assertEqual(clientnetwork.of("fe80::1%eth0"), "fe80::/64")

    def test_ipv4_in_ipv6_clothes_is_ipv4(self) -> None:
        self.assertEqual(clientnetwork.of("::ffff:192.0.2.1"), "192.0.2.1")
        self.assertEqual(clientnetwork.of("::ffff:c000:201"), "192.0.2.1")

    @given(st.text(max_size=60))
    def test_whatever_else_comes_stands_for_itself(self, text: str) -> None:
        self.assertIsInstance(clientnetwork.of(text), str)
        self.assertEqual(clientnetwork.of(f"no address: {text}"), f"no address: {text}")
