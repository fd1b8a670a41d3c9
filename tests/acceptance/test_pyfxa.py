"""The whole API as PyFxA uses it, certificates as PyBrowserID verifies them, and clocks that are wrong."""

from __future__ import annotations

import json
import time
import urllib.parse
import urllib.request
from typing import Any

import fxa.core
import fxa.crypto
import fxa.errors
import requests
from browserid.supportdoc import SupportDocumentManager
from browserid.verifiers.local import LocalVerifier
from requests.adapters import HTTPAdapter
from twisted.trial.unittest import SynchronousTestCase

from tests.acceptance.daemon import Daemon, shared, started
from tests.acceptance.wire import PASSWORD, auth_pw, mailed_code, mails, new_email, stretched

NEW_PASSWORD = "another horse, another staple"
DAY_S = 24 * 3600


class PyFxaCase(SynchronousTestCase):
    def setUp(self) -> None:
        self.daemon = self.choose_daemon()
        self.client = self.make_client()
        self.email = new_email()

    def choose_daemon(self) -> Daemon:
        return shared()

    def make_client(self) -> fxa.core.Client:
        """A client that does not repeat a request whose connection broke."""
        session = requests.Session()
        session.trust_env = False
        session.mount(self.daemon.public_url, HTTPAdapter(max_retries=0))
        self.addCleanup(session.close)
        apiclient = fxa.core.APIClient(f"{self.daemon.public_url}/v1", session)
        return fxa.core.Client(apiclient)

    def create(self, **options: Any) -> fxa.core.Session:
        return self.client.create_account(self.email, PASSWORD, **options)

    def create_verified(self) -> fxa.core.Session:
        return self.create(preVerified=True)

    def code(self, header: str = "x-verify-code", count: int = 1) -> str:
        return mailed_code(self.daemon, self.email, header, count)

    def assertRefused(self, status: int, errno: int, call: Any, *args: Any, **options: Any) -> fxa.errors.ClientError:
        error = self.assertRaises(fxa.errors.ClientError, call, *args, **options)
        self.assertEqual((error.code, error.errno), (status, errno))
        return error


class AccountTests(PyFxaCase):
    def test_an_account_is_verified_by_its_mailed_code(self) -> None:
        session = self.create()
        self.assertEqual(session.get_email_status(), {"email": self.email, "verified": False})
        session.verify_email_code(self.code())
        self.assertEqual(session.get_email_status(), {"email": self.email, "verified": True})
        session.check_session_status()
        self.assertTrue(self.client.login(self.email, PASSWORD).verified)

    def test_a_wrong_code_verifies_nothing(self) -> None:
        session = self.create()
        self.assertRefused(400, 105, session.verify_email_code, "00" * 16)
        self.assertFalse(session.get_email_status()["verified"])

    def test_a_mail_that_is_resent_carries_the_same_code(self) -> None:
        session = self.create()
        first = self.code()
        session.resend_email_code(service="sync", redirectTo="https://accounts.firefox.com/", resume="here")
        self.assertEqual(self.code(count=2), first)
        link = urllib.parse.urlsplit(mails(self.daemon, self.email)[-1]["headers"]["x-link"])
        self.assertEqual(
            urllib.parse.parse_qs(link.query),
            {
                "uid": [session.uid],
                "code": [first],
                "service": ["sync"],
                "redirectTo": ["https://accounts.firefox.com/"],
                "resume": ["here"],
            },
        )

    def test_a_verified_account_is_not_made_again(self) -> None:
        self.create_verified()
        error = self.assertRefused(400, 101, self.create)
        self.assertEqual(error.details["email"], self.email)

    def test_logins_are_refused_for_the_right_reason(self) -> None:
        email = f"Case.{new_email()}"
        self.client.create_account(email, PASSWORD, preVerified=True)
        self.assertRefused(400, 103, self.client.login, email, "wrong")
        self.assertRefused(400, 102, self.client.login, new_email(), PASSWORD)
        wrong_case = email.replace("Case", "case")
        error = self.assertRefused(400, 120, self.client.login, wrong_case, PASSWORD)
        self.assertEqual(error.details["email"], email)
        self.client.login(error.details["email"], PASSWORD)

    def test_keys_are_the_same_at_every_login(self) -> None:
        session = self.create(keys=True)
        self.assertRefused(400, 104, session.fetch_keys)
        session.verify_email_code(self.code())
        ka, kb = session.fetch_keys()
        self.assertEqual((len(ka), len(kb)), (32, 32))
        for _ in range(2):
            self.assertEqual(self.client.login(self.email, PASSWORD, keys=True).fetch_keys(), (ka, kb))

    def test_keys_are_fetched_once(self) -> None:
        session = self.create(keys=True, preVerified=True)
        token, pw = session._key_fetch_token, stretched(self.email)
        self.client.fetch_keys(token, pw)
        self.assertRefused(401, 110, self.client.fetch_keys, token, pw)

    def test_a_destroyed_session_is_dead_and_others_live(self) -> None:
        session, other = self.create_verified(), self.client.login(self.email, PASSWORD)
        session.destroy_session()
        self.assertRefused(401, 110, session.check_session_status)
        other.check_session_status()

    def test_a_destroyed_account_is_gone(self) -> None:
        session = self.create_verified()
        self.assertRefused(400, 103, self.client.destroy_account, self.email, "wrong")
        self.assertEqual(self.client.get_account_status(session.uid), {"exists": True})
        self.client.destroy_account(self.email, PASSWORD)
        self.assertEqual(self.client.get_account_status(session.uid), {"exists": False})
        self.assertRefused(401, 110, session.check_session_status)
        self.assertRefused(400, 102, self.client.login, self.email, PASSWORD)

    def test_random_bytes_differ(self) -> None:
        first, second = self.client.get_random_bytes(), self.client.get_random_bytes()
        self.assertEqual((len(first), len(second)), (32, 32))
        self.assertNotEqual(first, second)

    def test_a_locked_account_opens_by_its_mailed_code(self) -> None:
        session, post = self.create_verified(), self.client.apiclient.post
        credentials = {"email": self.email, "authPW": auth_pw(self.email)}
        self.assertRefused(400, 122, post, "/account/unlock/resend_code", {"email": self.email})
        post("/account/lock", credentials)
        self.assertRefused(400, 121, self.client.login, self.email, PASSWORD)
        session.check_session_status()
        post("/account/unlock/resend_code", {"email": self.email})
        code = self.code("x-unlock-code")
        self.assertRefused(400, 105, post, "/account/unlock/verify_code", {"uid": session.uid, "code": "00" * 16})
        post("/account/unlock/verify_code", {"uid": session.uid, "code": code})
        self.client.login(self.email, PASSWORD)


