"""The reader's language, as requests name it. Knows nothing of templates or accounts."""

from __future__ import annotations

MAX_STORED_LENGTH = 255


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
