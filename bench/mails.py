"""What mails cost the event loop: reading the texts at the start, and composing one: ``python -m bench.mails``."""

from __future__ import annotations

import os
import time
from collections.abc import Callable

from twisted.internet.task import Clock

from fxa_auth.config import load
from fxa_auth.mail.compose import Composer
from fxa_auth.mailing import make_composer
from fxa_auth.records import Letter, LinkOptions, MailKind
from fxa_auth.statistics import memory
from fxa_auth.texts import Texts

ROUNDS, MAILS = 30, 50
TAGS = ("en", "ru", "he", "ja")


def cpu_ms(work: Callable[[], object], times: int = 1) -> float:
    """Time of one core that the work takes, on average."""
    begun = time.process_time()
    for _ in range(times):
        work()
    return (time.process_time() - begun) * 1000 / times


def measure(composer: Composer, tag: str) -> None:
    letter = Letter(MailKind.VERIFY, os.urandom(16), "me@example.com", os.urandom(16), None, LinkOptions("sync"), tag)
    best_ms = min(cpu_ms(lambda: composer.compose(letter), MAILS) for _ in range(ROUNDS))
    size = len(composer.compose(letter).content)
    print(f"one mail, {tag}         {best_ms:6.3f} ms   {size} bytes (best of {ROUNDS} rounds)", flush=True)


def main() -> None:
    settings = load([], {}).settings
    texts: list[Texts] = []
    before = memory()["rss"]
    spent_ms = cpu_ms(lambda: texts.append(Texts(settings)))
    print(f"texts at the start   {spent_ms:6.1f} ms   {(memory()['rss'] - before) / 1e6:.1f} MB")
    composer = make_composer(settings, texts[0], Clock())
    for tag in TAGS:
        measure(composer, tag)


if __name__ == "__main__":
    main()
