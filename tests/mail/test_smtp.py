"""The SMTP client against a server that is not ours (aiosmtpd in a child process) and against ill-behaved ones."""

from __future__ import annotations

import base64
import json
import os
import re
import sys
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path
from typing import Any, cast

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from hypothesis import given
from hypothesis import strategies as st
from twisted.internet import reactor
from twisted.internet.defer import Deferred, DeferredQueue
from twisted.internet.error import ProcessTerminated
from twisted.internet.protocol import Factory, ProcessProtocol, connectionDone
from twisted.internet.task import deferLater
from twisted.logger import capturedLogs
from twisted.protocols.basic import LineReceiver
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase, TestCase

from fxa_auth.mail.compose import Message
from fxa_auth.mail.smtp import MailNotSent, SmtpSender, stuffed

PASSWORD = "s3cr3t-pässword"
TIMEOUT_S = 20.0


def message(content: bytes = b"Subject: x\r\n\r\nhello\r\n", to: str = "bob") -> Message:
    return Message("accounts@example.com", f"{to}@example.com", content)


class Peer(ProcessProtocol):
    """``smtp_peer.py`` in a child process: the lines it prints, and its end."""

    def __init__(self) -> None:
        self.lines: DeferredQueue[str] = DeferredQueue()
        self.ended: Deferred[None] = Deferred()
        self.port = 0
        self._rest = b""
        self._errors = b""

    async def start(self, **arguments: str) -> None:
        script = str(Path(__file__).with_name("smtp_peer.py"))
        command = [sys.executable, script, json.dumps(arguments)]
        reactor.spawnProcess(self, sys.executable, command, env=os.environ)
        self.port = int(await self.lines.get())

    async def mail(self) -> dict[str, Any]:
        mail: dict[str, Any] = json.loads(await self.lines.get())
        mail["content"] = base64.b64decode(mail["content"])
        return mail

    def stop(self) -> Deferred[None]:
        if not self.ended.called:
            self.transport.signalProcess("KILL")
        return self.ended

    def outReceived(self, data: bytes) -> None:
        *lines, self._rest = (self._rest + data).split(b"\n")
        for line in lines:
            self.lines.put(line.decode())

    def errReceived(self, data: bytes) -> None:
        self._errors += data

    def processEnded(self, reason: Failure) -> None:
        self.ended.callback(None)
        if not self.port:
            self.lines.put(f"not started: {self._errors.decode()}")
        assert reason.check(ProcessTerminated), reason


class Script(LineReceiver):
    """A server that answers the n-th line with the n-th of its answers and thereafter with nothing."""

    def __init__(self, answers: list[bytes], heard: list[bytes]) -> None:
        self.answers = answers
        self.heard = heard

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self.heard.append(b"(connection lost)")

    def connectionMade(self) -> None:
        self.answer()

    def lineReceived(self, line: bytes) -> None:
        self.heard.append(line)
        self.answer()

    def answer(self) -> None:
        if self.answers:
            answer = self.answers.pop(0)
            if answer == b"CLOSE":
                self.transport.loseConnection()
            elif answer:
                self.sendLine(answer)


class SmtpTestCase(TestCase):
    timeout = 60

    async def peer(self, **arguments: str) -> Peer:
        peer = Peer()
        self.addCleanup(peer.stop)
        await peer.start(**arguments)
        return peer

    def scripted(self, *answers: bytes) -> tuple[int, list[bytes]]:
        """The port of a server that gives these answers, and what it hears."""
        heard: list[bytes] = []
        factory = Factory.forProtocol(lambda: Script(list(answers), heard))
        factory.noisy = False
        port = reactor.listenTCP(0, factory, interface="127.0.0.1")
        self.addCleanup(port.stopListening)
        return port.getHost().port, heard

    def sender(
        self, port: int, secure: bool = False, user: str = "", password: str = "", timeout_s: float = TIMEOUT_S
    ) -> SmtpSender:
        return SmtpSender(reactor, "127.0.0.1", port, secure, user, password, timeout_s)

    async def refused(self, sender: SmtpSender, mail: Message | None = None) -> MailNotSent:
        sending = Deferred.fromCoroutine(sender.send(mail or message()))
        return cast(MailNotSent, await self.assertFailure(sending, MailNotSent))


