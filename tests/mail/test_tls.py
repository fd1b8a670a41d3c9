"""TLS to the mail server: each way to begin it, whom it believes, and why not."""

from __future__ import annotations

import os
from datetime import timedelta
from typing import Any

from OpenSSL import SSL
from twisted.internet.address import IPv4Address
from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectionLost
from twisted.internet.ssl import Certificate
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.logger import capturedLogs
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from fxa_auth.mail.dialogue import Dialogue
from fxa_auth.mail.failures import MailNotSent, Stage
from fxa_auth.mail.server import SmtpServer
from fxa_auth.mail.tls import ServerTls
from tests.certificates import Issued, issue
from tests.mail.servers import PASSWORD, SESSION, USER, HeldReactor, SmtpTestCase, message

AUTHORITY = issue("authority", is_authority=True)
PEER = issue("peer", "127.0.0.1", "peer.example.com", issuer=AUTHORITY)
STARTTLS = b"250-x\r\n250 STARTTLS"
LOGIN = {"user": USER, "password": PASSWORD}


def trusting(*issued: Issued) -> dict[str, Any]:
    """The option of a sender that believes those."""
    return {"authorities": tuple(Certificate.loadPEM(each.pem) for each in issued)}


class TlsCase(SmtpTestCase):
    async def tls_peer(self, issued: Issued = PEER, **arguments: Any) -> int:
        self.server = await self.peer(certificate=issued.file(self.mktemp), **arguments)
        return self.server.port

    async def taken(self, port: int, reactor: Any = None, **options: Any) -> dict[str, Any]:
        """What the peer tells of a mail that it takes."""
        sender = self.sender(port, **options) if reactor is None else self.sender(port, reactor, **options)
        await sender.send(message())
        return await self.server.mail()

    async def untrusted(self, issued: Issued, doubt: str, *trusted: Issued, host: str = "127.0.0.1") -> None:
        """By no way is such a server believed."""
        for way in ({"secure": True}, {"start_tls": "required"}):
            port = await self.tls_peer(issued, starttls="start_tls" in way)
            held = HeldReactor({host: ["127.0.0.1"]})
            sender = self.sender(port, held, host=host, **trusting(*trusted), **way)
            with capturedLogs() as events:
                error = await self.refused(sender)
            self.assertEqual((error.reason, error.stage), (f"certificate not believed: {doubt}", Stage.CERTIFICATE))
            self.assertEqual((error.code, error.server_failed, error.for_good), (None, True, False))
            self.assertEqual([event for event in events if event.get("log_failure")], [])


class ImplicitTlsTests(TlsCase):
    async def test_a_message_goes_over_tls_from_the_first_byte(self) -> None:
        port = await self.tls_peer(**LOGIN)
        mail = await self.taken(port, secure=True, **trusting(AUTHORITY), **LOGIN)
        self.assertEqual((mail["tls"], mail["mechanism"]), (True, "PLAIN"))
        self.assertIn("-- TLSv1.3, certificate believed", self.told)

    async def test_starttls_is_not_asked_for_then(self) -> None:
        port = await self.tls_peer()
        mail = await self.taken(port, secure=True, start_tls="required", **trusting(AUTHORITY))
        self.assertTrue(mail["tls"])

    async def test_a_server_without_tls_is_not_talked_to(self) -> None:
        port, heard = self.scripted(b"220 hi", b"CLOSE")
        error = await self.refused(self.sender(port, secure=True))
        self.assertEqual((error.reason, error.stage, error.server_failed), ("wrong version number", Stage.TLS, True))
        self.assertFalse([line for line in heard if b"EHLO" in line])

    async def test_a_server_that_never_shakes_hands_is_left_at_the_time_limit(self) -> None:
        held = HeldReactor()
        port, _ = self.scripts([])
        refusal = Deferred.fromCoroutine(self.refused(self.sender(port, held, secure=True, reply_timeout_s=7)))
        await self.until(lambda: self.told[1:])
        held.clock.advance(7)
        error = await refusal
        self.assertEqual((error.reason, error.stage), ("no answer to the TLS handshake within 7 s", Stage.TLS))