class PasswordTests(PyFxaCase):
    def test_a_password_change_keeps_the_keys_and_ends_the_sessions(self) -> None:
        session = self.create(keys=True, preVerified=True)
        keys = session.fetch_keys()
        self.assertRefused(400, 103, self.client.change_password, self.email, "wrong", NEW_PASSWORD)
        self.client.change_password(self.email, PASSWORD, NEW_PASSWORD)
        self.assertRefused(401, 110, session.check_session_status)
        self.assertRefused(400, 103, self.client.login, self.email, PASSWORD)
        self.assertEqual(self.client.login(self.email, NEW_PASSWORD, keys=True).fetch_keys(), keys)

    def test_a_reset_keeps_ka_and_makes_a_new_kb(self) -> None:
        session = self.create(keys=True, preVerified=True)
        old_ka, old_kb = session.fetch_keys()
        forgotten = self.client.send_reset_code(self.email, service="sync")
        reset_token = forgotten.verify_code(self.code("x-recovery-code"))
        self.client.reset_account(self.email, reset_token, NEW_PASSWORD)
        self.assertRefused(401, 110, session.check_session_status)
        self.assertRefused(401, 110, forgotten.get_status)
        self.assertRefused(400, 103, self.client.login, self.email, PASSWORD)
        ka, kb = self.client.login(self.email, NEW_PASSWORD, keys=True).fetch_keys()
        self.assertEqual(ka, old_ka)
        self.assertNotEqual(kb, old_kb)

    def test_a_reset_verifies_the_address(self) -> None:
        self.create()
        self.code()
        forgotten = self.client.send_reset_code(self.email)
        code = self.code("x-recovery-code", count=2)
        self.client.reset_account(self.email, forgotten.verify_code(code), NEW_PASSWORD)
        self.assertTrue(self.client.login(self.email, NEW_PASSWORD).verified)

    def test_three_wrong_codes_end_a_reset(self) -> None:
        self.create_verified()
        forgotten = self.client.send_reset_code(self.email)
        self.assertEqual(forgotten.tries_remaining, 3)
        for left in (2, 1, 0):
            error = self.assertRefused(400, 105, forgotten.verify_code, "00" * 16)
            self.assertEqual(error.details["tries"], left)
        self.assertRefused(401, 110, forgotten.verify_code, self.code("x-recovery-code"))

    def test_a_resent_reset_mail_has_a_working_link(self) -> None:
        self.create_verified()
        forgotten = self.client.send_reset_code(self.email)
        forgotten.resend_code()
        mail = mails(self.daemon, self.email, 2)[-1]
        link = dict(urllib.parse.parse_qsl(urllib.parse.urlsplit(mail["headers"]["x-link"]).query))
        self.assertEqual((link["email"], link["token"]), (self.email, forgotten.token))
        answer = self.client.verify_reset_code(link["token"], link["code"])
        self.client.reset_account(self.email, answer["accountResetToken"], NEW_PASSWORD)
        self.client.login(self.email, NEW_PASSWORD)

    def test_the_status_of_a_reset_counts_down(self) -> None:
        self.create_verified()
        forgotten = self.client.send_reset_code(self.email)
        self.assertRefused(400, 105, forgotten.verify_code, "00" * 16)
        status = forgotten.get_status()
        self.assertEqual(status["tries"], 2)
        self.assertTrue(3500 < status["ttl"] <= 3600, status)