class DeliveryTests(SmtpTestCase):
    async def test_a_message_arrives_byte_for_byte(self) -> None:
        peer = await self.peer()
        sender = self.sender(peer.port)
        for content in (
            b"Subject: x\r\n\r\nhello\r\n",
            b".\r\n",
            b".leads\r\n",
            b"..\r\n.\r\n\r\n.\r\n...\r\n",
            b"x: y\r\n\r\n" + b"z" * 900 + b"\r\n",
            *(b"x" * 900 + b"\r\n" + b"y" * (size % 900) + b"\r\n.\r\nend\r\n" for size in range(5)),
            b"".join(b"%060d\r\n.\r\n" % number for number in range(20_000)),
        ):
            await sender.send(message(content))
            mail = await peer.mail()
            self.assertEqual(mail["content"], content)
            self.assertEqual((mail["sender"], mail["recipients"]), ("accounts@example.com", ["bob@example.com"]))

    async def test_a_lone_dot_at_each_place_around_16384_bytes_arrives(self) -> None:
        peer = await self.peer()
        sender = self.sender(peer.port)
        lines = (b"x" * 126 + b"\r\n") * 127
        for shift in range(120, 130):
            content = lines + b"y" * shift + b"\r\n.\r\nRCPT TO:<eve@example.com>\r\n"
            await sender.send(message(content))
            self.assertEqual((await peer.mail())["content"], content)

    async def test_lines_ended_by_lf_alone_are_mended(self) -> None:
        peer = await self.peer()
        await self.sender(peer.port).send(message(b"a: b\n\n.x\n.\ry"))
        self.assertEqual((await peer.mail())["content"], b"a: b\r\n\r\n.x\r\n.\r\ny\r\n")

    async def test_a_quoted_local_part_is_understood(self) -> None:
        peer = await self.peer()
        await self.sender(peer.port).send(message(to='"a..b"'))
        self.assertEqual((await peer.mail())["recipients"], ["a..b@example.com"])

    async def test_refusals_carry_the_servers_code_and_words(self) -> None:
        peer = await self.peer()
        for to, code, text, for_good in (
            ("busy", 451, "4.3.0 Come back later", False),
            ("nobody", 550, "5.1.1 No such?[31m user", True),
            ("spam", 554, "5.7.1 I do not like it", False),
        ):
            error = await self.refused(self.sender(peer.port), message(to=to))
            self.assertEqual((error.code, error.reason, error.server_failed), (code, text, False))
            self.assertIs(error.for_good, for_good)
            self.assertEqual(str(error), f"{code} {text}")

    async def test_a_connection_lost_halfway_is_not_held_against_other_mails(self) -> None:
        peer = await self.peer()
        error = await self.refused(self.sender(peer.port), message(to="drop"))
        self.assertEqual((error.code, error.server_failed), (None, False))
        self.assertIn("connection lost", error.reason)

    async def test_a_server_that_falls_silent_is_left_at_the_time_limit(self) -> None:
        peer = await self.peer()
        error = await self.refused(self.sender(peer.port, timeout_s=0.3), message(to="mute"))
        self.assertEqual((error.code, error.reason, error.server_failed), (None, "no end after 0.3 s", False))

    async def test_an_address_outside_ascii_is_refused_without_a_connection(self) -> None:
        port, heard = self.scripted(b"220 hello")
        for address in ("é@example.com", "bob@exämple.com", "a>b@example.com", "a b@example.com", "a\r\n@example.com"):
            for mail, for_good in (
                (Message("a@example.com", address, b""), True),
                (Message(address, "a@example.com", b""), False),
            ):
                error = await self.refused(self.sender(port), mail)
                self.assertEqual((error.code, error.server_failed, error.for_good), (553, False, for_good))
        self.assertEqual(heard, [])

    async def test_only_a_mailbox_that_does_not_exist_is_for_good(self) -> None:
        greeted, taken = [b"220 hi", b"250 x"], b"250 ok"
        data = [b"354 go", *[b""] * 3]
        for answers, for_good in (
            ([b"554 go away"], False),
            ([*greeted, b"550 not you"], False),
            ([*greeted, b"451 later"], False),
            ([*greeted, taken, b"550 no"], True),
            ([*greeted, taken, b"550 5.1.1 no such user"], True),
            ([*greeted, taken, b"553 5.1.2 no such domain"], True),
            ([*greeted, taken, b"550 5.7.1 relaying denied"], False),
            ([*greeted, taken, b"530 5.7.0 authenticate first"], False),
            ([*greeted, taken, b"554 relay access denied"], False),
            ([*greeted, taken, b"450 later"], False),
            ([*greeted, taken, b"CLOSE"], False),
            ([*greeted, taken, b"oops"], False),
            ([*greeted, taken, taken, b"554 no"], False),
            ([*greeted, taken, taken, b"451 later"], False),
            ([*greeted, taken, taken, *data, b"550 no such user"], True),
            ([*greeted, taken, taken, *data, b"552 no"], False),
            ([*greeted, taken, taken, *data, b"452 full"], False),
        ):
            port, _ = self.scripted(*answers, b"221 bye")
            error = await self.refused(self.sender(port))
            self.assertIs(error.for_good, for_good, answers)


