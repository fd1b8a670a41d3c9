"""Pauses that grow."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from fxa_auth.backoff import Backoff


def middle(length: int) -> bytes:
    """Chance that neither lengthens nor shortens."""
    return b"\x7f" + b"\xff" * (length - 1)


class BackoffTests(SynchronousTestCase):
    def test_each_pause_is_twice_the_one_before_up_to_the_longest(self) -> None:
        backoff = Backoff(30_000, 300_000, middle)
        pauses = [backoff.pause_ms(failures) for failures in range(1, 7)]
        self.assertEqual(pauses, [30_000, 60_000, 120_000, 240_000, 300_000, 300_000])

    def test_chance_changes_a_pause_by_a_quarter_at_most(self) -> None:
        for random, expected in ((bytes, 750), (lambda length: b"\xff" * length, 1250)):
            self.assertEqual(Backoff(1000, 1000, random).pause_ms(3), expected)

    def test_a_longest_pause_below_the_first_counts(self) -> None:
        self.assertEqual(Backoff(1000, 10, middle).pause_ms(1), 10)

    @given(st.integers(1, 10**9), st.integers(1, 10**12), st.integers(1, 10**12))
    def test_pauses_never_shrink_and_end_at_the_longest(self, failures: int, first_ms: int, longest_ms: int) -> None:
        backoff = Backoff(first_ms, longest_ms, middle)
        self.assertLessEqual(backoff.pause_ms(failures), backoff.pause_ms(failures + 1))
        self.assertLessEqual(abs(backoff.pause_ms(10**9) - longest_ms), 1 + longest_ms / 10**6)