class CertificateTests(PyFxaCase):
    AUDIENCE = "https://token.services.example.com"

    def verifier(self) -> LocalVerifier:
        """One that takes the server's word for the server's key."""
        with urllib.request.urlopen(f"{self.daemon.origin}/.well-known/browserid", timeout=30) as response:
            document = json.load(response)
        supportdocs = SupportDocumentManager()
        supportdocs.cache[urllib.parse.urlsplit(self.daemon.origin).netloc] = (None, document)
        return LocalVerifier([self.AUDIENCE], supportdocs=supportdocs)

    def test_an_assertion_is_verified_against_the_support_document(self) -> None:
        session = self.create_verified()
        verified = self.verifier().verify(session.get_identity_assertion(self.AUDIENCE))
        domain = urllib.parse.urlsplit(self.daemon.origin).netloc
        self.assertEqual((verified["status"], verified["issuer"]), ("okay", domain))
        self.assertEqual(verified["email"], f"{session.uid}@{domain}")
        self.assertEqual(verified["idpClaims"]["fxa-verifiedEmail"], self.email)
        self.assertEqual(verified["idpClaims"]["fxa-lastAuthAt"], session.auth_timestamp)

    def test_an_unverified_account_gets_no_certificate(self) -> None:
        self.assertRefused(400, 104, self.create().get_identity_assertion, self.AUDIENCE)

    def test_a_password_change_shows_in_the_generation(self) -> None:
        session = self.create_verified()
        first = self.verifier().verify(session.get_identity_assertion(self.AUDIENCE))["idpClaims"]
        self.client.change_password(self.email, PASSWORD, NEW_PASSWORD)
        session = self.client.login(self.email, NEW_PASSWORD)
        second = self.verifier().verify(session.get_identity_assertion(self.AUDIENCE))["idpClaims"]
        self.assertGreater(second["fxa-generation"], first["fxa-generation"])


def with_skew(session: fxa.core.Session, skew_s: int) -> fxa.core.Session:
    """The session of a client whose clock is wrong by so much, and who does not know it yet."""
    session.apiclient.client_curtime = lambda: time.time() + skew_s
    session.apiclient._clockskew = 0
    return session


class CompatibleClockTests(PyFxaCase):
    def test_any_clock_will_do(self) -> None:
        session = self.create_verified()
        for skew_s in (DAY_S, -DAY_S, -19 * 365 * DAY_S):
            with_skew(session, skew_s)
            url = "/session/status"
            answer = session.apiclient.get(url, auth=session._auth, retry_auth_errors=False)
            self.assertEqual(answer, {"uid": session.uid}, skew_s)


class StrictClockTests(PyFxaCase):
    def choose_daemon(self) -> Daemon:
        return started(
            self, files={"strict.toml": '[hawk]\nmode = "strict"\n'}, environ={"CONFIG_FILES": "strict.toml"}
        )

    def test_a_wrong_clock_is_refused_until_the_client_has_set_it(self) -> None:
        session = self.create_verified()
        for skew_s in (DAY_S, -DAY_S, -19 * 365 * DAY_S):
            with_skew(session, skew_s)
            error = self.assertRefused(
                401, 111, session.apiclient.get, "/session/status", auth=session._auth, retry_auth_errors=False
            )
            self.assertTrue(abs(error.details["serverTime"] - time.time()) < 60, skew_s)
            with_skew(session, skew_s).check_session_status()
            with_skew(session, skew_s).sign_certificate(fxa.crypto.generate_keypair()[0])
