"""``fxa-auth invite`` as an operator types it."""

from __future__ import annotations

import argparse
import re
from datetime import UTC, datetime, timedelta
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from fxa_auth.commands.durations import duration_ms
from fxa_auth.invitecodes import code_hash
from fxa_auth.records import Invite
from tests.commands.operator import Outcome, StoreCase
from tests.store.contract import an_account, an_invite
from tests.test_cli import Operator

CODE = re.compile("code (([a-z2-7]{4}-){5}[a-z2-7]{4})")


class InviteTests(StoreCase):
    """Beside a server that invites."""

    family = "invite"

    async def setUp(self) -> None:
        self.settle(registration={"mode": ["invite"]})
        await self.change(lambda store: [])

    async def invites(self) -> list[Invite]:
        found: list[Invite] = await self.in_store(lambda store: store.invites.all())
        return found

    async def give(self, **fields: Any) -> str:
        """The id of an invite that is there."""
        invite = an_invite(**fields)
        hashed = code_hash("x") if invite.normalized_email is None else None
        await self.change(lambda store: [store.invites.add(invite, hashed)])
        return invite.id.hex()

    def assertEnds(self, invite: Invite, lifetime: timedelta) -> None:
        assert invite.expires_at_ms is not None
        self.assertEqual(invite.expires_at_ms - invite.created_at_ms, lifetime.total_seconds() * 1000)

    async def test_an_invite_for_an_address(self) -> None:
        made = await self.type("create", "--email", "Me@Example.com")
        [invite] = await self.invites()
        self.assertEnds(invite, timedelta(days=30))
        end = datetime.fromtimestamp((invite.expires_at_ms or 0) // 1000, UTC)
        told = f"invite {invite.id.hex()}: lets Me@Example.com make one account, until {end:%Y-%m-%dT%H:%M:%SZ}\n"
        self.assertEqual(made, Outcome(0, told, ""))
        self.assertEqual((invite.normalized_email, invite.uses, invite.uses_left), ("me@example.com", 1, 1))

    async def test_an_invite_by_code_shows_its_code_this_once(self) -> None:
        made = await self.type("create", "--uses", "5", "--expires", "never")
        [invite] = await self.invites()
        first, second = made.out.splitlines()
        self.assertEqual((made.code, made.err), (0, ""))
        self.assertEqual(first, f"invite {invite.id.hex()}: lets whoever has its code make 5 accounts, for ever")
        code = CODE.fullmatch(second)
        assert code is not None, second
        found = await self.in_store(lambda store: store.invites.matching("", code_hash(code[1])))
        self.assertEqual(found, [invite])
        self.assertEqual((invite.uses, invite.expires_at_ms), (5, None))
        self.assertNotIn(code[1], (await self.type("list")).out)

    async def test_who_has_an_account_is_not_invited(self) -> None:
        account = an_account(email_verified=True)
        await self.change(lambda store: [store.accounts.add(account, "address is free")])
        told = "fxa-auth: ME@example.com has an account already: there is nothing to invite its owner to\n"
        self.assertEqual(await self.type("create", "--email", "ME@example.com"), Outcome(1, "", told))
        self.assertEqual(await self.invites(), [])

    async def test_an_address_that_nobody_has_verified_may_be_invited(self) -> None:
        await self.change(lambda store: [store.accounts.add(an_account(), "address is free")])
        self.assertEqual((await self.type("create", "--email", "me@example.com")).code, 0)

    async def test_the_list_tells_what_has_become_of_each(self) -> None:
        year_3000_ms, year_2000_ms = 32_503_680_000_000, 946_684_800_000
        ids = [
            await self.give(created_at_ms=1, uses=3, uses_left=2, expires_at_ms=year_3000_ms),
            await self.give(created_at_ms=2, uses_left=0, normalized_email=None),
            await self.give(created_at_ms=3, expires_at_ms=year_2000_ms),
        ]
        expected = (
            f"{ids[0]}  me@example.com  1 of 3 used  until 3000-01-01T00:00:00Z\n"
            f"{ids[1]}  (by code)  1 of 1 used  for ever  used up\n"
            f"{ids[2]}  me@example.com  0 of 1 used  until 2000-01-01T00:00:00Z  expired\n"
        )
        self.assertEqual(await self.type("list"), Outcome(0, expected, ""))

    async def test_one_is_revoked_by_its_id_and_all_of_an_address_by_that(self) -> None:
        first, second, third = await self.give(), await self.give(), await self.give()
        await self.give(normalized_email="other@example.com")
        self.assertEqual(await self.type("revoke", first.upper()), Outcome(0, f"invite {first}: revoked\n", ""))
        revoked = await self.type("revoke", "ME@example.com")
        self.assertEqual(sorted(revoked.out.split()), sorted([*["invite", "revoked"] * 2, f"{second}:", f"{third}:"]))
        self.assertEqual([invite.normalized_email for invite in await self.invites()], ["other@example.com"])

    async def test_what_is_not_there_cannot_be_revoked(self) -> None:
        for name in ("00" * 8, "nobody@example.com"):
            told = f"fxa-auth: there is no invite {name}, and none for such an address\n"
            self.assertEqual(await self.type("revoke", name), Outcome(1, "", told))


class ClosedTests(StoreCase):
    """Beside a server that does not invite."""

    family = "invite"

    async def test_an_invite_is_made_all_the_same_and_the_operator_told_what_it_counts_for(self) -> None:
        self.settle()
        await self.change(lambda store: [])
        made = await self.type("create", "--email", "me@example.com")
        warning = (
            "fxa-auth: registration.mode is closed here: as long as the daemon's does not name invite, this counts for "
            "nothing\n"
        )
        self.assertEqual((made.code, made.err), (0, warning))
        self.assertIn("me@example.com", (await self.type("list")).out)


class RefusedTests(Operator):
    def test_what_makes_no_sense_is_refused(self) -> None:
        for argv, word in (
            (["create", "--email", "nobody"], "not an address"),
            (["create", "--email", "\udcff@example.com"], "not text"),
            (["create", "--uses", "0"], "not a number, 1 to 1,000,000"),
            (["create", "--uses", "1000001"], "not a number"),
            (["create", "--uses", "-1"], "not a number"),
            (["create", "--uses", "\u0663"], "not a number"),
            (["create", "--uses", "9" * 5000], "not a number"),
            (["create", "--expires", "soon"], "such as 12h or 7d"),
            (["revoke", "\udcff"], "not text"),
            (["revoke"], "required"),
        ):
            code, out, err = self.run_command("invite", *argv)
            self.assertEqual((code, out), (2, ""), argv)
            self.assertIn(word, err)

    def test_a_database_that_no_daemon_has_made_is_one_line(self) -> None:
        code, out, err = self.run_command("invite", "create", "--config", self.write("a.toml", ""))
        self.assertEqual((code, out, err.count("\n")), (1, "", 1))
        self.assertIn("database.url", err)


class DurationTests(SynchronousTestCase):
    def test_lengths_of_time(self) -> None:
        for text, length_ms in (("1min", 60_000), ("12h", 43_200_000), ("7d", 604_800_000), ("2w", 1_209_600_000)):
            self.assertEqual(duration_ms(text), length_ms, text)

    def test_what_is_none(self) -> None:
        for text in ("", "0d", "7", "d", "7 d", "7D", "-1d", "1.5h", "1m", "7d ", "36600000d", "9" * 5000 + "d", "٣d"):
            with self.assertRaises(argparse.ArgumentTypeError, msg=text):
                duration_ms(text)