class IllBehavedServerTests(SmtpTestCase):
    async def test_nobody_listening(self) -> None:
        port = reactor.listenTCP(0, Factory(), interface="127.0.0.1")
        number = port.getHost().port
        await port.stopListening()
        error = await self.refused(self.sender(number))
        self.assertEqual((error.code, error.server_failed), (None, True))
        self.assertIn("refused", error.reason)

    async def test_whatever_ends_before_the_message_is_the_servers_failure(self) -> None:
        ehlo = b"250 example.com"
        for answers, code, reason in (
            ([b"554 go away"], 554, "go away"),
            ([b"421-one\r\n421 two"], 421, "one two"),
            ([b"CLOSE"], None, "connection lost"),
            ([b"SSH-2.0-x"], None, "Invalid response"),
            ([b"220 hi", b"CLOSE"], None, "connection lost"),
            ([b"220 hi", b"500 what?", b"500 what?"], 500, "what?"),
        ):
            port, _ = self.scripted(*answers, b"221 bye")
            error = await self.refused(self.sender(port))
            self.assertEqual((error.code, error.server_failed), (code, True), answers)
            self.assertIn(reason, error.reason)
        for answers in ([], [b"220 hi"], [b"220 hi", ehlo.replace(b" ", b"-")]):
            port, _ = self.scripted(*answers)
            error = await self.refused(self.sender(port, timeout_s=0.2))
            self.assertEqual((error.reason, error.server_failed), ("no end after 0.2 s", True))

    async def test_only_250_after_the_data_counts_as_sent(self) -> None:
        begun = [b"220 hi", b"250 x", b"250 ok", b"250 ok", b"354 go"]
        for last, code in ((b"451 disk full", 451), (b"354 go", 354), (b"CLOSE", None), (b"oops", None)):
            port, _ = self.scripted(*begun, *[b""] * 3, last, b"221 bye")
            error = await self.refused(self.sender(port))
            self.assertEqual((error.code, error.server_failed), (code, False))

    async def test_a_message_is_sent_even_if_nobody_says_goodbye(self) -> None:
        taken = [b"220 hi", b"250 x", b"250 ok", b"250 ok", b"354 go", *[b""] * 3, b"250 ok"]
        for farewell in (b"CLOSE", b"", b"500 what?"):
            port, heard = self.scripted(*taken, farewell)
            await self.sender(port, timeout_s=0.3).send(message())
            self.assertEqual(heard[7:9], [b".", b"QUIT"])

    async def test_the_server_hears_a_plain_dialogue(self) -> None:
        port, heard = self.scripted(
            b"220 hi", b"250 x", b"250 ok", b"250 ok", b"354 go", b"", b"", b"", b"250 ok", b"221 bye"
        )
        await self.sender(port).send(message())
        envelope = [b"EHLO example.com", b"MAIL FROM:<accounts@example.com>", b"RCPT TO:<bob@example.com>", b"DATA"]
        self.assertEqual(heard[:9], [*envelope, b"Subject: x", b"", b"hello", b".", b"QUIT"])

    async def test_a_server_without_ehlo_is_greeted_with_helo(self) -> None:
        port, heard = self.scripted(b"220 hi", b"502 what?", b"250 x", b"550 no", b"221 bye")
        error = await self.refused(self.sender(port))
        self.assertEqual((error.code, heard[1]), (550, b"HELO example.com"))

    async def test_cancelling_closes_the_connection(self) -> None:
        port, heard = self.scripted(b"220 hi")
        sending = Deferred.fromCoroutine(self.sender(port).send(message()))
        while not heard:
            await deferLater(reactor, 0.01)
        sending.cancel()
        await self.assertFailure(sending, MailNotSent)
        while heard[-1] != b"(connection lost)":
            await deferLater(reactor, 0.01)


