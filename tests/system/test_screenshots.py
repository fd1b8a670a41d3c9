"""Mails and pages as readers see them, in a real browser: all languages, phone and desk, light and dark.

``make screenshots`` runs this and leaves pictures of some of them in ``build/screenshots``.
"""

from __future__ import annotations

from collections.abc import Iterator
from email import message_from_bytes, policy
from email.message import EmailMessage
from pathlib import Path
from typing import Any

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from fxa_auth.config import Layer, load
from fxa_auth.http.pages import Page
from fxa_auth.mailing import make_composer
from fxa_auth.records import Letter, LinkOptions, MailKind
from fxa_auth.texts import Texts
from tests.system import SKIP
from tests.system.chromium import Chromium

PICTURES = Path(__file__).resolve().parents[2] / "build" / "screenshots"
SETTINGS = {
    "branding": {"productName": "Example Accounts", "supportUrl": "https://support.example.com/accounts"},
    "contentServer": {"url": "https://accounts.example.com"},
}
PICTURED = ("de", "en", "he", "ja", "pa", "pt-BR", "ru", "zh-TW")
WIDTHS = (320, 600)

UID, CODE, TOKEN = bytes.fromhex("3c" * 16), bytes.fromhex("a1" * 16), bytes.fromhex("0f" * 32)
USUAL, LONGEST = LinkOptions(service="sync"), LinkOptions("sync", "https://firefox.com/" + "y" * 490, "x" * 2048)

LOOK = """(() => {
  const edge = document.documentElement.clientWidth, faults = [];
  const channels = colour => colour.match(/[\\d.]+/g).map(Number);
  const luminance = colour => {
    const linear = channel => channel <= 0.04045 ? channel / 12.92 : ((channel + 0.055) / 1.055) ** 2.4;
    const [r, g, b] = channels(colour).map(channel => linear(channel / 255));
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const ground = node => {
    const colour = getComputedStyle(node).backgroundColor;
    return channels(colour)[3] === 0 ? ground(node.parentElement) : colour;
  };
  let texts = 0, least = 21;
  for (const node of document.body.querySelectorAll("*")) {
    const box = node.getBoundingClientRect();
    if (box.left < 0 || box.right > edge + 0.5) faults.push(node.outerHTML.slice(0, 80));
    if ([...node.childNodes].some(child => child.nodeType === 3 && child.data.trim())) {
      const [low, high] = [luminance(getComputedStyle(node).color), luminance(ground(node))].sort((a, b) => a - b);
      least = Math.min(least, (high + 0.05) / (low + 0.05));
      texts += 1;
    }
  }
  return {width: document.documentElement.scrollWidth, window: edge, faults, texts, least};
})()"""
"""What sticks out of the page, and the least contrast of a text to what is behind it (WCAG 2.2, 1.4.3)."""


class Screenshots(SynchronousTestCase):
    skip = SKIP
    timeout = 1200

    def setUp(self) -> None:
        self.settings = load([Layer("", SETTINGS)], {}).settings
        self.texts = Texts(self.settings)
        self.browser = Chromium()
        self.browser.__enter__()
        self.addCleanup(self.browser.__exit__, None, None, None)
        PICTURES.mkdir(parents=True, exist_ok=True)

    def views(self, name: str, html: str) -> Iterator[tuple[str, Any]]:
        """A page shown in each way: a name for the view, and what was found by looking at it."""
        for width in WIDTHS:
            for dark in (False, True):
                self.browser.show(html, width, dark)
                yield f"{name}-{width}-{'dark' if dark else 'light'}", self.browser.evaluate(LOOK)

    def take_picture(self, name: str) -> None:
        (PICTURES / f"{name}.png").write_bytes(self.browser.picture())

    def assert_good(self, name: str, look: Any, least_texts: int) -> None:
        self.assertLessEqual(look["width"], look["window"], name)
        self.assertEqual(look["faults"], [], name)
        self.assertGreaterEqual(look["texts"], least_texts, name)
        self.assertGreaterEqual(look["least"], 4.5, name)


