"""What a parameter may be: the values that pass. Those that do not are sent to every endpoint in test_bad_input."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any

from twisted.trial.unittest import SynchronousTestCase

from fxa_auth import errors
from fxa_auth.http import params
from fxa_auth.http.params import ModelReader, Param


class ValueTests(SynchronousTestCase):
    def test_values_that_pass(self) -> None:
        rows: tuple[tuple[Callable[[Any], Any], Any, Any], ...] = (
            (params.text, "\x01 é\U0001f600", "\x01 é\U0001f600"),
            (params.email, "Jane.O'Neil+x@Example.org", "Jane.O'Neil+x@Example.org"),
            (params.email, "j@localhost", "j@localhost"),
            (params.email, "é@bücher.example", "é@bücher.example"),
            (params.hex_bytes(1, 16), "0aFF", b"\x0a\xff"),
            (params.hex_bytes(16, 16), "aB" * 16, b"\xab" * 16),
            (params.service, "a", "a"),
            (params.service, "Az09" * 4, "Az09" * 4),
            (params.resume, "é" * 2048, "é" * 2048),
            (params.pre_verify_token, "aaaa.bb-_.cccc", "aaaa.bb-_.cccc"),
            (params.duration_ms, "86400000", 86_400_000),
            (params.duration_ms, 1.0, 1),
            (params.flag, "Yes", True),
            (params.flag, "off", False),
        )
        for read, value, expected in rows:
            self.assertEqual(read(value), expected, (read, value))

    def test_urls_of_the_domain(self) -> None:
        for url in (
            *("https://firefox.com", "http://firefox.com/", "HTTPS://FIREFOX.com", "https://a.b-c_d.firefox.com/x?y#z"),
            *("https://firefox.com:8443/a", "https://firefox.com?x=https://evil.example/", "https://firefox.com#/a@b"),
            "https://firefox.com/" + "é" * 492,
        ):
            self.assertEqual(params.redirect_to("firefox.com")(url), url)

    def test_without_a_domain_any_host_will_do_but_nothing_else(self) -> None:
        read = params.redirect_to("")
        for url in ("http://localhost:3030/x", "https://evil.example"):
            self.assertEqual(read(url), url)
        for url in (
            "javascript:x",
            "//x",
            "https://a@b.c",
            "https://a\\b",
            "https://",
            "https:///x",
            "https://.x",
            "https://x y",
            "",
        ):
            self.assertRaises(ValueError, read, url)


@dataclass(frozen=True)
class Model:
    first: Annotated[str, Param("first", params.text)]
    redirect: Annotated[str | None, Param("redirectTo", params.redirect_to(""))] = None
    hidden: Annotated[bool, Param("hidden", params.flag)] = False


class ReaderTests(SynchronousTestCase):
    reader = ModelReader("firefox.com", ("hidden",))

    def test_the_settings_rule_for_redirects_is_the_one_that_counts(self) -> None:
        self.assertEqual(self.reader.read(Model, {"first": "a"}, "payload"), Model("a"))
        with self.assertRaises(errors.ApiError):
            self.reader.read(Model, {"first": "a", "redirectTo": "https://evil.example"}, "payload")

    def test_a_withheld_parameter_is_unknown_even_if_it_is_good(self) -> None:
        with self.assertRaises(errors.ApiError) as caught:
            self.reader.read(Model, {"first": "a", "hidden": True}, "payload")
        self.assertEqual(caught.exception.extras, {"validation": {"source": "payload", "keys": ["hidden"]}})

    def test_unknown_keys_of_a_query_are_ignored(self) -> None:
        self.assertEqual(self.reader.read(Model, {"first": "a", "x": "b", "hidden": "c"}, "query"), Model("a"))


class QueryTests(SynchronousTestCase):
    def test_queries(self) -> None:
        for query, expected in (
            ("", {}),
            ("a=b&c=", {"a": "b", "c": ""}),
            ("a", {"a": ""}),
            ("a=%C3%A9+%2B", {"a": "é +"}),
            ("a=1&a=2", {"a": ["1", "2"]}),
            ("&&=x", {"": "x"}),
            ("a=%ff", {"a": "\udcff"}),
        ):
            self.assertEqual(params.read_query(query), expected, query)
