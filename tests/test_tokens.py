"""Tokens: derivation against the original's values, and how long each lives."""

from __future__ import annotations

import hashlib

from hypothesis import given
from hypothesis.strategies import integers
from twisted.trial.unittest import SynchronousTestCase

from fxa_auth.records import TokenKind
from fxa_auth.tokens import Lifetimes, derive, hash_of_id
from tests.vectors import vectors

FORGOT = TokenKind.PASSWORD_FORGOT
HOUR_MS = 3_600_000


class DerivationTests(SynchronousTestCase):
    """From 32 bytes to the keys of a token."""

    def test_every_kind_derives_as_the_original_does(self) -> None:
        rows = vectors("tokens")
        self.assertEqual({row["kind"] for row in rows}, {kind.value for kind in TokenKind})
        for row in rows:
            keys = derive(TokenKind(row["kind"]), row["tokenData"])
            derived = (keys.data, keys.id, keys.auth_key, keys.bundle_key)
            self.assertEqual(derived, (row["tokenData"], row["tokenId"], row["authKey"], row["bundleKey"]))
            self.assertEqual(keys.id_hash, hashlib.sha256(row["tokenId"]).digest())
            self.assertEqual(keys.id_hash, hash_of_id(keys.id))

    def test_no_key_shows_in_a_repr(self) -> None:
        keys = derive(TokenKind.SESSION, b"\xab" * 32)
        self.assertEqual(repr(keys), "TokenKeys(kind=<TokenKind.SESSION: 'sessionToken'>)")


class LifetimeTests(SynchronousTestCase):
    """When a token ends."""

    def test_the_ttl_is_rounded_up_to_whole_seconds(self) -> None:
        lifetimes = Lifetimes({FORGOT: HOUR_MS})
        for age_ms, ttl_s in (
            (0, 3600),
            (1, 3600),
            (999, 3600),
            (1000, 3599),
            (HOUR_MS - 1001, 2),
            (HOUR_MS - 1000, 1),
            (HOUR_MS - 1, 1),
            (HOUR_MS, 0),
            (HOUR_MS + 1, 0),
            (10 * HOUR_MS, 0),
        ):
            self.assertEqual(lifetimes.seconds_left(FORGOT, 5_000, 5_000 + age_ms), ttl_s, f"at the age of {age_ms} ms")

    def test_a_token_works_to_its_last_millisecond(self) -> None:
        lifetimes = Lifetimes({FORGOT: HOUR_MS})
        self.assertFalse(lifetimes.is_expired(FORGOT, 5_000, 5_000 + HOUR_MS - 1))
        self.assertTrue(lifetimes.is_expired(FORGOT, 5_000, 5_000 + HOUR_MS))

    def test_a_negative_lifetime_is_over_at_once(self) -> None:
        for lifetime_ms in (-1, -HOUR_MS):
            lifetimes = Lifetimes({FORGOT: lifetime_ms})
            self.assertEqual(lifetimes.seconds_left(FORGOT, 5_000, 5_000), 0)
            self.assertTrue(lifetimes.is_expired(FORGOT, 5_000, 5_000))

    def test_a_kind_without_a_lifetime_never_expires(self) -> None:
        self.assertFalse(Lifetimes({FORGOT: 1}).is_expired(TokenKind.SESSION, 0, 10**15))

    @given(integers(-HOUR_MS, HOUR_MS), integers(0, 2 * HOUR_MS))
    def test_what_may_be_pruned_has_expired(self, lifetime_ms: int, created_at_ms: int) -> None:
        now_ms = 2 * HOUR_MS
        lifetimes = Lifetimes({FORGOT: lifetime_ms})
        if created_at_ms < lifetimes.expired_before_ms(FORGOT, now_ms):
            self.assertTrue(lifetimes.is_expired(FORGOT, created_at_ms, now_ms))

    @given(integers(-HOUR_MS, HOUR_MS), integers(0, 2 * HOUR_MS))
    def test_a_token_is_expired_exactly_when_no_time_is_left(self, lifetime_ms: int, age_ms: int) -> None:
        self.assertEqual(Lifetimes({FORGOT: lifetime_ms}).is_expired(FORGOT, 0, age_ms), age_ms >= lifetime_ms)
