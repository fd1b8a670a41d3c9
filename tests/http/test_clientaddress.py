"""Which address counts, for every form of the setting trustProxies, and that a client cannot choose it."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from fxa_auth.http.clientaddress import ClientAddress, Trust, chain
from tests.http.server import EMAIL, PASSWORD, ApiCase

LOOPBACK, NETWORKS = "loopback", ("10.0.0.0/8", "2001:db8::/32")


class PickTests(SynchronousTestCase):
    def test_each_kind_of_trust(self) -> None:
        rows: tuple[tuple[Trust, str, str, str], ...] = (
            # trust, X-Forwarded-For, peer, client
            (0, "1.1.1.1, 2.2.2.2", "3.3.3.3", "3.3.3.3"),
            (0, "", "127.0.0.1", "127.0.0.1"),
            (0, "1.1.1.1", "127.0.0.1", "127.0.0.1"),
            (1, "1.1.1.1, 2.2.2.2", "3.3.3.3", "2.2.2.2"),
            (2, "1.1.1.1, 2.2.2.2", "3.3.3.3", "1.1.1.1"),
            (9, "1.1.1.1, 2.2.2.2", "3.3.3.3", "1.1.1.1"),
            (1, "", "3.3.3.3", "3.3.3.3"),
            (NETWORKS, "1.1.1.1, 2.2.2.2", "10.1.2.3", "2.2.2.2"),
            (NETWORKS, "1.1.1.1, 2.2.2.2, 10.9.9.9", "10.1.2.3", "2.2.2.2"),
            (NETWORKS, "1.1.1.1, 10.1.1.1, 2.2.2.2, 10.9.9.9", "10.1.2.3", "2.2.2.2"),
            (NETWORKS, "10.0.0.1", "2.2.2.2", "2.2.2.2"),
            (NETWORKS, "10.0.0.1, 10.0.0.2", "10.0.0.3", "10.0.0.1"),
            (NETWORKS, "1.1.1.1", "2001:db8::5", "1.1.1.1"),
            (NETWORKS, "1.1.1.1", "2001:db9::5", "2001:db9::5"),
            (NETWORKS, "1.1.1.1", "::ffff:10.0.0.1", "1.1.1.1"),
            (("10.0.0.5",), "1.1.1.1", "10.0.0.5", "1.1.1.1"),
            (("10.0.0.5/8",), "1.1.1.1", "10.200.0.1", "1.1.1.1"),
            ((), "1.1.1.1", "127.0.0.1", "127.0.0.1"),
            (LOOPBACK, "1.1.1.1, 2.2.2.2", "127.0.0.1", "1.1.1.1"),
            (LOOPBACK, "1.1.1.1, 2.2.2.2", "127.8.8.8", "1.1.1.1"),
            (LOOPBACK, "1.1.1.1, 2.2.2.2", "::1", "1.1.1.1"),
            (LOOPBACK, "1.1.1.1, 2.2.2.2", "::ffff:127.0.0.1", "1.1.1.1"),
            (LOOPBACK, "1.1.1.1", "3.3.3.3", "3.3.3.3"),
            (LOOPBACK, "1.1.1.1, 127.0.0.1", "3.3.3.3", "3.3.3.3"),
            # how an address may be written
            (1, "2001:DB8:0::0001", "3.3.3.3", "2001:db8::1"),
            (1, "[2001:db8::1]", "3.3.3.3", "2001:db8::1"),
            (1, "[2001:db8::1]:8080", "3.3.3.3", "2001:db8::1"),
            (1, "1.1.1.1:8080", "3.3.3.3", "1.1.1.1"),
            (1, "::ffff:1.1.1.1", "3.3.3.3", "1.1.1.1"),
            (1, "  1.1.1.1\t", "3.3.3.3", "1.1.1.1"),
            (0, "", "::ffff:3.3.3.3", "3.3.3.3"),
            # what is no address ends the walk
            *(
                (1, entry, "3.3.3.3", "3.3.3.3")
                for entry in ("unknown", "1.1.1", "1.1.1.1.1", "01.1.1.1", "_x", "[", ":")
            ),
            *(
                (2, f"{entry}, 2.2.2.2", "3.3.3.3", "2.2.2.2")
                for entry in ("x", "1.1.1.256", "1.1.1.1/8", "\xff", "a" * 9999)
            ),
            (LOOPBACK, "1.1.1.1, x, 2.2.2.2", "127.0.0.1", "2.2.2.2"),
            (9, ",,, ,", "3.3.3.3", "3.3.3.3"),
            (9, "1.1.1.1,, ,2.2.2.2", "3.3.3.3", "1.1.1.1"),
            # a peer without an address
            (9, "1.1.1.1", "unix", "unix"),
            (LOOPBACK, "1.1.1.1", "unix", "unix"),
        )
        for trust, forwarded_for, peer, client in rows:
            found = ClientAddress(trust).pick(chain(forwarded_for, peer))
            self.assertEqual(found, client, (trust, forwarded_for[:50], peer))


class RequestTests(ApiCase):
    """From the header of a request to the abuse policy and the log."""

    async def ip_of(self, trust: Trust, forwarded_for: str) -> str:
        api = await self.serve(trust=trust)
        body = {"email": EMAIL, "authPW": PASSWORD}
        await api.post("/v1/account/login", body, headers={"X-Forwarded-For": forwarded_for})
        [(_, _, ip)] = api.customs.marks
        return ip

    async def test_the_policy_hears_the_address_that_counts(self) -> None:
        for trust, forwarded_for, ip in (
            ("loopback", "1.1.1.1, 2.2.2.2", "1.1.1.1"),
            (0, "1.1.1.1, 2.2.2.2", "127.0.0.1"),
            (1, "1.1.1.1, 2.2.2.2", "2.2.2.2"),
            (("127.0.0.0/8",), "1.1.1.1, 2.2.2.2", "2.2.2.2"),
        ):
            self.assertEqual(await self.ip_of(trust, forwarded_for), ip, trust)

    async def test_several_headers_are_one_list(self) -> None:
        data = b"GET / HTTP/1.1\r\nX-Forwarded-For: 1.1.1.1\r\nX-Forwarded-For: 2.2.2.2, x\r\n\r\n"
        await self.api.raw(data)
        [line] = self.log.lines("request.summary")
        self.assertEqual(line["remoteAddressChain"], ["1.1.1.1", "2.2.2.2", "x", "127.0.0.1"])
