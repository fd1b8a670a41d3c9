"""``fxa-auth account`` as an operator types it, on a database that nobody else uses, and beside a daemon."""

from __future__ import annotations

import os
import pty
from dataclasses import replace

from twisted.internet import reactor
from twisted.trial.unittest import SynchronousTestCase

from fxa_auth.records import Account, TokenKind
from fxa_auth.tokens import TokenKeys
from tests.acceptance.daemon import started
from tests.acceptance.wire import Token, Wire, credentials, new_email
from tests.commands.operator import Outcome, StoreCase, run_command
from tests.store.contract import a_letter, an_account, keys

CREATED_AT_MS = 1_700_000_000_123
CREATED = "2023-11-14T22:13:20Z"


class AccountTests(StoreCase):
    """One account, its address unverified."""

    family = "account"

    async def setUp(self) -> None:
        self.settle()
        self.account = an_account(created_at_ms=CREATED_AT_MS, locale="de-CH")
        await self.change(lambda store: [store.accounts.add(self.account, "address is free")])

    async def stored(self) -> Account | None:
        found: Account | None = await self.in_store(lambda store: store.accounts.by_uid(self.account.uid))
        return found

    async def assertSays(self, line: str, *argv: str) -> None:
        self.assertEqual(await self.type(*argv), Outcome(0, f"{self.name}: {line}\n", ""), argv)

    @property
    def name(self) -> str:
        return f"Me@example.com (uid {self.account.uid.hex()})"

    async def give_tokens(self) -> list[TokenKeys]:
        session, key_fetch, forgot = (
            keys(kind) for kind in (TokenKind.SESSION, TokenKind.KEY_FETCH, TokenKind.PASSWORD_FORGOT)
        )
        now_ms = int(reactor.seconds() * 1000)  # type: ignore[attr-defined]
        await self.change(
            lambda store: [
                store.tokens.add(session, self.account, CREATED_AT_MS, "account is there"),
                store.tokens.add(key_fetch, self.account, CREATED_AT_MS, "account is there", b"b" * 96),
                store.tokens.add_single(forgot, self.account.uid, now_ms + 10**8, "account is there", b"p" * 16, 3),
                store.mails.queue(a_letter(self.account), CREATED_AT_MS),
            ]
        )
        return [session, key_fetch, forgot]

    async def test_show_prints_what_is_known(self) -> None:
        shown = await self.type("show", "me@example.com")
        expected = (
            f"uid             {self.account.uid.hex()}\n"
            "address         Me@example.com\n"
            "verified        no\n"
            f"created         {CREATED}\n"
            f"password set    {CREATED}, verifier version 1\n"
            "locale          de-CH\n"
            "locked          no\n"
            "sessions        none\n"
            "waiting tokens  none\n"
            "queued mails    none\n"
            "dead letters    none\n"
            "mail blocked    no\n"
        )
        self.assertEqual(shown, Outcome(0, expected, ""))

    async def test_show_counts_what_belongs_to_the_account_and_prints_no_secret(self) -> None:
        tokens = await self.give_tokens()
        await self.change(lambda store: [store.accounts.lock(self.account.uid, CREATED_AT_MS, b"u" * 16)])
        shown = await self.type("show", self.account.uid.hex().upper())
        self.assertEqual((shown.code, shown.err), (0, ""))
        rows = {line[:16].strip(): line[16:] for line in shown.out.splitlines()}
        self.assertEqual(rows["locked"], f"since {CREATED}")
        self.assertEqual(rows["sessions"], f"1 (oldest {CREATED})")
        kinds = rf"keyFetchToken 1 \(oldest {CREATED}\), passwordForgotToken 1 \(oldest \S+Z\)"
        self.assertRegex(rows["waiting tokens"], f"^{kinds}$")
        self.assertEqual(rows["queued mails"], f"1 (oldest {CREATED})")
        verifier = self.account.verifier
        secrets = [self.account.email_code, self.account.ka, b"u" * 16, b"p" * 16, b"b" * 96]
        secrets += [verifier.verify_hash, verifier.wrap_wrap_kb, verifier.auth_salt]
        for token in tokens:
            secrets += [token.data, token.id, token.id_hash, token.auth_key]
        for secret in secrets:
            self.assertNotIn(secret.hex()[:16], shown.out)

    async def test_show_tells_of_blocked_mail(self) -> None:
        until_ms = 4_102_444_800_000
        await self.change(
            lambda store: [
                store.accounts.verify_email(self.account.uid),
                store.suppressions.add(self.account.uid, "bounce: Permanent", CREATED_AT_MS, CREATED_AT_MS, until_ms),
            ]
        )
        shown = await self.type("show", "me@example.com")
        self.assertIn("mail blocked    until 2100-01-01T00:00:00Z (bounce: Permanent)\n", shown.out)

    async def test_what_a_client_chose_does_not_steer_the_terminal(self) -> None:
        sly = an_account("\x9b2J\u202e\u00e9@example.com", locale="a\x1b[2J")
        await self.change(lambda store: [store.accounts.add(sly, "address is free")])
        shown = await self.type("show", sly.uid.hex())
        self.assertIn("address         \\x9b2J\\u202e\u00e9@example.com\n", shown.out)
        self.assertIn("locale          a\\x1b[2J\n", shown.out)
        plain = await self.type("show", sly.uid.hex(), environ={"PYTHONIOENCODING": "ascii"})
        self.assertIn("address         \\x9b2J\\u202e\\xe9@example.com\n", plain.out)

    async def test_verify_says_whether_there_was_something_to_do(self) -> None:
        await self.assertSays("verified", "verify", "ME@example.com")
        await self.assertSays("was verified already", "verify", "ME@example.com")
        self.assertEqual(await self.stored(), replace(self.account, email_verified=True))

    async def test_unlock_says_whether_there_was_something_to_do(self) -> None:
        await self.assertSays("was not locked", "unlock", "me@example.com")
        await self.change(lambda store: [store.accounts.lock(self.account.uid, 1, b"u" * 16)])
        await self.assertSays("unlocked", "unlock", "me@example.com")
        self.assertEqual(await self.stored(), self.account)

    async def test_unlock_asks_the_customs_server_to_forget_but_does_not_depend_on_it(self) -> None:
        await self.change(lambda store: [store.accounts.lock(self.account.uid, 1, b"u" * 16)])
        outcome = await self.type("unlock", "me@example.com", environ={"CUSTOMS_SERVER_URL": "http://127.0.0.1:1"})
        self.assertEqual((outcome.code, outcome.out), (0, f"{self.name}: unlocked\n"))
        self.assertIn("customs.unavailable", outcome.err)
        self.assertEqual(await self.stored(), self.account)

    async def test_sign_out_says_how_many_sessions_it_ended(self) -> None:
        await self.give_tokens()
        await self.assertSays("sessions ended: 1, keyFetchTokens removed: 1", "sign-out", "me@example.com")
        await self.assertSays("sessions ended: 0, keyFetchTokens removed: 0", "sign-out", "me@example.com")

    async def test_delete_removes_the_account(self) -> None:
        await self.assertSays("removed", "delete", "--yes", "me@example.com")
        self.assertIsNone(await self.stored())

    async def test_delete_refuses_where_it_cannot_ask(self) -> None:
        outcome = await self.type("delete", "me@example.com")
        self.assertEqual((outcome.code, outcome.out), (1, ""))
        self.assertRegex(outcome.err, "^fxa-auth: account delete asks .*: give --yes\n$")
        self.assertEqual(await self.stored(), self.account)

    async def test_delete_asks_on_a_terminal(self) -> None:
        for answer, code, out, err, stays in (
            ("n", 1, "", "fxa-auth: nothing was removed\n", True),
            ("", 1, "", "fxa-auth: nothing was removed\n", True),
            ("\x04", 130, "\n", "fxa-auth: interrupted, nothing was removed\n", True),
            ("y", 0, f"{self.name}: removed\n", "", False),
        ):
            terminal, keyboard = pty.openpty()
            self.addCleanup(os.close, terminal)
            os.write(terminal, answer.encode() + b"\n")
            try:
                outcome = await self.type("delete", "me@example.com", stdin=keyboard)
            finally:
                os.close(keyboard)
            question = "This removes the account me@example.com and all that belongs to it, for good.\n"
            self.assertEqual(outcome, Outcome(code, f"{question}Remove it? [y/N] {out}", err), answer)
            self.assertEqual(await self.stored() is not None, stays, answer)

    async def test_an_unknown_account_is_one_line(self) -> None:
        for action in (["show"], ["verify"], ["unlock"], ["sign-out"], ["delete", "--yes"]):
            outcome = await self.type(*action, "nobody@example.com")
            told = "fxa-auth: no account has the address or uid nobody@example.com\n"
            self.assertEqual(outcome, Outcome(1, "", told), action)

    async def test_an_argument_that_is_no_text_is_refused(self) -> None:
        outcome = await self.type("show", "\udcff@example.com")
        self.assertEqual((outcome.code, outcome.out), (2, ""))
        self.assertIn("not text", outcome.err)

    async def test_another_sealing_key_is_one_line(self) -> None:
        (self.folder / "sealing.key").write_text(os.urandom(32).hex())
        outcome = await self.type("show", "me@example.com")
        self.assertEqual((outcome.code, outcome.out, outcome.err.count("\n")), (1, "", 1), outcome)
        self.assertTrue(outcome.err.startswith("fxa-auth: sealingKeys = ["), outcome.err)
        self.assertNotIn("database.url", outcome.err)


