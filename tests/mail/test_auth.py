"""Logging in to the mail server, by each mechanism; and that user and password are told to nobody else."""

from __future__ import annotations

import base64
import re
from typing import Any

from twisted.logger import capturedLogs

from fxa_auth.mail.failures import MailNotSent, Stage
from tests.mail.servers import PASSWORD, USER, SmtpTestCase, message

LOGIN = {"user": USER, "password": PASSWORD}


class AuthTests(SmtpTestCase):
    def assert_hidden(self, error: MailNotSent | None, events: list[Any]) -> None:
        """Neither user nor password are told, in no form that they are sent in."""
        told = [*self.told, *map(repr, events)]
        if error is not None:
            told += [str(error), repr(error), repr(error.args), repr(vars(error))]
        forms = {PASSWORD, USER}
        for plain in (PASSWORD, USER, f"\0{USER}\0{PASSWORD}", f"{USER}\0{USER}\0{PASSWORD}"):
            forms.add(base64.b64encode(plain.encode()).decode())
        for form in forms:
            self.assertNotIn(form, "\n".join(told))

    async def test_each_mechanism_logs_in(self) -> None:
        for mechanism, shown in (
            ("PLAIN", ["-> AUTH PLAIN ***"]),
            ("LOGIN", ["-> AUTH LOGIN", "-> ***", "-> ***"]),
            ("CRAM-MD5", ["-> AUTH CRAM-MD5", "-> ***"]),
        ):
            self.told.clear()
            peer = await self.peer(mechanisms=[mechanism], **LOGIN)
            with capturedLogs() as events:
                await self.sender(peer.port, **LOGIN).send(message())
            self.assertEqual((await peer.mail())["mechanism"], mechanism)
            self.assertEqual([line for line in self.told if "AUTH" in line[:7] or "***" in line], shown)
            self.assert_hidden(None, list(events))

    async def test_in_clear_the_one_is_taken_that_hides_the_password(self) -> None:
        peer = await self.peer(**LOGIN)
        await self.sender(peer.port, **LOGIN).send(message())
        self.assertEqual((await peer.mail())["mechanism"], "CRAM-MD5")

    async def test_without_a_user_no_credentials_are_sent(self) -> None:
        port, heard = self.scripted(b"220 hi", b"250-x\r\n250 AUTH PLAIN LOGIN", b"550 no", b"221 bye")
        await self.refused(self.sender(port, password=PASSWORD))
        self.assertEqual(heard[1], b"MAIL FROM:<accounts@example.com>")

    async def test_a_wrong_password_is_said_once_and_appears_nowhere(self) -> None:
        for mechanism in ("PLAIN", "LOGIN", "CRAM-MD5"):
            peer = await self.peer(user=USER, password="another", mechanisms=[mechanism])
            self.told.clear()
            with capturedLogs() as events:
                error = await self.refused(self.sender(peer.port, **LOGIN))
            self.assertEqual((error.code, error.server_failed, error.stage), (535, True, Stage.AUTH))
            self.assertEqual(
                (error.stage, error.reason), (Stage.AUTH, "AUTH refused: 5.7.8 Authentication credentials invalid")
            )
            self.assertEqual(len([line for line in self.told if line.startswith("-> AUTH")]), 1)
            self.assert_hidden(error, list(events))

    async def test_a_server_that_repeats_the_credentials_is_not_quoted(self) -> None:
        plain = base64.b64encode(f"\0{USER}\0{PASSWORD}".encode())
        other = base64.b64encode(f"{USER}\0{USER}\0{PASSWORD}".encode())
        password = base64.b64encode(PASSWORD.encode())
        for mechanism, answers in (
            (b"PLAIN", [b"500 AUTH PLAIN " + plain]),
            (b"PLAIN", [b"500 AUTH PLAIN " + plain[-20:]]),
            (b"PLAIN", [b"500 AUTH PLAIN " + plain.upper()]),
            (b"PLAIN", [b"500 " + other]),
            (b"PLAIN", [plain]),
            (b"PLAIN", [b"535 no user with " + PASSWORD.encode()]),
            (b"LOGIN", [b"334 VXNlcm5hbWU6", b"334 UGFzc3dvcmQ6", b"535 " + password]),
            (b"LOGIN", [b"334 VXNlcm5hbWU6", b"334 UGFzc3dvcmQ6", password]),
            (b"LOGIN", [b"334 VXNlcm5hbWU6", b"501 " + base64.b64encode(USER.encode())]),
            (b"CRAM-MD5", [b"334 PDEyMz4=", b"535 secret-user"]),
            (b"CRAM-MD5", [b"334 PDEyMz4=", b"235 welcome", b"550 " + plain]),
        ):
            self.told.clear()
            port, _ = self.scripted(b"220 hi", b"250-x\r\n250 auth " + mechanism, *answers, b"221 bye")
            with capturedLogs() as events:
                error = await self.refused(self.sender(port, **LOGIN))
            self.assertTrue(error.server_failed)
            self.assertTrue(re.search(r"\(not shown: it repeats the credentials\)|\*\*\*$", error.reason), error.reason)
            self.assert_hidden(error, list(events))

    async def test_keywords_are_of_any_case_and_empty_lines_do_no_harm(self) -> None:
        port, heard = self.scripted(b"220 hi", b"250-x\r\n250-\r\n250 Auth plain", b"235 ok", b"550 no", b"221 bye")
        error = await self.refused(self.sender(port, user="u", password="p"))
        self.assertEqual((error.code, error.stage), (550, Stage.MAIL))
        self.assertTrue(heard[1].startswith(b"AUTH PLAIN "), heard)

    async def test_the_name_of_a_server_is_no_offer(self) -> None:
        port, server = self.scripts([b"220 hi", b"250-AUTH PLAIN\r\n250 SIZE", b"221 bye"])
        error = await self.refused(self.sender(port, **LOGIN))
        self.assertEqual(error.stage, Stage.AUTH)
        await self.quits(server, 1)

    async def test_a_server_that_cannot_authenticate_gets_no_mail(self) -> None:
        for offer, offered in ((b"250 x", "no AUTH at all"), (b"250-x\r\n250 AUTH GSSAPI Ntlm", "GSSAPI NTLM")):
            port, server = self.scripts([b"220 hi", offer, b"221 bye"])
            error = await self.refused(self.sender(port, **LOGIN))
            self.assertEqual(error.reason, f"the server offers none of CRAM-MD5, PLAIN, LOGIN, but {offered}")
            self.assertEqual((error.code, error.server_failed, error.stage), (None, True, Stage.AUTH))
            await self.quits(server, 1)

    async def test_a_server_that_asks_without_end_is_left(self) -> None:
        asks = [b"334 VXNlcm5hbWU6"] * 4
        port, server = self.scripts([b"220 hi", b"250-x\r\n250 AUTH LOGIN", *asks, b"221 bye"])
        error = await self.refused(self.sender(port, **LOGIN))
        self.assertEqual((error.reason, error.stage), ("AUTH failed: the server makes no sense", Stage.AUTH))
        await self.quits(server, 5)

    async def test_a_challenge_that_is_no_base64_is_declined(self) -> None:
        port, server = self.scripts([b"220 hi", b"250-x\r\n250 AUTH CRAM-MD5", b"334 x", b"501 ok", b"221 bye"])
        error = await self.refused(self.sender(port, **LOGIN))
        self.assertEqual((error.reason, server.heard[2]), ("AUTH failed: the server makes no sense", b"*"))
        await self.quits(server, 3)
