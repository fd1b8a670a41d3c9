"""Mailed links that lead to this server itself: pages with a button, in the reader's language, without scripts."""

from __future__ import annotations

from html.parser import HTMLParser
from typing import Any, ClassVar
from urllib.parse import urlencode

from fxa_auth import errors
from fxa_auth.store.database import DatabaseUnavailable
from tests.http.server import EMAIL, ApiCase
from tests.http.wire import Reply
from tests.texts import default_texts

PATHS = ("/v1/verify_email", "/v1/complete_unlock_account")


class Document(HTMLParser):
    """What a browser makes of a page: its elements, its text, and its forms."""

    def __init__(self, reply: Reply) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(reply.body.decode())
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.text += data

    def attributes(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.elements if name == tag]


class PageCase(ApiCase):
    options: ClassVar = {"pages": True}

    async def verify_link(self) -> str:
        """The path and query of the link in the mail to a new account."""
        answer = await self.api.sign_up(verified=False)
        code = (await self.account()).email_code.hex()
        return f"/v1/verify_email?{urlencode({'uid': answer['uid'], 'code': code, 'service': 'sync'})}"

    async def unlock_link(self) -> str:
        answer = await self.api.sign_up()
        await self.api.post("/v1/account/lock", {"email": EMAIL, "authPW": "ab" * 32})
        code = (await self.account()).unlock_code
        assert code is not None
        return f"/v1/complete_unlock_account?{urlencode({'uid': answer['uid'], 'code': code.hex()})}"

    async def account(self) -> Any:
        return await self.api.account()

    async def open(self, link: str, language: str = "en") -> Reply:
        return await self.api.get(link, headers={"Accept-Language": language})

    async def press(self, link: str, language: str = "en") -> Reply:
        """Send the form of the page, as a browser does; its address is that of the page."""
        [form] = Document(await self.open(link)).attributes("form")
        self.assertEqual(form, {"method": "post"})
        headers = {"Content-Type": "application/x-www-form-urlencoded", "Accept-Language": language}
        return await self.api.post(link, b"", headers=headers)

    def assertPage(self, reply: Reply, status: int, text: str) -> Document:
        self.assertEqual((reply.status, reply.header("Content-Type")), (status, "text/html; charset=utf-8"))
        document = Document(reply)
        self.assertIn(text, document.text)
        return document


class ButtonTests(PageCase):
    async def test_opening_a_link_verifies_nothing(self) -> None:
        link = await self.verify_link()
        document = self.assertPage(await self.open(link), 200, "confirm that this email address is yours")
        self.assertEqual(len(document.attributes("button")), 1)
        self.assertEqual((await self.api.send("HEAD", link)).status, 200)
        self.assertFalse((await self.account()).email_verified)

    async def test_the_button_verifies_the_address_and_tells_the_event(self) -> None:
        link = await self.verify_link()
        document = self.assertPage(await self.press(link), 200, "Your email address is verified")
        self.assertEqual(document.attributes("form"), [], "there is nothing more to press")
        self.assertNotIn("Verify email address", document.text, "that is done")
        self.assertTrue((await self.account()).email_verified)
        self.assertEqual([kind for kind, _ in await self.api.events()], ["created", "verified"])

    async def test_pressing_it_again_says_the_same(self) -> None:
        link = await self.verify_link()
        await self.press(link)
        self.assertPage(await self.press(link), 200, "Your email address is verified")

    async def test_opening_a_link_unlocks_nothing_and_its_button_does(self) -> None:
        link = await self.unlock_link()
        self.assertPage(await self.open(link), 200, "Press the button to unlock")
        self.assertIsNotNone((await self.account()).locked_at_ms)
        self.assertPage(await self.press(link), 200, "Your account is unlocked")
        self.assertIsNone((await self.account()).locked_at_ms)

    async def test_the_link_for_a_new_password_says_that_there_is_no_page_yet(self) -> None:
        link = f"/v1/complete_reset_password?{urlencode({'token': 'ab' * 32, 'code': 'cd' * 16, 'email': EMAIL})}"
        document = self.assertPage(await self.open(link), 200, "cannot be chosen on this page yet")
        self.assertEqual(document.attributes("form"), [])


