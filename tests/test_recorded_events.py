"""What each operation on an account leaves in the event log: which events, in which order, and what they say."""

from __future__ import annotations

from typing import Any

from fxa_auth import errors
from fxa_auth.administration import Administration
from fxa_auth.tokens import Lifetimes
from tests.domain import (
    DOMAIN,
    EMAIL,
    LIFETIMES_MS,
    NEW_PW,
    OPTIONS,
    PW,
    START_S,
    WRAP_KB,
    WRONG_PW,
    DomainTestCase,
    outcomes,
)

NOW_MS = START_S * 1000


class RecordedEventsTests(DomainTestCase):
    """One account, sometimes two; each operation at a time of its own."""

    async def setUp(self) -> None:
        await super().setUp()
        self.administration = Administration(self.store, self.customs, Lifetimes(LIFETIMES_MS), self.clock, DOMAIN)

    async def told(self) -> list[tuple[str, dict[str, Any]]]:
        """Kind and payload of each event but the first, by which the account was created."""
        return [(event.kind, dict(event.payload)) for event in (await self.log())[1:]]

    async def named(self) -> dict[str, Any]:
        return {"email": EMAIL, "uid": (await self.account()).uid.hex()}

    async def principal(self) -> str:
        return f"{(await self.account()).uid.hex()}@{DOMAIN}"

    async def test_a_sign_up(self) -> None:
        await self.create(verified=False, client=self.client("fr"))
        [event] = await self.log()
        self.assertEqual((event.kind, event.uid, event.created_at_ms), ("created", (await self.account()).uid, NOW_MS))
        self.assertEqual(dict(event.payload), {**await self.named(), "locale": "fr", "service": "sync"})

    async def test_a_sign_up_whose_address_needs_no_mail(self) -> None:
        await self.create()
        self.assertEqual(await self.told(), [("verified", {**await self.named(), "locale": None})])

    async def test_a_sign_up_that_fails_is_none(self) -> None:
        await self.create()
        await self.assertRefused(101, self.create())
        self.assertEqual(await self.events(), ["created", "verified"])

    async def test_a_login(self) -> None:
        await self.create(verified=False)
        await self.login(with_keys=True)
        self.assertEqual(await self.told(), [("login", await self.named())])

    async def test_a_login_that_fails_is_none(self) -> None:
        await self.create(verified=False)
        await self.assertRefused(103, self.login(auth_pw=WRONG_PW))
        self.customs.refusal = errors.too_many_requests(5)
        await self.assertRefused(114, self.login())
        self.assertEqual(await self.events(), ["created"])

    async def test_logins_at_once_are_one_event_each(self) -> None:
        await self.create(verified=False)
        self.assertEqual((await outcomes([self.login() for _ in range(20)]))[1], {200: 20})
        self.assertEqual(await self.events(), ["created", *["login"] * 20])

    async def test_a_password_change(self) -> None:
        await self.create(verified=False)
        change = await self.credentials.start_change(EMAIL, PW, self.client())
        self.clock.advance(5)
        token = await self.live(change.password_change_token)
        await self.credentials.finish_change(token, NEW_PW, WRAP_KB, self.client())
        payload = {"uid": await self.principal(), "generation": NOW_MS + 5000}
        self.assertEqual(await self.told(), [("passwordChange", payload)])
        self.assertEqual((await self.account()).verifier_set_at_ms, NOW_MS + 5000)

    async def reset(self) -> None:
        token, code = await self.forgot()
        reset = await self.credentials.verify_forgot_code(token, code)
        self.clock.advance(5)
        await self.credentials.reset(await self.live(reset), NEW_PW, self.client())

    async def forgot(self) -> tuple[Any, bytes]:
        _, keys, _ = await self.credentials.send_forgot_code(EMAIL, self.client(), OPTIONS)
        token = await self.live(keys)
        assert token.pass_code is not None
        return token, token.pass_code

    async def test_a_reset(self) -> None:
        await self.create(verified=False)
        await self.reset()
        payload = {"uid": await self.principal(), "generation": NOW_MS + 5000}
        self.assertEqual(await self.told(), [("reset", payload)])
        self.assertEqual((await self.account()).verifier_set_at_ms, NOW_MS + 5000)

    async def test_a_reset_of_an_account_that_was_locked_meanwhile_unlocks_it(self) -> None:
        await self.create(verified=False)
        token, code = await self.forgot()
        reset = await self.credentials.verify_forgot_code(token, code)
        await self.lock()
        await self.credentials.reset(await self.live(reset), NEW_PW, self.client())
        self.assertEqual(await self.events(), ["created", "lock", "reset", "unlock"])

    async def test_a_recovery_code_unlocks_and_verifies_without_saying_so(self) -> None:
        await self.create(verified=False)
        await self.lock()
        token, code = await self.forgot()
        await self.credentials.verify_forgot_code(token, code)
        self.assertEqual(await self.told(), [("lock", await self.named()), ("unlock", await self.named())])

    async def test_a_lock_by_the_policy_and_an_unlock_by_mail(self) -> None:
        await self.create(verified=False)
        self.customs.lockout = True
        for _ in range(2):
            await outcomes([self.login(auth_pw=WRONG_PW) for _ in range(3)])
        code = (await self.account()).unlock_code
        assert code is not None
        uid = (await self.account()).uid
        await outcomes([self.verification.verify_unlock_code(uid, code) for _ in range(5)])
        self.assertEqual(await self.told(), [("lock", await self.named()), ("unlock", await self.named())])

    async def test_what_an_operator_does(self) -> None:
        await self.create(verified=False)
        await self.lock()
        named, principal = await self.named(), await self.principal()
        for act in (self.administration.verify, self.administration.unlock, self.administration.delete):
            account = await self.account()
            for _ in range(2):
                await act(account)
        self.assertEqual(
            await self.told(),
            [
                ("lock", named),
                ("verified", {**named, "locale": None}),
                ("unlock", named),
                ("delete", {"uid": principal}),
            ],
        )

    async def test_a_removal(self) -> None:
        await self.create(verified=False)
        principal = await self.principal()
        await self.login()
        await self.accounts.destroy(EMAIL, PW, self.client())
        self.assertEqual((await self.told())[1:], [("delete", {"uid": principal})])

    async def test_an_account_that_gives_way_to_another_is_not_told_of(self) -> None:
        first = (await self.create(verified=False)).uid
        self.clock.advance(1)
        second = (await self.create(verified=False)).uid
        self.assertEqual(
            [(event.kind, event.uid) for event in await self.log()], [("created", first), ("created", second)]
        )
