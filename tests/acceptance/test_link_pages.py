"""Mailed links that lead to the daemon which mailed them, below the path of its public URL."""

from __future__ import annotations

import http.client
from urllib.parse import urlsplit

from twisted.trial.unittest import SynchronousTestCase

from tests.acceptance.daemon import Daemon, started
from tests.acceptance.wire import Wire, credentials, mails, new_email


def answer(daemon: Daemon, method: str, link: str) -> tuple[int, str]:
    """Status and body of what a browser gets that asks for a page in German."""
    parts = urlsplit(link)
    connection = daemon.connect()
    try:
        connection.request(method, f"{parts.path}?{parts.query}", headers={"Accept-Language": "de"})
        response: http.client.HTTPResponse = connection.getresponse()
        return response.status, response.read().decode()
    finally:
        connection.close()


class LinkPageTests(SynchronousTestCase):
    def test_a_mailed_link_leads_to_a_page_whose_button_verifies(self) -> None:
        daemon = started(self, base_path="/auth", own_pages=True)
        wire, email = Wire(daemon), new_email()
        wire.post("/account/create", credentials(email))
        link = mails(daemon, email)[-1]["headers"]["x-link"]
        self.assertTrue(link.startswith(f"{daemon.public_url}/v1/verify_email?"), link)
        for method, text, verified in (
            ("GET", "Klicken Sie auf die Schaltfläche", False),
            ("POST", "Ihre E-Mail-Adresse ist bestätigt", True),
        ):
            status, page = answer(daemon, method, link)
            self.assertEqual(status, 200)
            self.assertIn(text, page)
            self.assertEqual(wire.post("/account/login", credentials(email)).body["verified"], verified)
        self.assertEqual(daemon.failures(), [])

    def test_where_the_content_server_is_another_they_lead_there(self) -> None:
        daemon = started(self, base_path="/auth")
        for method, status in (("GET", 302), ("POST", 404)):
            link = f"{daemon.public_url}/v1/verify_email?uid={'ab' * 16}&code={'cd' * 16}"
            self.assertEqual(answer(daemon, method, link)[0], status)
