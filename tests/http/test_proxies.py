"""Through a chain of two real proxies: for each form of trustProxies, whom the abuse policy hears of."""

from __future__ import annotations

from treq.client import HTTPClient
from twisted.internet import reactor
from twisted.web.client import Agent, HTTPConnectionPool

from fxa_auth.http.clientaddress import Trust
from tests.http.server import EMAIL, PASSWORD, Api, ApiCase
from tests.proxies import INNER, OUTER, start_chain

CLIENT, VICTIM = "127.0.2.1", "127.0.2.99"
FORGED = (VICTIM, f"{VICTIM}, {OUTER}", f"{OUTER}, {INNER}", "127.0.0.1", "unknown", "", ",", "[::1]:80", "x" * 300)
"""What a client may put into X-Forwarded-For by itself."""


class ProxyTests(ApiCase):
    async def heard(self, api: Api, port: int, forged: str | None) -> str:
        """The address that the policy hears of when the client asks, through the proxy at ``port``."""
        agent = Agent(reactor, bindAddress=(CLIENT, 0), pool=HTTPConnectionPool(reactor, persistent=False))
        headers = {} if forged is None else {"X-Forwarded-For": forged}
        url = f"http://127.0.0.1:{port}/v1/account/login"
        api.customs.marks.clear()
        answer = await HTTPClient(agent).post(url, json={"email": EMAIL, "authPW": PASSWORD}, headers=headers)
        self.assertEqual((answer.code, (await answer.json())["errno"]), (400, 102))
        [(_, _, ip)] = api.customs.marks
        return ip

    async def test_a_client_cannot_pick_its_address(self) -> None:
        rows: tuple[tuple[Trust, str], ...] = (
            (0, INNER),
            ((), INNER),
            (1, OUTER),
            (2, CLIENT),
            ((f"{INNER}/32",), OUTER),
            (("127.0.1.0/24",), CLIENT),
            (("10.0.0.0/8", f"{INNER}/32", f"{OUTER}/32"), CLIENT),
            (("10.0.0.0/8",), INNER),
        )
        for trust, expected in rows:
            api = await self.serve(trust=trust)
            port = start_chain(self, api.port)
            for forged in (None, *FORGED):
                self.assertEqual(await self.heard(api, port, forged), expected, (trust, forged))

    async def test_in_development_it_can(self) -> None:
        api = await self.serve(trust="loopback")
        port = start_chain(self, api.port)
        for forged, expected in ((None, CLIENT), ("192.0.2.1", "192.0.2.1"), ("192.0.2.1, 10.1.1.1", "192.0.2.1")):
            self.assertEqual(await self.heard(api, port, forged), expected)

    async def test_more_hops_than_there_are_proxies_let_a_client_pick_its_address(self) -> None:
        """Which is why docs/abuse.md says to count them."""
        api = await self.serve(trust=3)
        self.assertEqual(await self.heard(api, start_chain(self, api.port), VICTIM), VICTIM)
