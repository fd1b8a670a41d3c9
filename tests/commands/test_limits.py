"""``fxa-auth limits`` and ``fxa-auth ban`` as an operator types them, on a database that nobody else uses."""

from __future__ import annotations

import argparse
import io
import json
import os
from contextlib import redirect_stderr
from pathlib import Path
from typing import Any

from twisted.internet import reactor
from twisted.internet.threads import deferToThread
from twisted.trial.unittest import SynchronousTestCase, TestCase

from fxa_auth.commands import ban, limits
from fxa_auth.commands.running import shown_time
from fxa_auth.config import Layer, load
from fxa_auth.records import Counted
from fxa_auth.storage import Storage
from tests.commands.operator import Outcome, run_command

EMAIL, OTHER = "me@example.com", "other@example.com"
MIN_MS, HOUR_MS = 60_000, 3_600_000
TIME = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ"


class CommandCase(TestCase):
    """A database that a daemon has made."""

    async def setUp(self) -> None:
        self.settle()
        self.configure()
        await self.in_store(self.nothing)

    def settle(self) -> None:
        self.folder = Path(self.mktemp()).absolute()
        self.folder.mkdir()

    def configure(self, **more: Any) -> None:
        self.values = {
            "database": {"url": f"sqlite:///{self.folder / 'accounts.sqlite'}"},
            "sealingKeys": [str(self.folder / "sealing.key")],
            **more,
        }
        (self.folder / "settings.json").write_text(json.dumps(self.values))

    async def nothing(self, store: Any) -> None:
        pass

    async def in_store(self, work: Any) -> Any:
        storage = Storage(load([Layer("settings.json", self.values)], {}).settings, reactor)
        await storage.open()
        storage.unseal()
        try:
            return await work(storage.store)
        finally:
            await storage.close()

    async def type(self, *argv: str) -> Outcome:
        return await deferToThread(run_command, self.folder, *argv, "--config", "settings.json")

    async def assertSays(self, lines: list[str], *argv: str) -> None:
        self.assertEqual(await self.type(*argv), Outcome(0, "".join(f"{line}\n" for line in lines), ""), argv)


class LimitsTests(CommandCase):
    async def setUp(self) -> None:
        await super().setUp()
        self.now_ms = int(reactor.seconds() * 1000)  # type: ignore[attr-defined]
        await self.in_store(self.count)

    async def count(self, store: Any) -> None:
        """Three failed logins and one from elsewhere, two mails, and something that is no longer of interest."""

        async def fail(email: str, client: str, age_ms: int) -> None:
            event, at_ms = Counted("logins", email, client, os.urandom(16)), self.now_ms - age_ms
            await store.limits.settle(event, at_ms, since_ms=0, most=1, expires_at_ms=at_ms + HOUR_MS)

        async def ask_for_mail(email: str, age_ms: int) -> None:
            event, at_ms = Counted("mails", email, "", os.urandom(16)), self.now_ms - age_ms
            await store.limits.take_in(
                event, at_ms, room=9, since_ms=0, leased_until_ms=None, expires_at_ms=at_ms + HOUR_MS
            )

        for age_ms in (5 * MIN_MS, 3 * MIN_MS, 2 * MIN_MS):
            await fail(EMAIL, "192.0.2.7", age_ms)
        await fail(EMAIL, "2001:db8::/64", MIN_MS)
        await fail(OTHER, "192.0.2.7", 40 * MIN_MS)
        await ask_for_mail(OTHER, 20 * MIN_MS)
        await ask_for_mail(EMAIL, 4 * MIN_MS)

    def until(self, age_ms: int, window_ms: int = 15 * MIN_MS) -> str:
        return shown_time(self.now_ms - age_ms + window_ms)

    async def test_show_tells_rule_count_and_until_when(self) -> None:
        mails = f"mails   {EMAIL}: 1 (limit 3), counted until {self.until(4 * MIN_MS)}"
        lockout = f"lockout {EMAIL}: 4 (limit 20), counted until {self.until(MIN_MS, 3 * HOUR_MS)}"
        lockout_other = f"lockout {OTHER}: 1 (limit 20), counted until {self.until(40 * MIN_MS, 3 * HOUR_MS)}"
        here = f"logins  {EMAIL} from 192.0.2.7: 3 (limit 2), limited until {self.until(2 * MIN_MS)}"
        there = f"logins  {EMAIL} from 2001:db8::/64: 1 (limit 2), counted until {self.until(MIN_MS)}"
        await self.assertSays([mails, lockout, lockout_other, here, there], "limits", "show")
        await self.assertSays([here], "limits", "show", "--ip", "::ffff:192.0.2.7")
        await self.assertSays(
            [mails, lockout, there], "limits", "show", "--ip", "2001:db8::7", "--email", "ME@example.com"
        )

    async def test_show_goes_by_the_rules_of_the_settings(self) -> None:
        self.configure(limits={"logins": {"max": 0, "reportOnly": True}, "lockout": {"max": 3}})
        shown = (await self.type("limits", "show", "--email", EMAIL)).out
        self.assertRegex(shown, rf"lockout {EMAIL}: 4 \(limit 3\), over the limit until {TIME}\n")
        self.assertRegex(shown, rf"{EMAIL} from 2001:db8::/64: 1 \(limit 0\), limited until {TIME} \(report only\)\n")

    async def test_clear_forgets_what_was_asked_for(self) -> None:
        for options, forgotten in (
            (("--ip", "2001:db8::5"), 1),
            (("--email", "Me@example.com"), 4),
            (("--all",), 2),
        ):
            await self.assertSays([f"counts forgotten: {forgotten}"], "limits", "clear", *options)
        await self.assertSays(["Nothing is counted."], "limits", "show")

    async def test_clear_forgets_everything_only_if_told_so(self) -> None:
        outcome = await self.type("limits", "clear")
        self.assertEqual((outcome.code, outcome.out), (1, ""))
        self.assertIn("say --all", outcome.err)
        await self.assertSays(["counts forgotten: 7"], "limits", "clear", "--all")