class BesideADaemonTests(SynchronousTestCase):
    """What an operator does, a running daemon sees at once."""

    def setUp(self) -> None:
        self.daemon = started(self)
        self.wire = Wire(self.daemon)
        self.email = new_email()
        answer = self.wire.post("/account/create", credentials(self.email))
        self.session = Token.of(answer)

    def type(self, *argv: str) -> None:
        environ = {"DATABASE_URL": self.daemon.database_url}
        outcome = run_command(self.daemon.folder, "account", *argv, environ=environ)
        self.assertEqual((outcome.code, outcome.err), (0, ""), outcome)

    def test_verify_sign_out_and_delete(self) -> None:
        self.assertFalse(self.wire.get("/recovery_email/status", self.session).body["verified"])
        self.type("verify", self.email)
        self.assertTrue(self.wire.get("/recovery_email/status", self.session).body["verified"])
        self.type("sign-out", self.email)
        self.assertEqual(self.wire.get("/recovery_email/status", self.session).outcome, (401, 110))
        self.assertEqual(self.wire.post("/account/login", credentials(self.email)).outcome, (200, 0))
        self.type("delete", "--yes", self.email)
        self.assertEqual(self.wire.post("/account/login", credentials(self.email)).outcome, (400, 102))

    def test_unlock(self) -> None:
        self.assertEqual(self.wire.post("/account/lock", credentials(self.email)).outcome, (200, 0))
        self.assertEqual(self.wire.post("/account/login", credentials(self.email)).outcome, (400, 121))
        self.type("unlock", self.email)
        self.assertEqual(self.wire.post("/account/login", credentials(self.email)).outcome, (200, 0))
