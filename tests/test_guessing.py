"""The domain under the builtin abuse policy: what guessing leads to, what the policy costs, and what lifts it."""

from __future__ import annotations

import os
from collections.abc import Coroutine, Sequence
from dataclasses import replace
from typing import Any

from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.task import deferLater

from fxa_auth.customs import NoCustoms
from fxa_auth.customs.builtin import BuiltinCustoms
from fxa_auth.customs.policy import Rules
from fxa_auth.errors import ApiError
from fxa_auth.records import Client
from fxa_auth.store.database import Row, Statement
from tests.domain import EMAIL, NEW_PW, OPTIONS, PW, WRONG_PW, DomainTestCase, outcomes

RULES = Rules()


class BuiltinCase(DomainTestCase):
    rules = RULES

    def make_customs(self) -> BuiltinCustoms:
        return BuiltinCustoms(self.store.limits, self.rules, self.clock, os.urandom, 1000)

    async def login_from(self, ip: str, auth_pw: bytes = WRONG_PW, email: str = EMAIL) -> Any:
        return await self.accounts.login(email, auth_pw, Client(ip, None, self.now_ms), with_keys=False)

    async def guesses(self) -> int:
        """How many passwords are on record, as wrong or under way."""
        return sum(1 for row in await self.rows("limit_events") if row["rule"] == "logins")

    async def assertLimited(self, call: Coroutine[Any, Any, Any], retry_after_s: int) -> None:
        error = await self.assertRefused(114, call)
        self.assertEqual(error.extras, {"retryAfter": retry_after_s})

    async def until(self, condition: Any) -> None:
        while not condition():
            await deferLater(reactor, 0.001)  # type: ignore[arg-type]


class GuessingTests(BuiltinCase):
    async def test_three_wrong_passwords_are_answered_and_the_fourth_is_refused_even_if_right(self) -> None:
        await self.create()
        for _ in range(3):
            await self.assertRefused(103, self.login(auth_pw=WRONG_PW))
        hashes = self.stretcher.hashes
        self.clock.advance(60)
        for call in (
            self.login(),
            self.accounts.destroy(EMAIL, PW, self.client()),
            self.credentials.start_change(EMAIL, PW, self.client()),
        ):
            await self.assertLimited(call, 840)
        self.assertEqual(self.stretcher.hashes, hashes)
        await self.login_from("192.0.2.99", PW)
        self.clock.advance(840)
        await self.login()

    async def test_guesses_count_whatever_they_were_to_lead_to(self) -> None:
        await self.create()
        await self.assertRefused(103, self.login(auth_pw=WRONG_PW))
        await self.assertRefused(103, self.accounts.destroy(EMAIL, WRONG_PW, self.client()))
        await self.assertRefused(120, self.credentials.start_change(EMAIL.upper(), WRONG_PW, self.client()))
        await self.assertLimited(self.login(), 900)

    async def test_of_50_wrong_passwords_at_once_three_are_hashed(self) -> None:
        await self.create()
        hashes = self.stretcher.hashes
        _, counted = await outcomes([self.login(auth_pw=WRONG_PW) for _ in range(50)])
        self.assertEqual(counted, {103: 3, 114: 47})
        self.assertEqual(self.stretcher.hashes, hashes + 3)

    async def test_50_right_passwords_at_once_are_all_right(self) -> None:
        await self.create()
        before = len(await self.rows("tokens"))
        _, counted = await outcomes([self.login() for _ in range(50)])
        self.assertEqual((counted, len(await self.rows("tokens"))), ({200: 50}, before + 50))
        self.assertEqual(await self.guesses(), 0)

    async def test_unknown_and_locked_accounts_are_no_guesses(self) -> None:
        await self.create()
        await self.lock()
        for _ in range(5):
            await self.assertRefused(102, self.login("nobody@example.com", WRONG_PW))
            await self.assertRefused(121, self.login(auth_pw=WRONG_PW))
        self.assertEqual(await self.guesses(), 0)

    async def test_a_failed_change_gives_its_turn_back(self) -> None:
        await self.create()
        self.stretcher.gate = Deferred()
        running = [Deferred.fromCoroutine(self.login()) for _ in range(3)]
        await self.until(lambda: self.stretcher.hashes == 4)
        await self.store.change(self.store.accounts.set_verifier((await self.account()).uid, await self.new_pw(), 1))
        self.stretcher.gate.callback(None)
        for login in running:
            await self.assertFailure(login, ApiError)
        self.stretcher.gate = None
        self.assertEqual(await self.guesses(), 0, "neither wrong nor under way")
        await self.login(auth_pw=NEW_PW)

    async def new_pw(self) -> Any:
        gate, self.stretcher.gate = self.stretcher.gate, None
        verifier, _ = await self.passwords.make_verifier(NEW_PW, self.client())
        self.stretcher.gate = gate
        return verifier

    async def test_a_mail_is_refused_before_the_account_is_looked_up(self) -> None:
        for email, errno in ((EMAIL, None), ("nobody@example.com", 102)):
            if errno is None:
                await self.create()
            for _ in range(2 if errno is None else 3):
                await self.send_code(email, errno)
            await self.assertLimited(self.credentials.send_forgot_code(email, self.client(), OPTIONS), 900)

    async def send_code(self, email: str, errno: int | None) -> None:
        call = self.credentials.send_forgot_code(email, self.client(), OPTIONS)
        if errno is None:
            await call
        else:
            await self.assertRefused(errno, call)