class StartTlsTests(TlsCase):
    async def test_required_encrypts_before_anything_is_said_of_the_mail(self) -> None:
        port = await self.tls_peer(starttls=True, auth_needs_tls=True, **LOGIN)
        mail = await self.taken(port, start_tls="required", **trusting(AUTHORITY), **LOGIN)
        self.assertEqual((mail["tls"], mail["mechanism"], mail["ehlo"]), (True, "PLAIN", "client.example.com"))
        verbs = [line.split(" ")[1] for line in self.told if line.startswith("-> ")]
        self.assertEqual(verbs[:4], ["EHLO", "STARTTLS", "EHLO", "AUTH"])

    async def test_required_sends_nothing_where_it_is_not_offered_or_refused(self) -> None:
        for answers, code in (([b"250 x"], None), ([STARTTLS, b"454 not now"], 454), ([STARTTLS, b"502 no"], 502)):
            port, heard = self.scripted(b"220 hi", *answers, b"221 bye")
            error = await self.refused(self.sender(port, start_tls="required"))
            self.assertEqual((error.code, error.stage, error.server_failed), (code, Stage.STARTTLS, True))
            self.assertNotIn(b"MAIL", b" ".join(heard))

    async def test_opportunistic_encrypts_with_whom_nobody_vouches_for(self) -> None:
        port = await self.tls_peer(issue("stranger", "elsewhere.example"), starttls=True)
        self.assertTrue((await self.taken(port))["tls"])
        self.assertIn("-- TLSv1.3, certificate not believed: depth zero self signed cert", self.told)

    async def test_opportunistic_goes_on_without_where_it_is_not_offered_or_refused(self) -> None:
        for answers in ([b"250 x"], [STARTTLS, b"454 not now"], [STARTTLS, b"502 no"]):
            port, heard = self.scripted(b"220 hi", *answers, b"250 ok", b"550 no", b"221 bye")
            error = await self.refused(self.sender(port))
            self.assertEqual((error.stage, heard[-1][:4]), (Stage.RCPT, b"RCPT"), answers)

    async def test_opportunistic_begins_anew_without_where_the_handshake_fails(self) -> None:
        port, server = self.scripts(
            [b"220 hi", STARTTLS, b"220 go", b"NOISE"], [b"220 hi", STARTTLS, b"550 no", b"221 bye"]
        )
        with capturedLogs() as events:
            error = await self.refused(self.sender(port))
        self.assertEqual((error.code, error.stage, server.connections), (550, Stage.MAIL, 2))
        [entry] = [event for event in events if event.get("log_namespace") == "fxa_auth.mail.smtp"]
        self.assertEqual((entry["log_format"], entry["reason"]), ("mail.unencrypted", "wrong version number"))

    async def test_required_does_not(self) -> None:
        port, server = self.scripts([b"220 hi", STARTTLS, b"220 go", b"NOISE"], SESSION)
        error = await self.refused(self.sender(port, start_tls="required"))
        self.assertEqual((error.stage, error.server_failed, server.connections), (Stage.TLS, True, 1))

    async def test_off_leaves_it_alone(self) -> None:
        port = await self.tls_peer(starttls=True)
        self.assertFalse((await self.taken(port, start_tls="off"))["tls"])

    async def test_what_came_in_clear_does_not_count_within_tls(self) -> None:
        for injected in (b"\r\n250-x\r\n250 AUTH PLAIN", b"\r\n250 x"):
            port, server = self.scripts([b"220 hi", STARTTLS, b"220 go" + injected, b"TLS"], tls=PEER.options())
            error = await self.refused(self.sender(port, start_tls="required", **trusting(AUTHORITY)))
            self.assertEqual((error.reason, error.stage), ("more was answered than asked", Stage.TLS))
            self.assertEqual(server.heard[:2], [b"EHLO client.example.com", b"STARTTLS"])

    async def test_offers_made_in_clear_do_not_count_within_tls(self) -> None:
        offers = b"250-x\r\n250-STARTTLS\r\n250-SMTPUTF8\r\n250 AUTH PLAIN"
        port, _ = self.scripts([b"220 hi", offers, b"220 go", b"TLS", b"250 x", b"221 bye"], tls=PEER.options())
        error = await self.refused(self.sender(port, start_tls="required", **trusting(AUTHORITY), **LOGIN))
        self.assertEqual(error.stage, Stage.AUTH)
        self.assertIn("no AUTH at all", error.reason)


