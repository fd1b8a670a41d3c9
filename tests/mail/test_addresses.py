"""How addresses are written in a mail."""

from __future__ import annotations

import re

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from fxa_auth.emailaddress import is_valid
from fxa_auth.mail.addresses import mailbox


class MailboxTests(SynchronousTestCase):
    def test_a_usual_address_stays_as_it_is(self) -> None:
        for address in ("bob@example.com", "o'neil+x/y={z}@Example.COM", "bob@localhost", "a@b--c.example"):
            self.assertEqual(mailbox(address), address)

    def test_an_odd_local_part_is_quoted(self) -> None:
        for address, expected in ((".a..b.@example.com", '".a..b."@example.com'), (".@localhost", '"."@localhost')):
            self.assertEqual(mailbox(address), expected)

    def test_a_domain_outside_ascii_becomes_a_labels(self) -> None:
        for address, expected in (
            ("bob@exämple.com", "bob@xn--exmple-cua.com"),
            ("bob@EXÄMPLE.com", "bob@xn--exmple-cua.com"),
            ("a..b@straße.de", '"a..b"@xn--strae-oqa.de'),
            ("bob@例。com", "bob@xn--fsq.com"),
            ("bob@\uff45xample.com", "bob@example.com"),
        ):
            self.assertEqual(mailbox(address), expected)

    def test_with_a_local_part_outside_ascii_everything_stands_for_itself(self) -> None:
        for address, expected in (("é@exämple.com", "é@exämple.com"), ("é..a@example.com", '"é..a"@example.com')):
            self.assertEqual(mailbox(address), expected)

    def test_what_is_no_domain_stays_as_it_is(self) -> None:
        long = "ä" * 64
        for domain in ("☃.com", "exa\uff1emple.com", "a℀b.com", "\u200b.com", f"{long}.com", "a\uff0e-b.é"):
            self.assertEqual(mailbox(f"bob@{domain}"), f"bob@{domain}")

    @given(st.from_regex(r"[a-z.]{1,5}@[a-z0-9\u0080-\uffff.-]{1,30}", fullmatch=True).filter(is_valid))
    def test_a_domain_either_stays_or_becomes_letters_digits_and_hyphens(self, address: str) -> None:
        domain = mailbox(address).rpartition("@")[2]
        if domain != address.rpartition("@")[2]:
            self.assertTrue(re.fullmatch(r"[a-z0-9-]+(\.[a-z0-9-]+)*\.?", domain), domain)
