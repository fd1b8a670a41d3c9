"""The templates below ``templates/`` and how they are filled in, for text and for HTML, in a reader's language.

Texts to be translated stand in ``{% trans %}``; translations and values are plain text, which HTML escapes. Nothing
here knows what a template is for.
"""

from __future__ import annotations

import traceback
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import jinja2
from jinja2.runtime import Context
from markupsafe import Markup, escape

from fxa_auth.catalogues import Language


class TemplateError(Exception):
    """A template that cannot be used; the text is one line with its file and, where there is one, the line in it."""


class Template:
    """One template, in one of its two forms."""

    def __init__(self, template: jinja2.Template, folders: Sequence[Path]) -> None:
        self._template = template
        self._folders = folders

    def render(self, language: Language, **values: Any) -> str:
        """The template filled in; it finds ``language`` beside ``values``.

        :raises TemplateError: it asks for a value that there is not, or whatever else may be wrong with it
        """
        return self._guarded(lambda: self._template.render(values, language=language))

    def render_block(self, name: str, language: Language, **values: Any) -> str:
        """One block of the template filled in: ``name`` is that of a block in this very file.

        :raises TemplateError: as ``render``, or it has no such block
        """
        block = self._template.blocks.get(name)
        if block is None:
            raise TemplateError(f"{self._template.filename}: has no block {name}")
        return self._guarded(lambda: "".join(block(self._template.new_context({**values, "language": language}))))

    def _guarded(self, fill_in: Callable[[], str]) -> str:
        try:
            return fill_in()
        except Exception as error:
            raise _told(error, self._folders, self._template.filename) from error


class Templates:
    """The templates of ``folders``, where a file of an earlier folder stands in for a later one's of the same name.

    Each finds ``values`` beside those that it is rendered with, and the filter ``isolated``: what it is applied to may
    be written in another direction than the text around it.
    """

    def __init__(self, folders: Sequence[Path], values: Mapping[str, Any]) -> None:
        self._folders = folders
        loader = _Loader(folders)
        self._text = _environment(loader, values, lambda text: text, _isolated_text, autoescape=False)
        self._html = _environment(loader, values, escape, _isolated_html, autoescape=True)

    def text(self, name: str) -> Template:
        """A template as plain text.

        :raises TemplateError: it is missing or cannot be parsed
        """
        return self._get(self._text, name)

    def html(self, name: str) -> Template:
        """A template as HTML, in which every value is escaped.

        :raises TemplateError: it is missing or cannot be parsed
        """
        return self._get(self._html, name)

    def _get(self, environment: jinja2.Environment, name: str) -> Template:
        try:
            return Template(environment.get_template(name), self._folders)
        except jinja2.TemplateError as error:
            raise _told(error, self._folders) from error


class _Loader(jinja2.FileSystemLoader):
    def get_source(self, environment: jinja2.Environment, template: str) -> tuple[str, str, Callable[[], bool]]:
        try:
            return super().get_source(environment, template)
        except UnicodeDecodeError as error:
            path = next(path for folder in self.searchpath if (path := Path(folder, template)).is_file())
            line = error.object[: error.start].count(b"\n") + 1
            raise jinja2.TemplateSyntaxError("is not UTF-8 text", line, template, str(path)) from None


def _environment(
    loader: jinja2.BaseLoader,
    values: Mapping[str, Any],
    finished: Callable[[str], str],
    isolated: Callable[..., str],
    autoescape: bool,
) -> jinja2.Environment:
    """``finished`` is what becomes of a translation, ``isolated`` the filter of that name."""
    environment = jinja2.Environment(
        loader=loader,
        extensions=["jinja2.ext.i18n"],
        autoescape=autoescape,
        undefined=jinja2.StrictUndefined,
        keep_trailing_newline=True,
        trim_blocks=True,
        lstrip_blocks=True,
        auto_reload=False,
    )
    environment.policies["ext.i18n.trimmed"] = True
    environment.globals.update(values)
    environment.filters["isolated"] = isolated

    @jinja2.pass_context
    def gettext(context: Context, text: str) -> str:
        language: Language = context["language"]
        return finished(language.gettext(text))

    @jinja2.pass_context
    def ngettext(context: Context, singular: str, plural: str, count: int) -> str:
        language: Language = context["language"]
        return finished(language.ngettext(singular, plural, count))

    environment.install_gettext_callables(gettext, ngettext, newstyle=True)  # type: ignore[attr-defined]
    return environment


@jinja2.pass_context
def _isolated_text(context: Context, text: str) -> str:
    """Between the characters that isolate (UAX 9), where they make a difference: many programs show them as boxes."""
    return f"\u2068{text}\u2069" if context["language"].direction == "rtl" else text


def _isolated_html(text: str) -> Markup:
    return Markup("<bdi>{}</bdi>").format(text)


def _told(error: Exception, folders: Sequence[Path], filled_in: str | None = None) -> TemplateError:
    """What is wrong and where: the innermost line of a template that was being parsed or filled in.

    ``filled_in`` is the file of the outermost one.
    """
    if isinstance(error, jinja2.TemplateSyntaxError):
        return TemplateError(f"{error.filename or error.name}:{error.lineno}: {error.message}")
    frames = traceback.extract_tb(error.__traceback__)
    own = [frame for frame in frames if any(Path(frame.filename).is_relative_to(folder) for folder in folders)]
    if isinstance(error, jinja2.TemplateNotFound):
        problem = f"there is no template {error.name}"
    else:
        problem = f"{type(error).__name__}: {error}" if not isinstance(error, jinja2.TemplateError) else str(error)
    if not own:
        return TemplateError(problem)
    where = own[-1]
    purpose = f" (filling in {filled_in})" if filled_in and where.filename != filled_in else ""
    return TemplateError(f"{where.filename}:{where.lineno}: {' '.join(problem.split())}{purpose}")
