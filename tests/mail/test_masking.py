"""What is told of a server's answers: one line, without the credentials."""

from __future__ import annotations

import base64

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from fxa_auth.mail.masking import MAX_TEXT, Masking

HIDDEN = "(not shown: it repeats the credentials)"
SECRETS = st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=8, max_size=40)


def after_auth(user: str, password: str) -> Masking:
    masking = Masking(user, password)
    masking.sent(b"AUTH PLAIN " + base64.b64encode(f"\0{user}\0{password}".encode()))
    return masking


class MaskingTests(SynchronousTestCase):
    def test_what_is_sent_is_masked(self) -> None:
        for line, shown in (
            (b"AUTH PLAIN AHUAcA==", "AUTH PLAIN ***"),
            (b"AUTH LOGIN", "AUTH LOGIN"),
            (b"dXNlcm5hbWU=", "***"),
            (b"", "***"),
            (b"*", "*"),
        ):
            self.assertEqual(Masking("user", "password").sent(line), shown)

    def test_nothing_is_hidden_before_anything_was_sent(self) -> None:
        masking = Masking("mail", "password")
        masking.sent(b"AUTH LOGIN")
        self.assertEqual(masking.readable(b"334 mail password"), "334 mail password")

    def test_a_helpful_answer_is_told(self) -> None:
        told = "535 5.7.9 Application-specific password required: https://support.example.com/mail"
        self.assertEqual(after_auth("accounts@example.com", "hunter2-hunter2").readable(told.encode()), told)

    def test_the_user_is_masked_where_it_is_a_word(self) -> None:
        masking = after_auth("mail", "hunter2-hunter2")
        self.assertEqual(masking.readable(b"535 MAIL: no mailbox"), "535 ***: no mailbox")

    @given(SECRETS, SECRETS, st.sampled_from(["", "\0", "ab"]), st.sampled_from(["", "x", "=", " "]))
    def test_no_form_of_the_password_is_told(self, user: str, password: str, shift: str, around: str) -> None:
        masking = after_auth(user, password)
        encoded = base64.b64encode(f"{shift}{password}\0{user}".encode()).decode()
        for form in (password, encoded, encoded.lower(), encoded.upper(), password[-8:], encoded[:12]):
            self.assertEqual(masking.readable(f"535 {around}{form}{around}".encode()), HIDDEN)

    @given(st.binary(max_size=500))
    def test_every_answer_is_one_short_printable_line(self, answer: bytes) -> None:
        for masking in (Masking("", ""), after_auth("user", "password")):
            told = masking.readable(answer)
            self.assertTrue(told.isprintable())
            self.assertLessEqual(len(told), MAX_TEXT)