class TroubleTests(PageCase):
    async def test_a_wrong_code_is_told_plainly(self) -> None:
        uid = (await self.api.sign_up(verified=False))["uid"]
        await self.api.post("/v1/account/lock", {"email": EMAIL, "authPW": "ab" * 32})
        for path in PATHS:
            self.assertPage(await self.press(f"{path}?uid={uid}&code={'00' * 16}"), 400, "The link is no longer valid")
        account = await self.account()
        self.assertFalse(account.email_verified)
        self.assertIsNotNone(account.locked_at_ms)

    async def test_an_account_that_has_gone_is_a_link_no_longer_valid(self) -> None:
        for path in PATHS:
            link = f"{path}?uid={'ab' * 16}&code={'cd' * 16}"
            self.assertPage(await self.press(link), 400, "The link is no longer valid")

    async def test_a_link_cut_short_is_told_plainly(self) -> None:
        for path in (*PATHS, "/v1/complete_reset_password"):
            for query in ("", "?uid=abcd", "?uid=abcd&code=abc", "?uid=abcd&code=", f"?uid=abcd&code={'ab' * 17}"):
                self.assertPage(await self.open(path + query), 400, "The link is incomplete")

    async def test_so_is_one_wherever_it_was_cut(self) -> None:
        link = (await self.verify_link()).partition("&service")[0]
        for path in PATHS:
            query = link.partition("?")[2]
            for end in range(len(query)):
                self.assertPage(await self.open(f"{path}?{query[:end]}"), 400, "The link is incomplete")
            self.assertPage(await self.api.post(f"{path}?{query[:-2]}", b""), 400, "The link is incomplete")
        self.assertFalse((await self.account()).email_verified)

    async def test_a_store_that_is_away_is_told_plainly(self) -> None:
        link = await self.verify_link()
        await self.api.database.stop()
        reply = await self.press(link)
        self.assertPage(reply, 503, "Please try again in a few minutes")
        self.assertEqual(reply.header("Retry-After"), "30")
        self.assertEqual(len(self.flushLoggedErrors(DatabaseUnavailable)), 1)

    async def test_what_no_browser_sends_is_answered_as_everywhere(self) -> None:
        """A page would tell its reader to wait, or to look at the link."""
        link = await self.verify_link()
        self.assertError(await self.api.post(link, b"x" * 16_385), 413, 113)
        chunked = f"POST {link} HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n0\r\n\r\n"
        self.assertError(await self.api.raw(chunked.encode()), 411, 112)
        self.assertFalse((await self.account()).email_verified)

    async def test_whatever_goes_wrong_in_the_server_is_told_plainly(self) -> None:
        for error in (errors.unspecified(500, "Unspecified error"), errors.service_unavailable()):
            answer = default_texts().pages.trouble(error, "en")
            assert answer is not None
            self.assertEqual(answer.status, error.status)
            self.assertIn(b"Please try again in a few minutes", answer.body)

    async def test_what_a_link_carries_is_not_shown(self) -> None:
        text = "<script>alert(1)</script>"
        link = f"/v1/verify_email?{urlencode({'uid': 'ab' * 16, 'code': 'cd' * 16, 'resume': text})}"
        for reply in (await self.open(link), await self.press(link), await self.open(link + "&service=" + "x" * 99)):
            self.assertNotIn(b"alert", reply.body)
            self.assertNotIn(b"cdcd", reply.body)


class OverloadTests(PageCase):
    options: ClassVar = {"pages": True, "is_overloaded": lambda: True}

    async def test_a_server_with_too_much_to_do_says_so_on_a_page(self) -> None:
        reply = await self.open(f"{PATHS[0]}?uid={'ab' * 16}&code={'cd' * 16}", "de")
        self.assertPage(reply, 503, "Bitte versuchen Sie es in einigen Minuten erneut")
        self.assertEqual((reply.header("Retry-After"), reply.header("Content-Language")), ("30", "de"))


class FormTests(PageCase):
    async def test_a_page_asks_nobody_for_anything_and_has_no_scripts(self) -> None:
        reply = await self.open(await self.verify_link())
        document = Document(reply)
        self.assertEqual({"script", "img", "link", "iframe"} & {tag for tag, _ in document.elements}, set())
        self.assertNotIn(b"url(", reply.body)
        self.assertEqual(reply.header("Referrer-Policy"), "no-referrer")
        self.assertEqual(reply.header("Cache-Control"), "no-store")
        policy = reply.header("Content-Security-Policy") or ""
        self.assertIn("default-src 'none'", policy)
        self.assertIn("frame-ancestors 'none'", policy)

    async def test_pages_are_in_the_readers_language(self) -> None:
        link = await self.verify_link()
        for wanted, lang, direction in (("de-CH,fr;q=0.5", "de", "ltr"), ("he", "he", "rtl"), ("xx", "en", "ltr")):
            reply = await self.open(link, wanted)
            self.assertEqual(reply.header("Content-Language"), lang)
            document = Document(reply)
            self.assertEqual(document.attributes("html"), [{"lang": lang, "dir": direction}])
            language = default_texts().languages.choose(wanted)
            self.assertIn(language.gettext("Verify email address"), document.text)
        self.assertPage(await self.press(link, "fr"), 200, "Firefox Accounts")
        for opened in (link, "/v1/verify_email"):
            self.assertEqual((await self.open(opened, "de")).header("Content-Language"), "de")
            self.assertEqual((await self.open(opened, "x" * 256 + ",de")).header("Content-Language"), "en", "see trim")

    async def test_the_log_names_the_account_and_no_code(self) -> None:
        link = await self.verify_link()
        await self.press(link)
        account = await self.account()
        line = self.log.lines("request.summary")[-1]
        self.assertEqual((line["code"], line["path"], line["uid"]), (200, "/v1/verify_email", account.uid.hex()))
        self.assertNotIn(account.email_code.hex(), self.log.text)


class ElsewhereTests(ApiCase):
    """Where the content server is another, links lead there."""

    async def test_there_is_nothing_to_press(self) -> None:
        for path in PATHS:
            link = f"{path}?uid={'ab' * 16}&code={'cd' * 16}"
            self.assertEqual((await self.api.get(link)).status, 302)
            self.assertError(await self.api.post(link), 404, 999)
