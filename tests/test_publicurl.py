"""The public URL, taken apart."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from fxa_auth.publicurl import parse_public_url


class PublicUrlTests(SynchronousTestCase):
    """URL, then host, port, domain and path."""

    def test_the_parts(self) -> None:
        for url, *parts in (
            ("http://127.0.0.1:9000", "127.0.0.1", 9000, "127.0.0.1:9000", ""),
            ("http://127.0.0.1:9000/", "127.0.0.1", 9000, "127.0.0.1:9000", ""),
            ("https://api.Example.COM", "api.example.com", 443, "api.example.com", ""),
            ("https://api.example.com:443", "api.example.com", 443, "api.example.com", ""),
            ("https://api.example.com:80", "api.example.com", 80, "api.example.com:80", ""),
            ("http://api.example.com", "api.example.com", 80, "api.example.com", ""),
            ("http://api.example.com:443", "api.example.com", 443, "api.example.com:443", ""),
            ("https://example.com/auth", "example.com", 443, "example.com", "/auth"),
            ("https://example.com/Auth/api//", "example.com", 443, "example.com", "/Auth/api"),
            ("http://[::1]:9000/x", "[::1]", 9000, "[::1]:9000", "/x"),
            ("https://[2001:DB8::1]", "[2001:db8::1]", 443, "[2001:db8::1]", ""),
        ):
            parsed = parse_public_url(str(url))
            self.assertEqual([parsed.host, parsed.port, parsed.domain, parsed.path], parts, url)
            self.assertEqual(parsed.origin, f"{parsed.scheme}://{parsed.domain}")
            self.assertEqual(parsed.scheme, str(url).partition(":")[0])

    def test_urls_that_lead_to_the_same_place_are_the_same(self) -> None:
        here = parse_public_url("https://accounts.example.com/auth")
        for same in ("https://accounts.example.com/auth", "https://ACCOUNTS.example.com:443/auth/"):
            self.assertTrue(here.is_same_as(same), same)
        for other in (
            "https://accounts.example.com",
            "https://accounts.example.com/auth/x",
            "http://accounts.example.com/auth",
            "https://accounts.example.com:8443/auth",
            "https://www.accounts.example.com/auth",
        ):
            self.assertFalse(here.is_same_as(other), other)
