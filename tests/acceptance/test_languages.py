"""A mail is in the language of the request that caused it, from HTTP to the mailbox."""

from __future__ import annotations

import json

from twisted.trial.unittest import SynchronousTestCase

from tests.acceptance.daemon import shared, started
from tests.acceptance.wire import credentials, mails, new_email


class LanguageTests(SynchronousTestCase):
    def test_each_mail_is_in_the_language_of_its_request(self) -> None:
        daemon, email = shared(), new_email()
        for count, (path, accept_language, tag, subject) in enumerate(
            (
                ("/v1/account/create", "pt-BR,pt;q=0.8", "pt-BR", "Verificar sua conta"),
                ("/v1/password/forgot/send_code", "he-IL,en;q=0.1", "he", "איפוס הסיסמה שלך"),
                ("/v1/password/forgot/send_code", "tlh", "en", "Reset your password"),
            ),
            1,
        ):
            body = credentials(email) if path.endswith("create") else {"email": email}
            headers = {"Content-Type": "application/json", "Accept-Language": accept_language}
            connection = daemon.connect()
            connection.request("POST", path, json.dumps(body), headers)
            self.assertEqual(connection.getresponse().status, 200)
            connection.close()
            mail = mails(daemon, email, count)[-1]
            self.assertEqual((mail["headers"]["content-language"], mail["subject"]), (tag, subject))
            self.assertTrue(mail["text"].startswith(subject))
            self.assertIn(f'lang="{tag}"', mail["html"])
            self.assertIn(mail["headers"]["x-link"], mail["text"].splitlines())


class WarningTests(SynchronousTestCase):
    def test_links_to_the_readers_own_machine_are_warned_of_at_the_start(self) -> None:
        for url, warnings in (("http://127.0.0.1:3030", 1), ("https://accounts.example.com", 0)):
            daemon = started(self, "prod", environ={"CONTENT_SERVER_URL": url})
            found = daemon.entries(op="settings.doubtful", level=40)
            self.assertEqual(len(found), warnings)
        self.assertEqual(daemon.failures(), [])