class TrustTests(TlsCase):
    async def test_whom_the_system_trusts_is_believed_without_a_file(self) -> None:
        before = os.environ.get("SSL_CERT_FILE")
        os.environ["SSL_CERT_FILE"] = AUTHORITY.file(self.mktemp)
        self.addCleanup(
            lambda: os.environ.pop("SSL_CERT_FILE") if before is None else os.environ.update(SSL_CERT_FILE=before)
        )
        port = await self.tls_peer()
        self.assertTrue((await self.taken(port, secure=True))["tls"])

    async def test_a_file_stands_in_the_place_of_the_system(self) -> None:
        await self.untrusted(PEER, "unable to get issuer cert locally", issue("other", is_authority=True))

    async def test_a_server_that_has_signed_for_itself_is_believed_if_named(self) -> None:
        for itself in (issue("self", "127.0.0.1"), issue("self", "127.0.0.1", is_authority=True)):
            port = await self.tls_peer(itself)
            self.assertTrue((await self.taken(port, secure=True, **trusting(itself)))["tls"])
        await self.untrusted(itself, "depth zero self signed cert", AUTHORITY)

    async def test_a_name_is_checked_as_well_as_an_address(self) -> None:
        port = await self.tls_peer()
        held = HeldReactor({"peer.example.com": ["127.0.0.1"]})
        mail = await self.taken(port, held, secure=True, host="peer.example.com", **trusting(AUTHORITY))
        self.assertTrue(mail["tls"])

    async def test_the_server_is_told_which_name_is_meant_but_no_address(self) -> None:
        for host, told in (("peer.example.com", b"peer.example.com"), ("127.0.0.1", None)):
            names: list[bytes | None] = []
            tls = PEER.options()
            tls.getContext().set_tlsext_servername_callback(
                lambda connection, names=names: names.append(connection.get_servername())  # type: ignore[misc]
            )
            port, _ = self.scripts([b"220 hi", STARTTLS, b"220 go", b"TLS", b"550 no", b"550 no", b"221 bye"], tls=tls)
            held = HeldReactor({host: ["127.0.0.1"]})
            await self.refused(self.sender(port, held, host=host, start_tls="required", **trusting(AUTHORITY)))
            self.assertEqual(names, [told])

    async def test_a_certificate_for_another_host_is_not_believed(self) -> None:
        names = "peer.example.com, 127.0.0.1"
        other = issue("other", "127.0.0.2", issuer=AUTHORITY)
        for issued, doubt, host in (
            (PEER, f"it is for {names} and not for mail.example.com", "mail.example.com"),
            (other, "it is for 127.0.0.2 and not for 127.0.0.1", "127.0.0.1"),
        ):
            await self.untrusted(issued, doubt, AUTHORITY, host=host)

    async def test_a_certificate_without_names_is_not_believed(self) -> None:
        port = await self.tls_peer(issue("127.0.0.1", issuer=AUTHORITY))
        error = await self.refused(self.sender(port, secure=True, **trusting(AUTHORITY)))
        self.assertEqual(error.stage, Stage.CERTIFICATE)

    async def test_an_expired_certificate_is_not_believed(self) -> None:
        expired = issue("peer", "127.0.0.1", issuer=AUTHORITY, expires_in=timedelta(days=-1))
        await self.untrusted(expired, "cert has expired", AUTHORITY)


