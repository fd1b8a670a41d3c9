"""Sessions: how many there are, and the end of one."""

from __future__ import annotations

from tests.domain import EMAIL, DomainTestCase, outcomes


class SessionTests(DomainTestCase):
    """Of one account beside another."""

    async def test_every_sign_in_is_a_session_of_its_account(self) -> None:
        await self.create("other@example.com")
        first = await self.live((await self.create(with_keys=True)).session_token)
        for number in (1, 2, 3):
            self.assertEqual(await self.sessions.count(first), number)
            await self.login(with_keys=True)

    async def test_destroying_one_leaves_the_others(self) -> None:
        first, second = (await self.create()).session_token, (await self.login()).session_token
        await self.sessions.destroy(await self.live(first))
        self.assertIsNone(await self.find(first))
        self.assertEqual(await self.sessions.count(await self.live(second)), 1)

    async def test_a_session_ends_once(self) -> None:
        session = await self.live((await self.create()).session_token)
        calls = [self.sessions.destroy(session) for _ in range(20)]
        self.assertEqual((await outcomes(calls))[1], {200: 1, 110: 19})

    async def test_a_session_knows_its_account(self) -> None:
        made = await self.create(verified=False, client=self.client("fr"))
        session, account = await self.live(made.session_token), await self.account()
        self.assertEqual((session.uid, session.email, session.email_verified), (account.uid, EMAIL, False))
        self.assertEqual((session.verifier_set_at_ms, session.locale), (account.verifier_set_at_ms, "fr"))
        await self.verification.verify_email_code(account.uid, account.email_code)
        self.assertTrue((await self.live(made.session_token)).email_verified)
