"""Accept-Language as it is stored."""

from __future__ import annotations

from hypothesis import given
from hypothesis.strategies import text
from twisted.trial.unittest import SynchronousTestCase

from fxa_auth.language import trim


class TrimTests(SynchronousTestCase):
    """At most 255 characters, cut at a comma."""

    def test_what_is_stored(self) -> None:
        long = "x" * 255
        for header, stored in (
            (None, None),
            ("", None),
            ("en", "en"),
            ("en-US,en;q=0.5", "en-US,en;q=0.5"),
            (long, long),
            (long + "x", None),
            (long + ",en", long),
            (long + "x,en", None),
            ("en," + long, "en"),
            ("en,fr;q=0.5," + long + ",de", "en,fr;q=0.5"),
            ("en," + "x" * 252, "en," + "x" * 252),
            ("en," + "x" * 253, "en"),
        ):
            self.assertEqual(trim(header), stored, header)

    @given(text(alphabet="e,x", min_size=1, max_size=600))
    def test_whole_elements_are_kept_and_as_many_as_fit(self, header: str) -> None:
        stored = trim(header) or ""
        self.assertLessEqual(len(stored), 255)
        self.assertTrue(header.startswith(stored))
        rest = header[len(stored) :]
        if rest and stored:
            self.assertTrue(rest.startswith(","))
            self.assertGreater(len(stored) + 1 + len(rest[1:].split(",")[0]), 255)
