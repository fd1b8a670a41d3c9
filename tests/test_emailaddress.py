"""What an email address is: the protocol's rules one by one, and against a second telling of them."""

from __future__ import annotations

import string
from itertools import pairwise

from hypothesis import example, given
from hypothesis.strategies import integers, sampled_from, text
from twisted.trial.unittest import SynchronousTestCase

from fxa_auth.emailaddress import is_valid, normalize

LETTERS_AND_DIGITS = string.ascii_letters + string.digits
LOCAL_SIGNS = ".!#$%&'*+-/=?^_`{|}~"


def is_valid_by_the_letter(address: str) -> bool:
    """The rule as docs/api.md words it, character by character."""
    if len(address) > 255 or "@" not in address or address[0] == "@" or address[-1] in "@.-":
        return False
    local, _, domain = address.partition("@")
    if any(ord(c) < 128 and c not in LETTERS_AND_DIGITS + LOCAL_SIGNS for c in local):
        return False
    if any(ord(c) < 128 and c not in LETTERS_AND_DIGITS + ".-" for c in domain):
        return False
    if not domain or domain[0] in ".-":
        return False
    pairs = {first + second for first, second in pairwise(domain)}
    return not pairs & {"..", "-.", ".-"}


class RuleTests(SynchronousTestCase):
    """One row for each rule."""

    def test_addresses_that_pass(self) -> None:
        for address in (
            "a@b",
            "me@example.com",
            "Me@Example.COM",
            "me@localhost",
            "me@127.0.0.1",
            "1@2.3",
            ".me.@example.com",
            "m..e@example.com",
            "-me-@example.com",
            *(f"a{sign}b@example.com" for sign in LOCAL_SIGNS),
            *(f"{sign}@example.com" for sign in LOCAL_SIGNS),
            "me@a-b.example.com",
            "me@a--b.com",
            "me@xn--bcher-kva.ch",
            "andré@example.org",
            "me@bücher.example",
            "ü@ü",
            "我@屋企.香港",
            "\U0001f98a@\U0001f98a.ws",
            "me@" + "a" * 252,
            "a" * 253 + "@b",
            "me@" + "a" * 70 + ".com",
        ):
            self.assertTrue(is_valid(address), address)

    def test_addresses_that_do_not(self) -> None:
        for address, reason in (
            ("", "empty"),
            ("me", "no @"),
            ("@", "nothing around the @"),
            ("@example.com", "@ is first"),
            ("me@", "@ is last"),
            ("me@example@", "@ is last"),
            ("me@example.com.", "ends in ."),
            ("me@example.com-", "ends in -"),
            ("me@example@example.com", "a second @"),
            ("me@@example.com", "a second @"),
            ("me@.com", "domain begins with ."),
            ("me@-a.com", "domain begins with -"),
            ("me@a..com", ". after ."),
            ("me@a-.com", ". after -"),
            ("me@a.-com", "- after ."),
            ("me@a--.com", ". after -"),
            ("me@a_b.com", "_ in the domain"),
            ("me@[127.0.0.1]", "[ in the domain"),
            ("me@example.com:25", ": in the domain"),
            ("a,b@example.com", "comma"),
            ("a\ud800b@example.com", "half of a surrogate pair"),
            ("me@a\udfff.com", "half of a surrogate pair"),
            ("me@example.com,you@example.com", "comma"),
            ('"me"@example.com', "quote"),
            ("Me <me@example.com>", "angle bracket"),
            ("me you@example.com", "blank"),
            (" me@example.com", "blank"),
            ("me@example.com ", "blank"),
            ("me@example.com\n", "line end"),
            ("me@example.com\r\nBcc: you@example.com", "line end"),
            ("me\n@example.com", "line end"),
            ("me\0@example.com", "NUL"),
            ("me\x7f@example.com", "DEL"),
            ("me\\@example.com", "backslash"),
            ("me(x)@example.com", "parenthesis"),
            ("me;@example.com", "semicolon"),
            ("me@" + "a" * 253, "256 characters"),
            ("a" * 254 + "@b", "256 characters"),
        ):
            self.assertFalse(is_valid(address), f"{reason}: {address!r}")

    def test_every_ascii_character_on_either_side(self) -> None:
        for character in map(chr, range(128)):
            local, domain = f"a{character}b@example.com", f"me@a{character}b.com"
            self.assertEqual(is_valid(local), is_valid_by_the_letter(local), local)
            self.assertEqual(is_valid(domain), is_valid_by_the_letter(domain), domain)

    @given(text(alphabet=sampled_from("aZ0é\u0080\x7f.-@_,+ \n"), max_size=14))
    @example("a@b\u0080")
    def test_both_tellings_of_the_rule_agree(self, address: str) -> None:
        self.assertEqual(is_valid(address), is_valid_by_the_letter(address))

    @given(text(max_size=20), text(max_size=20))
    def test_they_agree_on_any_text_around_an_at(self, local: str, domain: str) -> None:
        address = f"{local}@{domain}"
        self.assertEqual(is_valid(address), is_valid_by_the_letter(address))

    @given(integers(250, 260), sampled_from("aé.-"))
    def test_they_agree_about_length(self, length: int, filling: str) -> None:
        address = ("me@x" + filling * 300)[: length - 1] + "y"
        self.assertEqual(is_valid(address), is_valid_by_the_letter(address))

    def test_no_address_makes_the_check_run_away(self) -> None:
        for piece in ("a", ".", "-", "a.", "a-", "-a", "a--", "é-", "a@", "@", "a-a.", "--.", ".a-", "+"):
            for start in ("", "a@", "a@a"):
                for end in ("", "!", "\n", ".", "-", "@"):
                    address = (start + piece * 255)[: 255 - len(end)] + end
                    self.assertEqual(is_valid(address), is_valid_by_the_letter(address), address)


class NormalizingTests(SynchronousTestCase):
    """Which two addresses are one account."""

    def test_only_the_case_of_letters_is_dropped(self) -> None:
        for address, normalized in (
            ("Me@Example.COM", "me@example.com"),
            ("ÄÖ@ÜBER.example", "äö@über.example"),
            ("straße@example.com", "straße@example.com"),
            ("e\u0301@example.com", "e\u0301@example.com"),
            ("m.e+tag@example.com", "m.e+tag@example.com"),
        ):
            self.assertEqual(normalize(address), normalized)
