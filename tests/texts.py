"""The texts of this project with the default settings: read once, as every test may share them."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

from fxa_auth.config import load
from fxa_auth.mail.compose import Composer
from fxa_auth.texts import Texts


@cache
def default_texts() -> Texts:
    return Texts(load([], {}).settings)


def make_composer(
    content_server_url: str, sender: str, clock: Any, random_bytes: Callable[[int], bytes] = bytes
) -> Composer:
    """A composer of the project's own mails in all its languages."""
    texts = default_texts()
    return Composer(texts.wordings, texts.languages, content_server_url, sender, clock, random_bytes)
