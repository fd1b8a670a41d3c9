"""Who is let in: each rule of registration and their lists, what a way in costs, and who gets the last place."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

from twisted.internet.defer import Deferred
from twisted.logger import capturedLogs

from fxa_auth import errors
from fxa_auth.accounts import SignIn
from fxa_auth.administration import Administration
from fxa_auth.invitations import Invitations
from fxa_auth.store.database import DatabaseUnavailable, Statement
from fxa_auth.tokens import Lifetimes
from tests.domain import EMAIL, PW, DomainTestCase, outcomes
from tests.store.contract import OnSqliteFile
from tests.store.on_postgres import OnPostgres

DAY_MS = 86_400_000
TOGETHER = 20


class Entropy:
    """Randomness that is never the same twice, and the same in each test."""

    def __init__(self) -> None:
        self._drawn = 0

    def __call__(self, length: int) -> bytes:
        self._drawn += 1
        return bytes([self._drawn]) * length


class RegistrationCase(DomainTestCase):
    """What all tests of registration do and look at."""

    def rule(self, *mode: str, domains: Sequence[str] = (), first: int = 0) -> None:
        """From now on these rules hold."""
        self.accounts = self.make_accounts(mode, domains, first)

    async def setUp(self) -> None:
        await super().setUp()
        self.invitations = Invitations(self.store, Entropy(), self.clock)

    async def invite(self, email: str | None = None, lifetime_ms: int | None = DAY_MS, uses: int = 1) -> str | None:
        """Its code, unless it is for an address."""
        return (await self.invitations.create(email, lifetime_ms, uses)).code

    async def uses_left(self) -> list[int]:
        return [invite.uses_left for invite in await self.invitations.all()]

    async def sign_up(self, email: str = EMAIL, code: str | None = None, *, verified: bool = False) -> SignIn:
        """A create a moment after whatever was before."""
        self.clock.advance(1)
        return await self.create(email, verified=verified, invite_code=code)

    async def assertKeptOut(self, why: str, email: str = EMAIL, code: str | None = None) -> None:
        """Refused with this reason, with no hash spent and nothing changed."""
        before = self.stretcher.hashes, await self.rows("accounts"), await self.uses_left()
        error = await self.assertRefused(999, self.sign_up(email, code))
        self.assertEqual((error.status, error.message), (403, f"Registration refused: {why}"))
        self.assertEqual((self.stretcher.hashes, await self.rows("accounts"), await self.uses_left()), before)


class RuleTests(RegistrationCase):
    """Each rule by itself."""

    async def test_open_lets_everybody_in(self) -> None:
        for email in (EMAIL, "other@example.org"):
            await self.sign_up(email)

    async def test_closed_lets_nobody_in_whatever_is_shown(self) -> None:
        self.rule("closed")
        code = await self.invite()
        await self.invite(EMAIL)
        for shown in (None, code):
            await self.assertKeptOut("closed (no accounts are made here)", EMAIL, shown)

    async def test_domains_let_in_addresses_at_exactly_these(self) -> None:
        self.rule("domains", domains=("example.com", "bücher.example"))
        for email in ("me@example.com", "ME2@EXAMPLE.COM", "ich@Bücher.example"):
            await self.sign_up(email)
        for email in ("me@sub.example.com", "me@example.com.evil.org", "me@notexample.com", "example.com@evil.org"):
            await self.assertKeptOut("domains (addresses at this domain are not let in)", email)

    async def test_first_lets_in_as_long_as_there_are_fewer_accounts(self) -> None:
        await self.sign_up("before@example.com")
        self.rule("first", first=3)
        await self.sign_up("2@example.com")
        await self.sign_up("3@example.com", verified=True)
        await self.assertKeptOut("first (all places are taken)")
        await self.accounts.destroy("2@example.com", PW, self.client())
        await self.sign_up()
        await self.assertKeptOut("first (all places are taken)", "5@example.com")

    async def test_an_invite_for_an_address_needs_no_code_and_is_nobody_elses(self) -> None:
        self.rule("invite")
        await self.invite(EMAIL)
        await self.assertKeptOut("invite (there is none for this address)", "other@example.com")
        await self.sign_up(EMAIL.upper(), verified=True)
        self.assertEqual(await self.uses_left(), [0])

    async def test_a_code_lets_in_any_address_as_often_as_it_has_uses(self) -> None:
        self.rule("invite")
        code = await self.invite(uses=2)
        await self.assertKeptOut("invite (there is none for this address)")
        await self.sign_up("1@example.com", code)
        await self.sign_up("2@example.com", code)
        await self.assertKeptOut("invite (the code is used up)", EMAIL, code)

    async def test_a_code_may_be_written_as_people_do(self) -> None:
        self.rule("invite")
        code = await self.invite(uses=4) or ""
        self.assertRegex(code, "^([a-z2-7]{4}-){5}[a-z2-7]{4}$")
        for number, written in enumerate((code, code.upper(), code.replace("-", ""), f" {code.replace('-', ' ')}\n")):
            await self.sign_up(f"{number}@example.com", written)
        for wrong in (code[:-1], f"{code}a", code[::-1], "x"):
            await self.assertKeptOut("invite (the code is unknown)", EMAIL, wrong)

    async def test_the_code_itself_is_not_stored(self) -> None:
        code = await self.invite() or ""
        [row] = await self.rows("invites")
        for written in (code, code.replace("-", ""), code.replace("-", "").upper()):
            self.assertNotIn(written, repr(row))
            self.assertNotIn(written.encode(), row["code_hash"])

    async def test_an_invite_ends_with_its_time(self) -> None:
        self.rule("invite")
        code = await self.invite(lifetime_ms=DAY_MS, uses=2)
        await self.invite(EMAIL, DAY_MS)
        self.clock.advance(DAY_MS / 1000 - 1.5)
        await self.sign_up("1@example.com", code)
        await self.assertKeptOut("invite (the code has expired)", EMAIL, code)
        await self.assertKeptOut("invite (there is none for this address)", EMAIL)

    async def test_an_invite_that_never_expires_does_not(self) -> None:
        self.rule("invite")
        code = await self.invite(lifetime_ms=None)
        self.clock.advance(100 * 365 * DAY_MS / 1000)
        await self.sign_up(code=code)

    async def test_a_refusal_is_logged_with_its_reason_and_no_code(self) -> None:
        self.rule("domains", "invite", domains=("example.org",))
        with capturedLogs() as logged:
            await self.assertRefused(999, self.sign_up(code="some-code"))
        [event] = [event for event in logged if event["log_format"] == "account.refused"]
        reasons = ["domains (addresses at this domain are not let in)", "invite (the code is unknown)"]
        self.assertEqual(event["reasons"], reasons)
        self.assertNotIn("some-code", repr(logged))


class ListTests(RegistrationCase):
    """Several rules: one that lets in is enough, and what costs least is taken."""

    async def test_each_rule_that_was_asked_is_told(self) -> None:
        self.rule("domains", "first", "invite", domains=("example.org",), first=1)
        await self.sign_up("1@example.com")
        await self.assertKeptOut(
            "domains (addresses at this domain are not let in), first (all places are taken), "
            "invite (the code is unknown)",
            code="x",
        )

    async def test_any_rule_is_enough(self) -> None:
        self.rule("invite", "first", "domains", domains=("example.org",), first=1)
        code = await self.invite()
        await self.sign_up("1@example.com")
        await self.sign_up("2@example.org")
        await self.sign_up("3@example.com", code)
        await self.assertKeptOut(
            "invite (the code is used up), first (all places are taken), "
            "domains (addresses at this domain are not let in)",
            code=code,
        )

    async def test_no_invite_is_used_where_something_else_lets_in(self) -> None:
        self.rule("invite", "first", "domains", domains=("example.org",), first=1)
        code = await self.invite(uses=2)
        await self.sign_up("1@example.org", code)
        await self.accounts.destroy("1@example.org", PW, self.client())
        await self.sign_up("2@example.com", code)
        self.assertEqual(await self.uses_left(), [2])
        await self.sign_up("3@example.com", code)
        self.assertEqual(await self.uses_left(), [1])

    async def test_an_invite_for_the_address_is_used_before_a_code(self) -> None:
        self.rule("invite")
        code = await self.invite()
        await self.invite(EMAIL)
        await self.sign_up(code=code)
        self.assertEqual(await self.uses_left(), [1, 0])


class OrderTests(RegistrationCase):
    """What is asked before the rules, and what after them."""

    async def test_the_abuse_policy_is_asked_first(self) -> None:
        self.rule("closed")
        self.customs.refusal = errors.too_many_requests(None)
        await self.assertRefused(114, self.sign_up())

    async def test_a_verified_account_is_told_on_every_server(self) -> None:
        """Clients go on to sign in then; a login tells everybody the same."""
        await self.sign_up(verified=True)
        for mode in ("closed", "invite", "domains"):
            self.rule(mode)
            await self.assertRefused(101, self.sign_up())
        self.assertEqual(self.stretcher.hashes, 1)

    async def test_an_unverified_account_is_replaced_only_by_somebody_who_is_let_in(self) -> None:
        made = await self.sign_up()
        self.rule("closed")
        await self.assertKeptOut("closed (no accounts are made here)")
        self.assertEqual((await self.live(made.session_token)).uid, made.uid)

    async def test_neither_a_token_nor_a_flag_that_verifies_the_address_lets_anybody_in(self) -> None:
        self.rule("invite")
        for verified, token in ((True, None), (False, "a.b.c")):
            await self.assertRefused(999, self.create(verified=verified, token=token))
        self.assertEqual(self.pre_verification.calls, [], "the token is not even looked at")


class RecreateTests(RegistrationCase):
    """An address whose account nobody verified signs up again."""

    async def test_the_invite_for_an_address_lets_it_in_again_for_nothing(self) -> None:
        self.rule("invite")
        await self.invite(EMAIL)
        uids = {(await self.sign_up()).uid for _ in range(3)}
        self.assertEqual((len(uids), await self.uses_left()), (3, [0]))
        self.assertEqual([row["uid"] for row in await self.rows("invite_uses")], [(await self.account()).uid])

    async def test_so_does_a_code_that_is_shown_again(self) -> None:
        self.rule("invite")
        code, other = await self.invite(), await self.invite()
        await self.sign_up(code=code)
        await self.assertKeptOut("invite (there is none for this address)")
        self.assertTrue((await self.sign_up(code=code)).replaced)
        await self.assertKeptOut("invite (the code is used up)", "other@example.com", code)
        self.assertTrue((await self.sign_up(code=other)).replaced)
        self.assertEqual(await self.uses_left(), [0, 0])
        await self.assertKeptOut("invite (the code is used up)", EMAIL, code)

    async def test_an_invite_that_was_revoked_or_has_expired_lets_nobody_in_again(self) -> None:
        self.rule("invite")
        await self.invite(EMAIL, None)
        await self.invite("other@example.com", DAY_MS)
        await self.sign_up()
        await self.sign_up("other@example.com")
        self.clock.advance(DAY_MS / 1000)
        self.assertEqual(len(await self.invitations.revoke(EMAIL)), 1)
        for email in (EMAIL, "other@example.com"):
            await self.assertKeptOut("invite (there is none for this address)", email)

    async def test_an_account_that_came_without_an_invite_needs_one_to_be_made_again(self) -> None:
        await self.sign_up()
        self.rule("invite")
        await self.assertKeptOut("invite (there is none for this address)")
        await self.invite(EMAIL)
        self.assertTrue((await self.sign_up()).replaced)
        self.assertEqual(await self.uses_left(), [0])

    async def test_the_account_that_is_replaced_holds_no_place(self) -> None:
        self.rule("first", first=2)
        await self.sign_up("other@example.com")
        for _ in range(3):
            await self.sign_up()
        await self.assertKeptOut("first (all places are taken)", "third@example.com")

    async def test_an_account_that_is_gone_gives_no_use_back(self) -> None:
        self.rule("invite")
        await self.invite(EMAIL)
        for verified in (False, True):
            await self.sign_up(verified=verified)
        await self.accounts.destroy(EMAIL, PW, self.client())
        await self.assertKeptOut("invite (there is none for this address)")

    async def test_one_that_nobody_verified_gives_the_invite_for_its_address_back(self) -> None:
        """Else whoever guesses an invited address could use the invite up: make an account, and remove it."""
        self.rule("invite")
        await self.invite(EMAIL)
        await self.sign_up()
        await self.accounts.destroy(EMAIL, PW, self.client())
        self.assertEqual(await self.uses_left(), [1])
        await self.sign_up()
        await self.sign_up(verified=True)
        self.assertEqual(await self.uses_left(), [0])

    async def test_an_operator_who_removes_it_gives_it_back_too(self) -> None:
        self.rule("invite")
        await self.invite(EMAIL)
        await self.sign_up()
        administration = Administration(self.store, self.customs, Lifetimes({}), self.clock, "api.example.com")
        self.assertTrue(await administration.delete(await self.account()))
        self.assertEqual(await self.uses_left(), [1])

    async def test_a_code_is_not_given_back(self) -> None:
        """Its holder could have mails sent to one address after another."""
        self.rule("invite")
        code = await self.invite()
        await self.sign_up(code=code)
        await self.accounts.destroy(EMAIL, PW, self.client())
        await self.assertKeptOut("invite (the code is used up)", EMAIL, code)


class FailureTests(RegistrationCase):
    """A create that fails costs nobody an invite."""

    async def setUp(self) -> None:
        await super().setUp()
        self.rule("invite")
        self.code = await self.invite(uses=3)

    async def test_one_that_is_refused_for_want_of_capacity(self) -> None:
        self.stretcher.gate = Deferred()
        self.stretcher.gate.errback(errors.service_unavailable())
        await self.assertRefused(201, self.sign_up(code=self.code))
        self.stretcher.gate = None
        self.assertEqual(await self.uses_left(), [3])

    async def test_one_whose_token_is_no_good(self) -> None:
        self.pre_verification.refusal = errors.invalid_verification_code()
        await self.assertRefused(105, self.create(token="a.b.c", invite_code=self.code))
        self.assertEqual(await self.uses_left(), [3])

    async def test_one_whose_mail_cannot_be_queued(self) -> None:
        sql = "CREATE TRIGGER broken BEFORE INSERT ON mails BEGIN SELECT RAISE(ABORT, 'broken'); END"
        await self.database.change([Statement(sql, {})])
        await self.assertFailure(Deferred.fromCoroutine(self.sign_up(code=self.code)), DatabaseUnavailable)
        self.assertEqual((await self.uses_left(), await self.rows("invite_uses")), ([3], []))

    async def test_one_that_finds_its_address_taken(self) -> None:
        for verified in (False, True):
            email = f"{verified}@example.com"
            calls = [self.create(email, verified=verified, invite_code=self.code) for _ in range(2)]
            _, counted = await outcomes(calls)
            self.assertEqual(counted, {200: 1, 101: 1})
        self.assertEqual(await self.uses_left(), [1])


class RaceContract(RegistrationCase):
    """Many creates that have all been let past the rules before the first of them makes its account."""

    async def race(self, codes: Sequence[str | None]) -> Counter[int]:
        """How often each errno came, of creates of as many addresses."""
        self.stretcher.gate = Deferred()
        hashes = self.stretcher.hashes + len(codes)
        calls = [self.create(f"{number}@example.com", invite_code=code) for number, code in enumerate(codes)]
        racing = Deferred.fromCoroutine(outcomes(calls))
        await self.hashing(hashes, racing)
        self.stretcher.gate.callback(None)
        self.stretcher.gate = None
        _, counted = await racing
        return counted

    async def hashing(self, hashes: int, under_way: Deferred[Any]) -> None:
        """Return when so many hashes have been asked for by what is under way."""
        while self.stretcher.hashes < hashes:
            self.assertFalse(under_way.called, "it has ended already")
            await self.rows("leases")

    async def assertAccounts(self, number: int) -> None:
        self.assertEqual(len(await self.rows("accounts")), number)

    async def test_of_twenty_with_a_single_use_one_wins(self) -> None:
        self.rule("invite")
        code = await self.invite()
        self.assertEqual(await self.race([code] * TOGETHER), {200: 1, 999: TOGETHER - 1})
        await self.assertAccounts(1)
        self.assertEqual(len(await self.rows("invite_uses")), 1)
        await self.assertKeptOut("invite (the code is used up)", EMAIL, code)

    async def test_of_twenty_with_three_uses_three_win(self) -> None:
        self.rule("invite")
        code = await self.invite(uses=3)
        self.assertEqual(await self.race([code] * TOGETHER), {200: 3, 999: TOGETHER - 3})
        await self.assertAccounts(3)

    async def test_of_twenty_who_want_the_first_three_places_three_get_them(self) -> None:
        self.rule("first", first=3)
        self.assertEqual(await self.race([None] * TOGETHER), {200: 3, 999: TOGETHER - 3})
        await self.assertAccounts(3)

    async def test_who_loses_the_last_place_may_still_use_an_invite(self) -> None:
        self.rule("first", "invite", first=1)
        code = await self.invite(uses=2)
        self.assertEqual(await self.race([code] * TOGETHER), {200: 3, 999: TOGETHER - 3})
        self.assertEqual(await self.uses_left(), [0])

    async def test_who_loses_is_told_which_rule_it_was(self) -> None:
        self.rule("domains", "invite", domains=("example.org",))
        code = await self.invite()
        self.stretcher.gate = gate = Deferred()
        loser = Deferred.fromCoroutine(self.create("loser@example.com", invite_code=code))
        await self.hashing(1, loser)
        self.stretcher.gate = None
        await self.sign_up(code=code)
        gate.callback(None)
        error = await self.assertFailure(loser, errors.ApiError)
        why = "domains (addresses at this domain are not let in), invite (the invite is used up)"
        self.assertEqual(error.message, f"Registration refused: {why}")
        await self.assertAccounts(1)

    async def test_an_invite_revoked_meanwhile_lets_nobody_in(self) -> None:
        self.rule("invite")
        await self.invite(EMAIL)
        made = await self.sign_up()
        self.stretcher.gate = gate = Deferred()
        again = Deferred.fromCoroutine(self.sign_up())
        await self.hashing(2, again)
        await self.invitations.revoke(EMAIL)
        gate.callback(None)
        error = await self.assertFailure(again, errors.ApiError)
        self.assertEqual(error.message, "Registration refused: invite (the invite has gone)")
        self.assertEqual((await self.account()).uid, made.uid)


class SqliteRaceTests(OnSqliteFile, RaceContract):
    """In an SQLite file."""


class PostgresRaceTests(OnPostgres, RaceContract):
    """On a PostgreSQL server."""


del RaceContract
