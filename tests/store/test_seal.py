"""Sealed values: they open in their own place, under their own key, and nowhere else."""

from __future__ import annotations

import os

from hypothesis import given
from hypothesis.strategies import binary
from twisted.trial.unittest import SynchronousTestCase

from fxa_auth.store.database import DatabaseUnavailable
from fxa_auth.store.seal import BrokenSeal, Seal, key_id

KEY, OTHER_KEY = b"\x01" * 32, b"\x02" * 32
ROW = bytes(16)


def seal(key: bytes = KEY) -> Seal:
    made = Seal()
    made.use(key)
    return made


class SealTests(SynchronousTestCase):
    """AES-GCM, bound to table, column and row."""

    @given(binary(max_size=200), binary(min_size=16, max_size=32))
    def test_a_value_opens_in_its_own_place(self, value: bytes, row: bytes) -> None:
        self.assertEqual(seal().open(seal().close(value, "accounts", "ka", row), "accounts", "ka", row), value)

    def test_a_value_opens_nowhere_else(self) -> None:
        sealed = seal().close(b"secret", "accounts", "ka", ROW)
        for key, *place in (
            (OTHER_KEY, "accounts", "ka", ROW),
            (KEY, "tokens", "ka", ROW),
            (KEY, "accounts", "kb", ROW),
            (KEY, "account", "ska", ROW),
            (KEY, "accounts", "ka", bytes(15)),
            (KEY, "accounts", "ka", bytes(15) + b"\x01"),
        ):
            with self.assertRaises(BrokenSeal, msg=str(place)):
                seal(key).open(sealed, *place)

    def test_a_value_that_was_tampered_with_does_not_open(self) -> None:
        sealed = seal().close(b"secret", "accounts", "ka", ROW)
        changed = [sealed[:at] + bytes([sealed[at] ^ 1]) + sealed[at + 1 :] for at in range(len(sealed))]
        shortened = [sealed[:length] for length in range(len(sealed))]
        for broken in (*changed, *shortened, sealed + b"\0"):
            with self.assertRaises(BrokenSeal, msg=broken.hex()):
                seal().open(broken, "accounts", "ka", ROW)

    def test_the_same_value_is_sealed_differently_every_time(self) -> None:
        self.assertEqual(len({seal().close(b"secret", "accounts", "ka", ROW) for _ in range(100)}), 100)

    def test_a_sealed_value_names_its_key_and_hides_the_rest(self) -> None:
        key, value = os.urandom(32), os.urandom(32)
        sealed = seal(key).close(value, "accounts", "ka", ROW)
        self.assertEqual(sealed[1:9], key_id(key))
        self.assertNotIn(value, sealed)
        self.assertNotIn(key_id(key), key)
        self.assertEqual(len(key_id(key)), 8)
        self.assertNotEqual(key_id(key), key_id(OTHER_KEY))

    def test_older_keys_open_and_the_newest_seals(self) -> None:
        old = seal(OTHER_KEY).close(b"secret", "accounts", "ka", ROW)
        both = Seal()
        both.use(KEY, OTHER_KEY)
        new = both.close(b"secret", "accounts", "ka", ROW)
        self.assertEqual(new[1:9], key_id(KEY))
        for sealed, is_newest in ((old, False), (new, True)):
            self.assertEqual(both.open(sealed, "accounts", "ka", ROW), b"secret")
            self.assertEqual(both.is_newest(sealed), is_newest)

    def test_the_wrong_key_is_told_by_its_name(self) -> None:
        sealed = seal(OTHER_KEY).close(b"secret", "accounts", "ka", ROW)
        error = self.assertRaises(BrokenSeal, seal().open, sealed, "accounts", "ka", ROW)
        self.assertIn(key_id(OTHER_KEY).hex(), str(error))

    def test_without_a_key_the_store_is_not_available(self) -> None:
        self.assertRaises(DatabaseUnavailable, Seal().close, b"secret", "accounts", "ka", ROW)
        self.assertRaises(DatabaseUnavailable, Seal().open, b"sealed", "accounts", "ka", ROW)
        self.assertRaises(DatabaseUnavailable, Seal().derived_keys, "return path")

    def test_keys_for_other_purposes_are_made_from_each_key_the_newest_first(self) -> None:
        both = Seal()
        both.use(KEY, OTHER_KEY)
        new, old = both.derived_keys("return path")
        self.assertEqual([new], seal(KEY).derived_keys("return path"))
        self.assertEqual([old], seal(OTHER_KEY).derived_keys("return path"))
        self.assertEqual(len({new, old, KEY, OTHER_KEY, *both.derived_keys("something else")}), 6)
        self.assertEqual({len(new), len(old)}, {32})

    def test_a_key_for_another_purpose_stays_as_it_is(self) -> None:
        """What was proven with it may still be on its way."""
        expected = "901aea3075cd602985e617a67d7e1160df3dbf71210f144391d03f344c8167ee"
        self.assertEqual(seal(bytes(32)).derived_keys("return path"), [bytes.fromhex(expected)])