class BanTests(CommandCase):
    async def test_a_ban_is_added_listed_and_removed(self) -> None:
        added = await self.type("ban", "add", "192.0.2.99/24", "--for", "2h", "--reason", "spam \x1b[2J")
        self.assertRegex(added.out, rf"^ban     192\.0\.2\.0/24: until {TIME} \(spam \\x1b\[2J\)\n$")
        self.assertEqual((added.code, added.err), (0, ""))
        other = await self.type("ban", "add", "Me@Example.com")
        self.assertRegex(other.out, rf"^ban     me@example\.com: until {TIME}\n$")
        self.assertEqual(await self.in_store(self.lengths_ms), [2 * HOUR_MS, 24 * HOUR_MS])
        await self.assertSays((added.out + other.out).splitlines(), "ban", "list")
        self.assertIn(added.out, (await self.type("limits", "show", "--ip", "192.0.2.7")).out)
        await self.assertSays(["192.0.2.0/24: the ban is lifted"], "ban", "remove", "192.0.2.0/24")
        again = await self.type("ban", "remove", "192.0.2.0/24")
        self.assertEqual(again, Outcome(1, "", "fxa-auth: there is no ban on 192.0.2.0/24; see fxa-auth ban list\n"))
        await self.type("limits", "clear", "--all")
        await self.assertSays(["me@example.com: the ban is lifted"], "ban", "remove", "me@example.com")
        await self.assertSays(["Nobody is banned."], "ban", "list")

    async def lengths_ms(self, store: Any) -> list[int]:
        return [ban.expires_at_ms - ban.banned_at_ms for ban in await store.bans.in_force(0)]

    async def test_settings_say_how_long_a_ban_lasts_and_whether_it_is_heeded(self) -> None:
        self.configure(customsUrl="none", limits={"bans": {"length": 60_000}})
        added = await self.type("ban", "add", EMAIL)
        self.assertEqual(added.code, 0)
        self.assertRegex(added.err, '^fxa-auth: customsUrl = "none": .*builtin')
        self.assertEqual(await self.in_store(self.lengths_ms), [60_000])
        self.configure(limits={"bans": {"reportOnly": True}})
        self.assertIn("limits.bans.reportOnly", (await self.type("ban", "list")).err)


class ArgumentTests(SynchronousTestCase):
    """What is typed, before anything is opened."""

    def setUp(self) -> None:
        self.parser = argparse.ArgumentParser()
        subparsers = self.parser.add_subparsers()
        limits.add_parser(subparsers)
        ban.add_parser(subparsers)

    def test_what_is_banned(self) -> None:
        for argument, subject in (
            ("Me@Example.com", "me@example.com"),
            ("192.0.2.7", "00000000000000000000ffffc0000207/128"),
            ("192.0.2.7/24", "00000000000000000000ffffc0000200/120"),
            ("2001:db8::7", "20010db8000000000000000000000000/64"),
        ):
            self.assertEqual(self.parser.parse_args(["ban", "add", argument]).subject, subject)
            self.assertEqual(self.parser.parse_args(["ban", "remove", argument]).subject, subject)

    def test_what_makes_no_sense_is_refused(self) -> None:
        for argv, complaint in (
            (("ban", "add", "example.com"), "neither a mail address nor an IP address or network"),
            (("ban", "add", "192.0.2.0/33"), "neither a mail address"),
            (("ban", "remove", "@"), "neither a mail address"),
            (("ban", "add", "\udcff@example.com"), "not text"),
            (("ban", "add", EMAIL, "--for", "2"), "is not a number of min, h, d or w"),
            (("ban", "add", EMAIL, "--reason", "\udcff"), "not text"),
            (("limits", "show", "--ip", "example.com"), "is not an IP address"),
            (("limits", "clear", "--ip", "192.0.2.0/24"), "is not an IP address"),
            (("limits", "show", "--email", "\udcff"), "not text"),
        ):
            said = io.StringIO()
            with redirect_stderr(said), self.assertRaises(SystemExit) as left:
                self.parser.parse_args(argv)
            self.assertEqual(left.exception.code, 2, argv)
            self.assertIn(complaint, said.getvalue())
