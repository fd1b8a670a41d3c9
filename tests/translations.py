"""The catalogues of this project and the texts of its templates, as ``make messages`` reads them."""

from __future__ import annotations

import runpy
from functools import cache
from pathlib import Path
from typing import Any

from babel.messages.catalog import Catalog, Message
from babel.messages.pofile import read_po

ROOT = Path(__file__).resolve().parent.parent
LOCALES = ROOT / "locales"


@cache
def messages_tool() -> dict[str, Any]:
    """What ``tools/messages.py`` defines."""
    return runpy.run_path(str(ROOT / "tools" / "messages.py"))


@cache
def source_texts() -> dict[str, Message]:
    """Every text of the templates."""
    catalogue: Catalog = messages_tool()["extract"](ROOT / "templates")
    return entries(catalogue)


@cache
def translations() -> dict[str, dict[str, Message]]:
    """For the tag of each language with a folder, the entries of its catalogue by their source text."""
    return {path.parts[-3]: entries(read(path)) for path in sorted(LOCALES.glob("*/LC_MESSAGES/fxa_auth.po"))}


def read(path: Path) -> Catalog:
    with path.open("rb") as file:
        return read_po(file, abort_invalid=True)


def entries(catalogue: Catalog) -> dict[str, Message]:
    return {message.id: message for message in catalogue if message.id}