class AuthTests(SmtpTestCase):
    def assert_hidden(self, error: MailNotSent, events: list[Any]) -> None:
        told = " ".join([str(error), repr(error), repr(error.args), repr(vars(error)), *map(repr, events)])
        words = {PASSWORD, "secret-user"}
        plain = [f"{first}\0secret-user\0{PASSWORD}" for first in ("", "secret-user")]
        words |= {base64.b64encode(text.encode()).decode() for text in [*words, *plain]}
        for word in words:
            self.assertNotIn(word, told)

    async def test_the_right_password_is_accepted(self) -> None:
        peer = await self.peer(user="secret-user", password=PASSWORD)
        await self.sender(peer.port, user="secret-user", password=PASSWORD).send(message())
        self.assertTrue((await peer.mail())["authenticated"])

    async def test_without_a_user_no_credentials_are_sent(self) -> None:
        port, heard = self.scripted(b"220 hi", b"250-x\r\n250 AUTH PLAIN LOGIN", b"550 no", b"221 bye")
        await self.refused(self.sender(port, password=PASSWORD))
        self.assertEqual(heard[1], b"MAIL FROM:<accounts@example.com>")

    async def test_a_refused_password_appears_nowhere(self) -> None:
        peer = await self.peer(user="secret-user", password="another")
        sender = self.sender(peer.port, user="secret-user", password=PASSWORD)
        with capturedLogs() as events:
            error = await self.refused(sender)
        self.assertEqual((error.code, error.server_failed, error.for_good), (535, True, False))
        self.assertNotIn(PASSWORD, repr(sender))
        self.assert_hidden(error, list(events))

    async def test_a_server_that_repeats_the_credentials_is_not_quoted(self) -> None:
        plain = base64.b64encode(f"secret-user\0secret-user\0{PASSWORD}".encode())
        password = base64.b64encode(PASSWORD.encode())
        for mechanism, answers in (
            (b"PLAIN", [b"500 AUTH PLAIN " + plain] * 2),
            (b"PLAIN", [plain]),
            (b"LOGIN", [b"334 VXNlcm5hbWU6", b"334 UGFzc3dvcmQ6", b"535 " + password]),
            (b"LOGIN", [b"334 VXNlcm5hbWU6", b"334 UGFzc3dvcmQ6", password]),
            (b"LOGIN", [b"334 x", b"501 " + password]),
            (b"CRAM-MD5", [b"334 PDEyMz4=", b"535 secret-user"]),
        ):
            port, _ = self.scripted(b"220 hi", b"250-x\r\n250 auth " + mechanism, *answers, b"221 bye")
            with capturedLogs() as events:
                error = await self.refused(self.sender(port, user="secret-user", password=PASSWORD, timeout_s=2))
            self.assertIn("AUTH failed", error.reason, answers)
            self.assertTrue(error.server_failed)
            self.assert_hidden(error, list(events))

    async def test_keywords_are_of_any_case_and_empty_lines_do_no_harm(self) -> None:
        port, heard = self.scripted(b"220 hi", b"250-x\r\n250-\r\n250 Auth plain", b"235 ok", b"550 no", b"221 bye")
        error = await self.refused(self.sender(port, user="u", password="p"))
        self.assertEqual((error.code, error.server_failed), (550, False))
        self.assertTrue(heard[1].startswith(b"AUTH PLAIN "), heard)

    async def test_a_server_that_cannot_authenticate_gets_no_mail(self) -> None:
        for answers, reason in (
            ([b"250 x"], "no AUTH mechanism"),
            ([b"250-x\r\n250 AUTH GSSAPI"], "no AUTH mechanism"),
            ([b"502 what?"], "ESMTP"),
        ):
            port, heard = self.scripted(b"220 hi", *answers, b"221 bye")
            error = await self.refused(self.sender(port, user="secret-user", password=PASSWORD))
            self.assertIn(reason, error.reason)
            self.assertTrue(error.server_failed)
            self.assertNotIn(b"MAIL", b" ".join(heard))
            self.assertEqual(heard[1], b"QUIT")