class LiftingTests(BuiltinCase):
    async def test_a_reset_lets_the_client_in_again(self) -> None:
        await self.create()
        for _ in range(3):
            await self.assertRefused(103, self.login(auth_pw=WRONG_PW))
        await self.reset(NEW_PW)
        await self.login(auth_pw=NEW_PW)

    async def reset(self, auth_pw: bytes) -> None:
        _, forgot, _ = await self.credentials.send_forgot_code(EMAIL, self.client(), OPTIONS)
        token = await self.live(forgot)
        assert token.pass_code is not None
        reset = await self.credentials.verify_forgot_code(token, token.pass_code)
        await self.credentials.reset(await self.live(reset), auth_pw, self.client())


class LockoutTests(BuiltinCase):
    """More than four wrong passwords lock the account here."""

    rules = replace(RULES, lockout=replace(RULES.lockout, max=4))

    async def guess_wrong(self, times: int) -> None:
        for number in range(times):
            await self.assertRefused(103, self.login_from(f"198.51.100.{number}"))

    async def test_too_many_wrong_passwords_from_anywhere_lock_the_account(self) -> None:
        await self.create()
        await self.guess_wrong(5)
        await self.assertRefused(121, self.login())
        code = (await self.account()).unlock_code
        assert code is not None
        await self.verification.verify_unlock_code((await self.account()).uid, code)
        self.clock.advance(1)
        await self.login()
        await self.guess_wrong(4)
        await self.login()

    async def test_no_guess_is_answered_once_the_account_is_locked(self) -> None:
        """Those who were already being checked learn nothing either."""
        await self.create()
        first = self.stretcher.gate = Deferred()
        guesses = [Deferred.fromCoroutine(self.login_from(f"198.51.100.{number}")) for number in range(12)]
        await self.until(lambda: self.stretcher.hashes == 1 + len(guesses))
        second = self.stretcher.gate = Deferred()
        right = [
            Deferred.fromCoroutine(self.login_from("203.0.113.1", PW)),
            Deferred.fromCoroutine(self.accounts.destroy(EMAIL, PW, self.client())),
            Deferred.fromCoroutine(self.credentials.start_change(EMAIL, PW, self.client())),
        ]
        await self.until(lambda: self.stretcher.hashes == 1 + len(guesses) + len(right))
        first.callback(None)
        answers = [(await self.assertFailure(call, ApiError)).errno for call in guesses]
        self.assertEqual(sorted(answers), [103] * 5 + [121] * 7)
        second.callback(None)
        answers = [(await self.assertFailure(call, ApiError)).errno for call in right]
        self.assertEqual(answers, [121] * 3)
        self.assertEqual(len(await self.rows("tokens")), 1, "the session of the sign-up")


class LockoutDisabledTests(BuiltinCase):
    lockout_enabled = False
    rules = LockoutTests.rules

    async def test_nothing_is_locked(self) -> None:
        await self.create()
        for number in range(9):
            await self.assertRefused(103, self.login_from(f"198.51.100.{number}"))
        await self.login()


class CostTests(BuiltinCase):
    """Transactions: every call by which the store is changed."""

    async def transactions(self, call: Coroutine[Any, Any, Any]) -> int:
        calls = 0
        change = self.database.change

        async def counted(statements: Sequence[Statement]) -> list[Sequence[Row]]:
            nonlocal calls
            calls += 1
            results: list[Sequence[Row]] = await change(statements)
            return results

        patch = self.patch(self.database, "change", counted)
        try:
            await call
        except ApiError:
            pass
        finally:
            patch.restore()
        return calls

    async def costs(self) -> dict[str, int]:
        await self.store.limits.clear()
        return {
            "login": await self.transactions(self.login()),
            "login with keys": await self.transactions(self.login(with_keys=True)),
            "password change": await self.transactions(self.credentials.start_change(EMAIL, PW, self.client())),
            "wrong": await self.transactions(self.login(auth_pw=WRONG_PW)),
            "unknown": await self.transactions(self.login("nobody@example.com")),
            "mail": await self.transactions(self.credentials.send_forgot_code(EMAIL, self.client(), OPTIONS)),
        }

    async def test_a_login_costs_one_transaction_more(self) -> None:
        await self.create()
        with_policy = await self.costs()
        self.passwords._customs = self.credentials._customs = NoCustoms()
        without = await self.costs()
        more = {name: with_policy[name] - without[name] for name in without}
        expected = {"login": 1, "login with keys": 1, "password change": 1, "wrong": 2, "unknown": 0, "mail": 1}
        self.assertEqual(more, expected)
        self.assertEqual(without["login"], 1)

    async def test_a_refusal_costs_none(self) -> None:
        await self.create()
        for _ in range(3):
            await self.assertRefused(103, self.login(auth_pw=WRONG_PW))
            await self.transactions(self.credentials.send_forgot_code(EMAIL, self.client(), OPTIONS))
        self.assertEqual(await self.transactions(self.login()), 0)
        call = self.credentials.send_forgot_code(EMAIL, self.client(), OPTIONS)
        self.assertEqual(await self.transactions(call), 0)
