"""``make messages``: the texts of the templates go into ``locales/fxa_auth.pot`` and from there into every catalogue.

A new text is empty in each catalogue until it is translated, one that no template has any more is left out, and every
catalogue is compiled. A folder ``locales/TAG`` without a catalogue is given one.
"""

from __future__ import annotations

import io
import sys
from pathlib import Path
from typing import Any

import jinja2
from babel import Locale, UnknownLocaleError
from babel.messages.catalog import Catalog
from babel.messages.extract import extract as babel_extract
from babel.messages.pofile import read_po, write_po

from fxa_auth.catalogues import DOMAIN, compile_catalogue

ROOT = Path(__file__).resolve().parent.parent

_OPTIONS = {"newstyle_gettext": "true", "trimmed": "true", "silent": "false"}
_HEADER = """\
msgid ""
msgstr ""
"Project-Id-Version: fxa-auth\\n"
{more}"MIME-Version: 1.0\\n"
"Content-Type: text/plain; charset=UTF-8\\n"
"Content-Transfer-Encoding: 8bit\\n"
"""


def extract(templates: Path) -> Catalog:
    """Every text of the templates, with the comments that begin with ``Translators:``, in the order of the files.

    A template that cannot be parsed raises SystemExit, with its file and line.
    """
    catalogue = Catalog()
    for path in sorted(path for path in templates.rglob("*") if path.is_file()):
        try:
            for _, text, comments, context in _texts(path):
                catalogue.add(text, auto_comments=comments, context=context)
        except jinja2.TemplateSyntaxError as error:
            raise SystemExit(f"{path}:{error.lineno}: {error.message}") from None
    return catalogue


def _texts(path: Path) -> list[Any]:
    with path.open("rb") as file:
        options = {"options": _OPTIONS, "comment_tags": ["Translators:"], "strip_comment_tags": True}
        return list(babel_extract("jinja2.ext:babel_extract", file, **options))


def written(catalogue: Catalog, header: str) -> bytes:
    """The catalogue as a file: an entry is as long as its text, so that a difference shows what was changed."""
    entries = io.BytesIO()
    write_po(entries, catalogue, width=0, no_location=True, omit_header=True, ignore_obsolete=True)
    return header.encode() + b"\n" + entries.getvalue().strip(b"\n") + b"\n"


def update(source: Path, template: Catalog) -> list[str]:
    """Bring the catalogue in the file up to the template; the answer is the texts that it has no translation of."""
    text = source.read_text(encoding="utf-8") if source.exists() else new_header(source.parent.parent.name)
    catalogue = read_po(io.BytesIO(text.encode()), abort_invalid=True)
    catalogue.update(template, no_fuzzy_matching=True)
    source.parent.mkdir(exist_ok=True)
    source.write_bytes(written(catalogue, text.partition("\n\n")[0].rstrip("\n") + "\n"))
    return [str(message.id) for message in catalogue if message.id and not message.string]


def new_header(tag: str) -> str:
    """The header of a catalogue that there is not yet."""
    try:
        locale = Locale.parse(tag, sep="-")
    except (UnknownLocaleError, ValueError):
        return _HEADER.format(more=f'"Language: {tag}\\n"\n')
    plurals = Catalog(locale=locale).plural_forms
    return _HEADER.format(more=f'"Language: {locale}\\n"\n"Plural-Forms: {plurals}\\n"\n')


def main(root: Path) -> int:
    locales = root / "locales"
    template = extract(root / "templates")
    (locales / f"{DOMAIN}.pot").write_bytes(written(template, _HEADER.format(more="")))
    for folder in sorted(path for path in locales.iterdir() if path.is_dir()):
        source = folder / "LC_MESSAGES" / f"{DOMAIN}.po"
        for text in update(source, template):
            print(f"{folder.name}: not translated: {text}")
        source.with_suffix(".mo").write_bytes(compile_catalogue(source))
    return 0


if __name__ == "__main__":
    sys.exit(main(ROOT))