class TlsTests(SmtpTestCase):
    def certificate(self, address: str = "127.0.0.1") -> str:
        """A PEM file with a self-signed certificate for this address, and its key."""
        key = ec.generate_private_key(ec.SECP256R1())
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "peer")])
        now = datetime.now(UTC)
        certificate = (
            x509.CertificateBuilder()
            .subject_name(name)
            .issuer_name(name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - timedelta(days=1))
            .not_valid_after(now + timedelta(days=1))
            .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ip_address(address))]), critical=False)
            .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
            .sign(key, hashes.SHA256())
        )
        file = Path(self.mktemp()).absolute()
        file.write_bytes(
            certificate.public_bytes(serialization.Encoding.PEM)
            + key.private_bytes(
                serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
            )
        )
        return str(file)

    def trust(self, certificate: str) -> None:
        """What an operator does to have a private authority trusted."""
        before = os.environ.get("SSL_CERT_FILE")
        os.environ["SSL_CERT_FILE"] = certificate

        def restore() -> None:
            del os.environ["SSL_CERT_FILE"]
            if before is not None:
                os.environ["SSL_CERT_FILE"] = before

        self.addCleanup(restore)

    async def test_a_message_goes_over_tls_from_the_first_byte(self) -> None:
        certificate = self.certificate()
        self.trust(certificate)
        peer = await self.peer(certificate=certificate, user="secret-user", password=PASSWORD)
        await self.sender(peer.port, secure=True, user="secret-user", password=PASSWORD).send(message())
        mail = await peer.mail()
        self.assertEqual((mail["tls"], mail["authenticated"]), (True, True))

    async def test_a_certificate_that_nobody_vouches_for_is_refused(self) -> None:
        peer = await self.peer(certificate=self.certificate())
        error = await self.refused(self.sender(peer.port, secure=True))
        self.assertIn("certificate verify failed", error.reason)
        self.assertTrue(error.server_failed)

    async def test_a_certificate_for_another_host_is_refused(self) -> None:
        certificate = self.certificate("127.0.0.2")
        self.trust(certificate)
        peer = await self.peer(certificate=certificate)
        error = await self.refused(self.sender(peer.port, secure=True))
        self.assertEqual((error.code, error.server_failed), (None, True))
        self.flushLoggedErrors()

    async def test_a_server_without_tls_is_not_talked_to(self) -> None:
        port, heard = self.scripted(b"220 hi")
        error = await self.refused(self.sender(port, secure=True, timeout_s=2))
        self.assertTrue(error.server_failed)
        self.assertFalse([line for line in heard if b"EHLO" in line])

    async def test_a_server_that_never_shakes_hands_is_left_at_the_time_limit(self) -> None:
        port, _ = self.scripted()
        error = await self.refused(self.sender(port, secure=True, timeout_s=0.3))
        self.assertEqual((error.reason, error.server_failed), ("no end after 0.3 s", True))


class StuffingTests(SynchronousTestCase):
    @given(st.lists(st.sampled_from([b".", b"\r", b"\n", b"\r\n", b"x", b" "])).map(b"".join))
    def test_every_line_survives_and_none_is_a_lone_dot(self, content: bytes) -> None:
        wire = stuffed(content)
        *lines, rest = wire.split(b"\r\n")
        self.assertEqual(rest, b"")
        self.assertNotIn(b".", lines)
        self.assertFalse([line for line in lines if b"\r" in line or b"\n" in line])
        received = b"".join(re.sub(rb"^\.", b"", line) + b"\n" for line in lines)
        sent = content.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
        self.assertEqual(received, sent if not sent or sent.endswith(b"\n") else sent + b"\n")
