"""A mailed link in a real browser with its scripts switched off, answered by a real daemon; with the keyboard alone."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from tests.acceptance.daemon import eventually, started
from tests.acceptance.wire import Wire, credentials, mails, new_email
from tests.system import SKIP
from tests.system.chromium import Chromium

TAB, ENTER = ("Tab", 9), ("Enter", 13)


class LinkPageTests(SynchronousTestCase):
    skip = SKIP
    timeout = 300

    def setUp(self) -> None:
        self.daemon = started(self, base_path="/auth", own_pages=True)
        self.browser = Chromium()
        self.browser.__enter__()
        self.addCleanup(self.browser.__exit__, None, None, None)

    def heading(self) -> str:
        """That of the page that is there by now."""
        return str(self.browser.evaluate("document.querySelector('h1')?.innerText ?? ''"))

    def await_heading(self, beginning: str) -> None:
        eventually(lambda: self.heading().startswith(beginning), f"the page {beginning}")

    def link(self, email: str) -> str:
        link: str = mails(self.daemon, email)[-1]["headers"]["x-link"]
        return link

    def test_the_button_verifies(self) -> None:
        wire, email = Wire(self.daemon), new_email()
        wire.post("/account/create", credentials(email))
        self.browser.open(self.link(email), "de")
        self.await_heading("E-Mail-Adresse bestätigen")
        self.assertFalse(wire.post("/account/login", credentials(email)).body["verified"])
        self.browser.press(*TAB)
        self.assertEqual(self.browser.evaluate("document.activeElement.tagName"), "BUTTON")
        self.browser.press(*ENTER)
        self.await_heading("Ihre E-Mail-Adresse ist bestätigt")
        self.assertTrue(wire.post("/account/login", credentials(email)).body["verified"])
        self.assertEqual(self.browser.evaluate("document.querySelectorAll('form').length"), 0)

    def test_a_link_of_an_account_that_was_replaced_is_told_of(self) -> None:
        wire, email = Wire(self.daemon), new_email()
        wire.post("/account/create", credentials(email))
        stale = self.link(email)
        wire.post("/account/create", credentials(email))
        self.browser.open(stale, "he")
        self.await_heading("אימות")
        self.browser.press(*TAB)
        self.browser.press(*ENTER)
        self.await_heading("הקישור הזה אינו פועל")
        self.assertEqual(self.browser.evaluate("document.documentElement.dir"), "rtl")
        self.assertFalse(wire.post("/account/login", credentials(email)).body["verified"])
