"""The languages that there are, each with its catalogue of translations, as the folders below ``locales/`` have them.

A language is a folder ``TAG/LC_MESSAGES`` with ``fxa_auth.po`` (in a checkout, or an operator's own folder), with
``fxa_auth.mo`` (in an installed package) or both. English is always there: it is what the templates are written in.
Nothing here knows what the texts are used for.
"""

from __future__ import annotations

import gettext
import io
import re
import struct
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from fxa_auth import language

DOMAIN = "fxa_auth"
SOURCE_LANGUAGE = "en"

_PLACEHOLDER = re.compile(r"%(?:\((\w+)\)s|(%)|)")


class CatalogueError(Exception):
    """A catalogue that cannot be used; the text is one line with its file and, where there is one, the line in it."""


class NoSuchLanguage(Exception):
    """A setting names a language that is not there: ``setting`` is its name, the text says what there is instead."""

    def __init__(self, setting: str, text: str) -> None:
        super().__init__(text)
        self.setting = setting


class Language:
    """One language: its tag as its folder is named, how answers and pages name it, and its texts."""

    def __init__(self, tag: str, translations: gettext.NullTranslations) -> None:
        self.tag = tag
        self.content_language = language.content_language(tag)
        self.lang = language.html_lang(tag)
        self.direction = language.direction(tag)
        self.gettext = translations.gettext
        self.ngettext = translations.ngettext

    def __repr__(self) -> str:
        return f"<Language {self.tag}>"


class Languages:
    """The languages on offer, in the order of their tags."""

    def __init__(self, offered: Sequence[Language], default: Language) -> None:
        self._by_tag = {each.tag.lower(): each for each in offered}
        self._default = default

    def __iter__(self) -> Iterator[Language]:
        return iter(self._by_tag.values())

    def choose(self, accept_language: str | None) -> Language:
        """The language for a reader who sent this Accept-Language."""
        return language.negotiate(accept_language, self._by_tag, self._default)

    def named(self, tag: str) -> Language | None:
        """The language of exactly this tag, in any case of letters."""
        return self._by_tag.get(tag.lower())


def load_languages(folders: Sequence[Path], supported: Sequence[str] | None, default: str) -> Languages:
    """Read the catalogues below ``folders``, where a string of an earlier folder wins over a later one's.

    ``supported`` are the tags to offer, None for all that have a folder; ``default`` has to be one of them.

    :raises CatalogueError: a catalogue cannot be read, or a translation has other placeholders than its source
    :raises NoSuchLanguage: a tag has no folder
    """
    there = _there(folders)
    offered = sorted(there if supported is None else {tag.lower() for tag in supported})
    for tag in offered:
        if tag not in there:
            raise NoSuchLanguage("i18n.supportedLanguages", f"there is no {tag}: name some of {_listed(there)}")
    if default.lower() not in offered:
        named = _listed({tag: there[tag] for tag in offered})
        raise NoSuchLanguage("i18n.defaultLanguage", f"is not one of the languages on offer: name one of {named}")
    languages = {tag: Language(there[tag].tag, _translations(there[tag])) for tag in offered}
    return Languages(list(languages.values()), languages[default.lower()])


@dataclass
class _Place:
    """A language that is there: its tag as ours is spelled, and its folders, the one that wins first."""

    tag: str
    folders: list[Path]


def _there(folders: Sequence[Path]) -> dict[str, _Place]:
    """Every language that has a catalogue, by its tag in lower case."""
    there = {SOURCE_LANGUAGE: _Place(SOURCE_LANGUAGE, [])}
    for folder in folders:
        for path in sorted(folder.glob(f"*/LC_MESSAGES/{DOMAIN}.[mp]o")):
            tag = path.parts[-3]
            if not language.TAG.fullmatch(tag):
                raise CatalogueError(f"{path}: {tag} is not a language tag, such as pt-BR")
            place = there.setdefault(tag.lower(), _Place(tag, []))
            place.tag = tag
            if path.parent not in place.folders:
                place.folders.append(path.parent)
    return there


def _listed(places: Mapping[str, _Place]) -> str:
    return ", ".join(places[tag].tag for tag in sorted(places))


def _translations(place: _Place) -> gettext.NullTranslations:
    """All catalogues of the language behind each other, at the end of them the texts as the templates have them."""
    translations = gettext.NullTranslations()
    for folder in reversed(place.folders):
        found = _read(folder)
        found.add_fallback(translations)
        translations = found
    return translations


def _read(folder: Path) -> gettext.GNUTranslations:
    """The catalogue of one folder: the compiled one unless its source is newer or the only one there."""
    source, compiled = folder / f"{DOMAIN}.po", folder / f"{DOMAIN}.mo"
    try:
        is_current = compiled.exists() and not (
            source.exists() and source.stat().st_mtime_ns > compiled.stat().st_mtime_ns
        )
        content = compiled.read_bytes() if is_current else compile_catalogue(source)
    except OSError as error:
        raise CatalogueError(f"{error.filename}: cannot be read: {error.strerror}") from None
    try:
        return gettext.GNUTranslations(io.BytesIO(content))
    except (OSError, ValueError, LookupError, struct.error):
        raise CatalogueError(f"{compiled}: is no compiled catalogue") from None


def compile_catalogue(source: Path) -> bytes:
    """A ``.po`` file as the ``.mo`` file that it becomes.

    :raises CatalogueError: it cannot be parsed, or a translation has other placeholders than its source
    :raises OSError: it cannot be read
    """
    # Only where there is something to compile: the import costs 16 ms and 2 MB.
    from babel.messages.mofile import write_mo
    from babel.messages.pofile import PoFileError, read_po

    content = source.read_bytes()
    _check_quotes(source, content)
    try:
        catalogue = read_po(io.BytesIO(content), abort_invalid=True)
    except PoFileError as error:
        raise CatalogueError(f"{source}:{error.lineno + 1}: {error.args[0].rpartition(' on ')[0]}") from None
    except (ValueError, LookupError) as error:
        raise CatalogueError(f"{source}: {error}") from None
    for message in catalogue:
        wanted = [placeholders(text) for text in _forms(message.id)]
        for text in _forms(message.string):
            if message.id and text and placeholders(text) not in wanted:
                raise CatalogueError(f"{source}:{message.lineno}: other placeholders than in {_forms(message.id)[0]!r}")
    compiled = io.BytesIO()
    write_mo(compiled, catalogue)
    return compiled.getvalue()


def _check_quotes(source: Path, content: bytes) -> None:
    """Refuse a text whose last quotation mark is missing: Babel would take its last letter for one."""
    for number, line in enumerate(content.splitlines(), 1):
        if re.match(rb'\s*(msg\w+(\[\d+\])?\s*)?"', line) and not re.search(rb'"\s*$', line[line.index(b'"') + 1 :]):
            raise CatalogueError(f"{source}:{number}: the text has no quotation mark at its end")


def _forms(text: str | Sequence[str] | None) -> Sequence[str]:
    """Singular and plurals, or the only form; of an absent text none."""
    return (text,) if isinstance(text, str) else text or ()


def placeholders(text: str) -> Counter[str]:
    """How often each ``%(name)s`` stands in a text; a percent sign that begins none counts by the name of ``""``."""
    return Counter(name for name, percent in _PLACEHOLDER.findall(text) if not percent)