class LookTests(Screenshots):
    def test_a_page_that_overflows_or_is_pale_would_be_found(self) -> None:
        for body, faults in (
            ("<p>fine</p>", 0),
            ("<p style='width: 400px'>wide</p>", 1),
            ("<p style='margin-left: -50px'>left</p>", 1),
            ("<p style='color: #aaaaaa'>pale</p>", 0),
        ):
            head = "<!DOCTYPE html><meta name='viewport' content='width=device-width'>"
            self.browser.show(f"{head}<body style='background-color: #ffffff'>{body}", 320, False)
            look = self.browser.evaluate(LOOK)
            self.assertEqual(len(look["faults"]), faults, body)
            self.assertEqual(look["least"] < 4.5, "pale" in body)


class MailTests(Screenshots):
    def setUp(self) -> None:
        super().setUp()
        self.composer = make_composer(self.settings, self.texts, Clock())

    def page(self, kind: MailKind, tag: str, options: LinkOptions) -> str:
        """The HTML of a mail in the language ``tag``."""
        letter = Letter(kind, UID, "reader@example.com", CODE, TOKEN, options, tag)
        message = message_from_bytes(self.composer.compose(letter).content, EmailMessage, policy=policy.default)
        body = message.get_body(("html",))
        assert body is not None
        page: str = body.get_content()
        return page

    def mails(self, options: LinkOptions) -> Iterator[tuple[str, str, Any]]:
        """Each mail shown in each way: its language, a name for the view, and what was found by looking at it."""
        for language in self.texts.languages:
            for kind in MailKind:
                for name, look in self.views(f"{kind.value}-{language.tag}", self.page(kind, language.tag, options)):
                    yield language.tag, name, look

    def test_nothing_overflows_and_every_text_stands_out_from_its_background(self) -> None:
        seen = 0
        for tag, name, look in self.mails(USUAL):
            self.assert_good(name, look, 6)
            if tag in PICTURED:
                self.take_picture(name)
            seen += 1
        self.assertEqual(seen, 42 * 3 * 4)

    def test_the_longest_link_overflows_nothing_either(self) -> None:
        for _, name, look in self.mails(LONGEST):
            self.assert_good(name, look, 6)

    def test_dark_and_light_differ(self) -> None:
        """Else the looks above would have been at one of the two."""
        grounds = []
        for dark in (False, True):
            self.browser.show(self.page(MailKind.VERIFY, "en", USUAL), 600, dark)
            grounds.append(self.browser.evaluate("getComputedStyle(document.querySelector('.card')).backgroundColor"))
        self.assertEqual(grounds, ["rgb(255, 255, 255)", "rgb(34, 37, 43)"])


class PageTests(Screenshots):
    """The pages behind mailed links."""

    def html(self, page: Page, tag: str) -> str:
        return self.texts.pages.answer(page, tag).body.decode()

    def test_nothing_overflows_and_every_text_stands_out_from_its_background(self) -> None:
        seen = 0
        for language in self.texts.languages:
            for page in Page:
                for name, look in self.views(f"page-{page.value}-{language.tag}", self.html(page, language.tag)):
                    self.assert_good(name, look, 4)
                    if language.tag in PICTURED:
                        self.take_picture(name)
                    seen += 1
        self.assertEqual(seen, 42 * len(Page) * 4)

    def test_dark_and_light_differ(self) -> None:
        grounds = []
        for dark in (False, True):
            self.browser.show(self.html(Page.VERIFY, "en"), 600, dark)
            grounds.append(self.browser.evaluate("getComputedStyle(document.querySelector('main')).backgroundColor"))
        self.assertEqual(grounds, ["rgb(255, 255, 255)", "rgb(34, 37, 43)"])
