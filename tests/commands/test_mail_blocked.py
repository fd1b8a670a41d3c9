"""``fxa-auth mail blocked`` and ``unblock`` as an operator types them; beside a daemon: tests/acceptance."""

from __future__ import annotations

from twisted.internet import reactor

from fxa_auth.store import Store
from tests.commands.operator import Outcome, StoreCase
from tests.store.contract import an_account

HOUR_MS = 3_600_000
REPORTED_MS, REPORTED = 1_700_000_000_123, "2023-11-14T22:13:20Z"
UNTIL_MS, UNTIL = 4_102_444_800_000, "2100-01-01T00:00:00Z"


class BlockedTests(StoreCase):
    """Two accounts whose mail is blocked, one whose mail was, and one that had no trouble."""

    family = "mail"

    async def setUp(self) -> None:
        self.settle()
        await self.in_store(self.fill)

    async def fill(self, store: Store) -> None:
        now_ms = int(reactor.seconds() * 1000)  # type: ignore[attr-defined]
        for name, until_ms in (("One", UNTIL_MS), ("T\x1bwo", UNTIL_MS), ("Past", now_ms - HOUR_MS), ("Fine", None)):
            account = an_account(f"{name}@example.com", email_verified=True)
            steps = [store.accounts.add(account, "address is free")]
            if until_ms is not None:
                reported_ms = REPORTED_MS - len(name)
                steps.append(store.suppressions.add(account.uid, f"bounce: {name}", reported_ms, now_ms, until_ms))
            await store.change(*steps)

    async def test_blocked_lists_them_the_newest_report_first(self) -> None:
        expected = (
            "until                 since                 address  reason\n"
            f"{UNTIL}  {REPORTED}  One@example.com  bounce: One\n"
            f"{UNTIL}  {REPORTED}  T\\x1bwo@example.com  bounce: T\\x1bwo\n"
            "blocked: 2\n"
        )
        self.assertEqual(await self.type("blocked"), Outcome(0, expected, ""))

    async def test_unblock_says_whether_there_was_something_to_do(self) -> None:
        for said in ("gets mail again", "was not blocked"):
            self.assertEqual(
                await self.type("unblock", "ONE@example.com"), Outcome(0, f"ONE@example.com: {said}\n", "")
            )
        for address in ("past@example.com", "fine@example.com"):
            self.assertEqual(await self.type("unblock", address), Outcome(0, f"{address}: was not blocked\n", ""))
        self.assertEqual(
            (await self.type("blocked")).out.splitlines()[1:],
            [f"{UNTIL}  {REPORTED}  T\\x1bwo@example.com  bounce: T\\x1bwo", "blocked: 1"],
        )

    async def test_an_address_that_nobody_has_or_can_have_is_one_line(self) -> None:
        for address, shown in (
            ("nobody@example.com", "nobody@example.com"),
            ("\udcff@example.com", "\\udcff@example.com"),
        ):
            told = f"fxa-auth: no account has the address {shown}\n"
            self.assertEqual(await self.type("unblock", address), Outcome(1, "", told))
