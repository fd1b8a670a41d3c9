"""What a mail server answers, made fit to be told: one printable line without the credentials that it may repeat.

It knows the credentials of one connection and what was sent of them; it refuses to know what an answer means.
"""

from __future__ import annotations

import base64
import re

MAX_TEXT = 300
"""Characters of an answer that are worth telling."""

_RUN = 8
"""So many characters of a secret in a row count as the secret: answers repeat parts, too."""

_SHORTEST = 4
"""Shorter pieces stand in any text."""


class Masking:
    """Hides ``user`` and ``password`` in what is told of one connection, from the first time that they are sent."""

    def __init__(self, user: str, password: str) -> None:
        self._user = re.compile(rf"(?<!\w){re.escape(user)}(?!\w)", re.IGNORECASE)
        self._secrets = {password, *_encoded(password), *_encoded(user)}
        self._runs: set[str] = set()

    def sent(self, line: bytes) -> str:
        """A line of AUTH, as it may be told; what it carries is hidden in all answers from now on."""
        words = line.decode("ascii").split(" ")
        open_words = 2 if words[0] == "AUTH" else int(words == ["*"])
        if carried := words[open_words:]:
            self._secrets.update(carried)
            self._runs = {run for secret in self._secrets for run in _runs(secret.casefold())}
        return " ".join([*words[:open_words], *("***" for _ in carried)])

    def readable(self, answer: bytes) -> str:
        """An answer as one printable line of at most 300 characters."""
        text = answer.decode("utf-8", "backslashreplace")
        if self._runs:
            if any(run in text.casefold() for run in self._runs):
                return "(not shown: it repeats the credentials)"
            text = self._user.sub("***", text)
        text = " ".join(text.split())
        return "".join(char if char.isprintable() else "?" for char in text)[:MAX_TEXT]


def _encoded(secret: str) -> list[str]:
    """The base64 digits that depend on the secret alone, wherever in a longer text it begins."""
    raw = secret.encode()
    whole = [base64.b64encode(b"\0" * before + raw).decode("ascii") for before in range(3)]
    return [text[-(-before * 4 // 3) : (before + len(raw)) * 8 // 6] for before, text in enumerate(whole)]


def _runs(secret: str) -> set[str]:
    if len(secret) < _SHORTEST:
        return set()
    return {secret[start : start + _RUN] for start in range(max(1, len(secret) - _RUN + 1))}
