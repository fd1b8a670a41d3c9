"""What readers get to see, made from the settings: the languages, the templates, what mails say and pages show.

The daemon, ``config check`` and ``mail preview`` have it from here, so that what one of them refuses, all of them do.
"""

from __future__ import annotations

from pathlib import Path

from fxa_auth.catalogues import CatalogueError, NoSuchLanguage, load_languages
from fxa_auth.config import Loaded, Settings
from fxa_auth.data import data_dir
from fxa_auth.http.pages import Pages
from fxa_auth.mail.wording import Wordings
from fxa_auth.rendering import TemplateError, Templates

_OVERRIDES = "branding.overridesDir"


class UnusableTexts(Exception):
    """What an operator has to mend: ``setting`` is the name of the one that is at fault, the text one line."""

    def __init__(self, setting: str, problem: object) -> None:
        super().__init__(str(problem))
        self.setting = setting


class Texts:
    """The languages and templates of one server, its mails and its pages.

    :raises UnusableTexts: a language that is not there, or something wrong with a catalogue or a template
    """

    def __init__(self, settings: Settings) -> None:
        branding, i18n = settings.branding, settings.i18n
        overrides = _overrides(branding.overrides_dir)
        values = {
            "product_name": branding.product_name,
            "support_url": branding.support_url,
            "button_color": branding.button_color,
            "button_text_color": branding.button_text_color,
        }
        try:
            catalogues = [*(folder / "locales" for folder in overrides), data_dir("locales")]
            self.languages = load_languages(catalogues, i18n.supported_languages, i18n.default_language)
            self.templates = Templates([*(folder / "templates" for folder in overrides), data_dir("templates")], values)
            self.wordings = Wordings(self.templates, self.languages)
            self.pages = Pages(self.templates, self.languages)
        except NoSuchLanguage as error:
            raise UnusableTexts(error.setting, error) from None
        except (CatalogueError, TemplateError) as error:
            raise UnusableTexts(_OVERRIDES, error) from error


def _overrides(name: str | None) -> list[Path]:
    """The operator's folder, if there is one; one that overrides nothing is a mistake."""
    if name is None:
        return []
    folder = Path(name)
    if not (folder / "templates").is_dir() and not (folder / "locales").is_dir():
        raise UnusableTexts(
            _OVERRIDES, "is no folder with a folder templates or locales in it: make one, or leave it out"
        )
    return [folder]


def check_texts(loaded: Loaded) -> list[str]:
    """What the daemon would complain of: one line, or none."""
    try:
        Texts(loaded.settings)
    except UnusableTexts as error:
        return [loaded.complaint(error.setting, error)]
    return []