class FailureTests(SynchronousTestCase):
    def test_every_error_of_openssl_can_be_told(self) -> None:
        for error, told in (
            (SSL.Error([("SSL routines", "", "no shared cipher"), ("a", "b", "c")]), "no shared cipher, c"),
            (SSL.Error(), "connection lost: "),
            (SSL.ZeroReturnError(), "connection lost: "),
            (SSL.SysCallError(104, "ECONNRESET"), "connection lost: (104, 'ECONNRESET')"),
            (ConnectionLost(), "connection lost: Connection to the other side was lost in a non-clean fashion."),
        ):
            session = ServerTls("mail.example.com", ()).session()
            self.assertEqual(session.fail(Failure(error)), told)
            self.assertTrue(session.has_failed)

    def test_any_name_that_the_settings_take_can_be_looked_for(self) -> None:
        for host in ("mail_1", "Mail.Example.COM", "localhost", "xn--exmple-cua.com", "192.0.2.1", "2001:db8::1"):
            ServerTls(host, ())


class CredentialsInClearTests(SynchronousTestCase):
    """A connection to a server elsewhere, as far as it is to be seen: whether the password is sent on it."""

    def dialogue(self, offers: bytes, peer: str, **options: Any) -> tuple[Dialogue, StringTransport]:
        server = SmtpServer("mail.example.com", 587, "client.example.com", **LOGIN, **options)
        tls = None if server.start_tls == "off" else ServerTls("mail.example.com", ()).session()
        dialogue = Dialogue(Clock(), server, tls, lambda line: None)
        transport = StringTransport(peerAddress=IPv4Address("TCP", peer, 587))
        dialogue.makeConnection(transport)
        dialogue.dataReceived(b"220 hi\r\n")
        transport.clear()
        dialogue.dataReceived(b"250-x\r\n" + offers + b"\r\n")
        return dialogue, transport

    def test_a_server_elsewhere_must_encrypt_although_it_is_opportunistic(self) -> None:
        dialogue, transport = self.dialogue(b"250 AUTH PLAIN LOGIN CRAM-MD5", "192.0.2.1")
        self.assertEqual(transport.value(), b"QUIT\r\n")
        self.assertEqual(self.failureResultOf(dialogue.ready, MailNotSent).value.stage, Stage.STARTTLS)

    def test_its_certificate_must_be_believed(self) -> None:
        dialogue, transport = self.dialogue(b"250-STARTTLS\r\n250 AUTH PLAIN", "192.0.2.1")
        self.assertEqual(transport.value(), b"STARTTLS\r\n")
        self.assertTrue(dialogue._tls.must_be_believed)
        dialogue, _ = self.dialogue(b"250-STARTTLS\r\n250 AUTH PLAIN", "127.0.0.1")
        self.assertFalse(dialogue._tls.must_be_believed)

    def test_a_handshake_that_it_refuses_does_not_help(self) -> None:
        dialogue, transport = self.dialogue(b"250-STARTTLS\r\n250 AUTH PLAIN", "192.0.2.1")
        transport.clear()
        dialogue.dataReceived(b"454 not now\r\n")
        self.assertEqual(transport.value(), b"QUIT\r\n")
        self.assertEqual(self.failureResultOf(dialogue.ready, MailNotSent).value.code, 454)

    def test_this_machine_may_have_it_in_clear(self) -> None:
        for peer in ("127.0.0.1", "127.1.2.3", "::1"):
            _, transport = self.dialogue(b"250 AUTH PLAIN", peer)
            self.assertTrue(transport.value().startswith(b"AUTH PLAIN "), peer)

    def test_an_operator_who_says_off_may_send_it_in_clear(self) -> None:
        _, transport = self.dialogue(b"250-STARTTLS\r\n250 AUTH PLAIN", "192.0.2.1", start_tls="off")
        self.assertTrue(transport.value().startswith(b"AUTH PLAIN "))
