"""The reader's language, as requests name it and as answers name it. Knows nothing of templates or accounts."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TypeVar

MAX_STORED_LENGTH = 255

TAG = re.compile(r"[A-Za-z]{2,8}(-[A-Za-z0-9]{1,8})*")
"""A language tag, as far as its form goes (RFC 5646, 2.1)."""

_QUALITY = re.compile(r"q=([0-9]*\.?[0-9]*)")
_RIGHT_TO_LEFT = frozenset(["ar", "arc", "ckb", "dv", "fa", "he", "ks", "nqo", "ps", "sd", "syr", "ug", "ur", "yi"])

_Found = TypeVar("_Found")


def trim(accept_language: str | None) -> str | None:
    """An Accept-Language header as it is stored: at most 255 characters, cut at a comma.

    None when there is no header, when it is empty, or when its first element alone is too long.
    """
    if not accept_language:
        return None
    if len(accept_language) <= MAX_STORED_LENGTH:
        return accept_language
    end = accept_language.rfind(",", 0, MAX_STORED_LENGTH + 1)
    return accept_language[:end] if end > 0 else None


def negotiate(accept_language: str | None, by_tag: Mapping[str, _Found], default: _Found) -> _Found:
    """What there is for the reader in ``by_tag``, whose keys are lower-case tags (docs/languages.md, "Which language").

    The reader's tags are tried by falling quality, each one whole and then without what follows its first hyphen.
    ``accept_language`` may be anything a client sends: what is not to be understood is passed over.
    """
    for tag in _wanted(accept_language or ""):
        for candidate in (tag, tag.partition("-")[0]):
            if candidate in by_tag:
                return by_tag[candidate]
    return default


def _wanted(accept_language: str) -> list[str]:
    """The tags in lower case, best first; those of quality 0, which are not acceptable (RFC 9110, 12.4.2), left out."""
    qualities: list[tuple[float, str]] = []
    for element in accept_language.lower().split(","):
        tag, _, parameters = element.partition(";")
        quality = _quality(parameters)
        if quality > 0:
            qualities.append((quality, tag.strip()))
    qualities.sort(key=lambda item: item[0], reverse=True)
    return [tag for _, tag in qualities]


def _quality(parameters: str) -> float:
    """From 0 to 1; 1 where there is none, or none that can be read."""
    found = _QUALITY.fullmatch("".join(parameters.split()))
    if found is None or found[1] in ("", "."):
        return 1.0
    return min(float(found[1]), 1.0)


def content_language(tag: str) -> str:
    """The tag for the header field Content-Language, which names no script: ``sr-LATN`` is ``sr`` there."""
    return "-".join(subtag for index, subtag in enumerate(tag.split("-")) if not _is_script(index, subtag))


def html_lang(tag: str) -> str:
    """The tag for the attribute ``lang``, a script spelled as usual (RFC 5646, 2.1.1): ``sr-Latn``."""
    return "-".join(
        subtag.title() if _is_script(index, subtag) else subtag for index, subtag in enumerate(tag.split("-"))
    )


def direction(tag: str) -> str:
    """``rtl`` for a language that is written from right to left, else ``ltr``: the attribute ``dir``."""
    language, *others = tag.lower().split("-")
    return "rtl" if language in _RIGHT_TO_LEFT and "latn" not in others else "ltr"


def _is_script(index: int, subtag: str) -> bool:
    return index == 1 and len(subtag) == 4 and subtag.isalpha()
