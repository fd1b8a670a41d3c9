"""Return paths: made, read in any case of letters, and refused where anything about them is not right."""

from __future__ import annotations

import base64
import hashlib
import hmac
import string

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from fxa_auth.returnpath import CODE_LENGTH, LIFETIME_DAYS, MAX_PREFIX, NotAReturnPath, ReturnPaths

DAY_MS = 24 * 60 * 60 * 1000
NOW_MS = 20_000 * DAY_MS + 12345
KEY, OTHER_KEY = b"k" * 32, b"o" * 32
UID = bytes(range(16))

uids = st.binary(min_size=16, max_size=16)


def paths(*keys: bytes, address: str = "bounce@bounces.example.com") -> ReturnPaths:
    return ReturnPaths(address, lambda: keys or (KEY,))


class ReturnPathTests(SynchronousTestCase):
    def assertNot(self, address: str, reason: str, now_ms: int = NOW_MS, by: ReturnPaths | None = None) -> None:
        with self.assertRaises(NotAReturnPath) as caught:
            (by or paths()).uid_of(address, now_ms)
        self.assertEqual(str(caught.exception), reason)

    @given(uids)
    def test_it_names_the_account_in_any_case_of_letters(self, uid: bytes) -> None:
        address = paths().address_of(uid, NOW_MS)
        for text in (address, address.upper(), address.swapcase()):
            self.assertEqual(paths().uid_of(text, NOW_MS), uid)

    def test_it_is_lower_case_ascii_and_its_local_part_is_not_too_long_for_any_relay(self) -> None:
        longest = paths(address="b" * MAX_PREFIX + "@example.com").address_of(UID, NOW_MS)
        local_part, _, domain = longest.partition("@")
        self.assertEqual((len(local_part), domain), (64, "example.com"))
        self.assertLessEqual(set(local_part), set(string.ascii_lowercase + "234567+"))

    def test_its_form_stays_as_it_is(self) -> None:
        """Mails that are on their way name accounts by it."""
        address = "bounce+aaaqeayeaudaocajbifqydiob5hcbuv3ihbdhj2azkwxfb7p@bounces.example.com"
        self.assertEqual(paths().address_of(UID, NOW_MS), address)

    def test_the_mac_is_an_hmac_of_uid_and_day(self) -> None:
        code = paths().address_of(UID, NOW_MS).split("@")[0].removeprefix("bounce+")
        content = base64.b32decode(code.upper())
        self.assertEqual(content[:18], UID + (20_000).to_bytes(2, "big"))
        self.assertEqual(content[18:], hmac.new(KEY, content[:18], hashlib.sha256).digest()[:12])

    @given(st.integers(0, CODE_LENGTH - 1), st.sampled_from("abcdefghijklmnopqrstuvwxyz234567"))
    def test_a_code_with_another_character_is_refused(self, place: int, character: str) -> None:
        address = paths().address_of(UID, NOW_MS)
        start = len("bounce+") + place
        other = address[:start] + character + address[start + 1 :]
        if other != address:
            self.assertNot(other, "wrong MAC")

    def test_a_code_made_with_another_key_is_refused(self) -> None:
        self.assertNot(paths(OTHER_KEY).address_of(UID, NOW_MS), "wrong MAC")

    def test_the_first_key_makes_codes_and_every_key_proves_them(self) -> None:
        old, both = paths(OTHER_KEY), paths(KEY, OTHER_KEY)
        self.assertEqual(both.uid_of(old.address_of(UID, NOW_MS), NOW_MS), UID)
        self.assertEqual(both.address_of(UID, NOW_MS), paths(KEY).address_of(UID, NOW_MS))

    def test_it_lapses(self) -> None:
        address = paths().address_of(UID, NOW_MS)
        self.assertEqual(paths().uid_of(address, NOW_MS + LIFETIME_DAYS * DAY_MS), UID)
        self.assertNot(address, "lapsed", NOW_MS + (LIFETIME_DAYS + 1) * DAY_MS)

    def test_a_clock_that_is_behind_does_no_harm(self) -> None:
        self.assertEqual(paths().uid_of(paths().address_of(UID, NOW_MS), NOW_MS - DAY_MS), UID)

    def test_what_is_not_of_its_form_is_refused(self) -> None:
        code = paths().address_of(UID, NOW_MS).split("@")[0].removeprefix("bounce+")
        for address in (
            "",
            "@",
            "bounce@bounces.example.com",
            "bounce+@bounces.example.com",
            f"{code}@bounces.example.com",
            f"bounce-{code}@bounces.example.com",
            f"bounce+{code}",
            f"bounce+{code}@example.com",
            f"bounce+{code}@evil.bounces.example.com",
            f"bounce+{code[:-1]}@bounces.example.com",
            f"bounce+{code}a@bounces.example.com",
            f"bounce+{code[:-8]}========@bounces.example.com",
            f"bounce+{code[:-1]}1@bounces.example.com",
            f"bounce+{code[:-1]}ä@bounces.example.com",
            f"bounce+{code}@bounces.example.com@bounces.example.com",
        ):
            self.assertNot(address, "not of the form of a return path")

    @given(st.text())
    def test_whatever_else_comes_is_refused(self, text: str) -> None:
        for address in (text, f"bounce+{text}@bounces.example.com"):
            with self.assertRaises(NotAReturnPath):
                paths().uid_of(address, NOW_MS)

    def test_what_the_keys_raise_comes_out(self) -> None:
        def not_there() -> list[bytes]:
            raise LookupError

        waiting = ReturnPaths("bounce@example.com", not_there)
        self.assertRaises(LookupError, waiting.uid_of, "x", NOW_MS)
        self.assertRaises(LookupError, waiting.address_of, UID, NOW_MS)
