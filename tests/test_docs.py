"""The documents keep up with the code: each endpoint, errno, section and link that one of them names is there."""

from __future__ import annotations

import inspect
import io
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path

from twisted.internet.testing import MemoryReactorClock
from twisted.trial.unittest import SynchronousTestCase

from fxa_auth import config, errors
from fxa_auth.service import AuthService

ROOT = Path(__file__).resolve().parent.parent
API = "docs/api.md"

_FENCE = re.compile(r"^```.*?^```$", re.MULTILINE | re.DOTALL)
_HEADING = re.compile(r"^#+ (.+)$", re.MULTILINE)
_LINK = re.compile(r"\]\(([^)\s]+)\)")
_SECTION = r'"([^"\n]+)"'
_REFERENCE = re.compile(rf"(docs/\w+\.md|bench/\w+\.md)(?:(?:, | \(){_SECTION}(?: and {_SECTION})?)?")


def documents() -> list[str]:
    """The names of all documents, from the top of the checkout."""
    folders = (ROOT, ROOT / "docs", ROOT / "bench", ROOT / "locales")
    return [str(path.relative_to(ROOT)) for folder in folders for path in sorted(folder.glob("*.md"))]


def prose(name: str) -> str:
    """A document without its blocks of code."""
    return _FENCE.sub("", (ROOT / name).read_text(encoding="utf-8"))


def headings(text: str) -> set[str]:
    return set(_HEADING.findall(text))


def anchor(heading: str) -> str:
    """The fragment by which the usual renderers of Markdown link to a heading."""
    return re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")


def references(source: str) -> Iterator[tuple[str, str | None]]:
    """Every document that a Python file refers to, with the section where it names one."""
    for document, *sections in _REFERENCE.findall(re.sub(r"\n\s*#?\s*", " ", source)):
        named = [section for section in sections if section]
        yield from ((document, section) for section in named or [None])


def routes() -> set[str]:
    """``METHOD /path`` of every route that the service has in the dev profile, which has them all."""
    loaded = config.load([], {"NODE_ENV": "dev", "DB_BACKEND": "memory"})
    service = AuthService(loaded, MemoryReactorClock(), io.StringIO(), print)
    rules = service._parts.application.klein.url_map.iter_rules()
    return {f"{method} {rule.rule}" for rule in rules for method in (rule.methods or set()) - {"HEAD"}}


def errors_raised() -> set[tuple[int, int]]:
    """Errno and status of what each constructor in ``errors`` makes, but for 999, which takes any status."""
    source = inspect.getsource(errors)
    return {(int(errno), int(status)) for status, errno in re.findall(r"ApiError\((\d+), (\d+),", source)}


class DocumentTests(SynchronousTestCase):
    def test_every_route_has_its_heading_and_every_such_heading_its_route(self) -> None:
        described = {heading for heading in headings(prose(API)) if re.match(r"[A-Z]+ /", heading)}
        self.assertEqual(described, routes())

    def test_the_routes_are_all_there(self) -> None:
        """An empty table would agree with an empty document."""
        self.assertGreater(len(routes()), 30)

    def test_the_table_of_errors_is_that_of_the_code(self) -> None:
        rows = re.findall(r"^\| (\d{3}) \| (\d{3}|any) \|", prose(API), re.MULTILINE)
        described = {(int(errno), int(status)) for errno, status in rows if status != "any"}
        self.assertEqual(described, errors_raised())
        self.assertIn(("999", "any"), rows)

    def test_every_section_that_the_code_refers_to_exists(self) -> None:
        for path in sorted(ROOT.joinpath("fxa_auth").rglob("*.py")):
            for document, section in references(path.read_text(encoding="utf-8")):
                where = f"{path.relative_to(ROOT)}: {document}, {section}"
                self.assertTrue((ROOT / document).is_file(), where)
                if section is not None:
                    self.assertIn(section, headings(prose(document)), where)

    def test_the_code_does_refer_to_sections(self) -> None:
        source = (ROOT / "fxa_auth" / "http" / "params.py").read_text(encoding="utf-8")
        self.assertLessEqual({(API, "Parameters"), (API, "Values")}, set(references(source)))

    def test_every_link_within_the_project_leads_somewhere(self) -> None:
        for name in documents():
            for target in _LINK.findall(prose(name)):
                if re.match(r"\w+:", target):
                    continue
                file, _, fragment = target.partition("#")
                linked = ROOT / name if file == "" else (ROOT / name).parent / file
                self.assertTrue(linked.exists(), f"{name}: {target}")
                if fragment:
                    anchors = {anchor(heading) for heading in headings(_FENCE.sub("", linked.read_text("utf-8")))}
                    self.assertIn(fragment, anchors, f"{name}: {target}")

    def test_every_setting_that_a_document_names_exists(self) -> None:
        known = {declared.name for declared in config.DECLARED}
        tables = {name.partition(".")[0] for name in known if "." in name}
        pages = sorted(f"docs/{page.name}" for page in (ROOT / "docs").glob("*.md"))
        for name in ("README.md", *pages, "bench/README.md"):
            for named in re.findall(r"`(\w+)\.(\w+(?:\.\w+)?)\b", prose(name)):
                if named[0] in tables and named[1] not in ("py", "md"):
                    self.assertIn(".".join(named), known, name)

    def test_the_settings_file_of_the_readme_is_good(self) -> None:
        text = (ROOT / "README.md").read_text(encoding="utf-8")
        [example] = re.findall(r"^```toml\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
        loaded = config.load([config.Layer("README.md", tomllib.loads(example))], {})
        self.assertEqual(loaded.settings.env, "prod")


class CheckerTests(SynchronousTestCase):
    """What the tests above look for is found."""

    def test_references(self) -> None:
        for source, found in (
            ('"""See docs/api.md."""', [("docs/api.md", None)]),
            ('The rule (docs/api.md, "Values").', [("docs/api.md", "Values")]),
            ('docs/api.md ("Hawk") has', [("docs/api.md", "Hawk")]),
            ('docs/api.md, "A b" and "C".', [("docs/api.md", "A b"), ("docs/api.md", "C")]),
            ('those of docs/x.md,\n    "A b".', [("docs/x.md", "A b")]),
            ("no document", []),
        ):
            self.assertEqual(list(references(source)), found, source)

    def test_anchors(self) -> None:
        for heading, fragment in (
            ("The key bundle", "the-key-bundle"),
            ("preVerifyToken", "preverifytoken"),
            ("GET /v1/account/keys", "get-v1accountkeys"),
        ):
            self.assertEqual(anchor(heading), fragment)

    def test_headings_in_code_do_not_count(self) -> None:
        self.assertEqual(headings(_FENCE.sub("", "# A\n```sh\n# no heading\n```\n## B\n")), {"A", "B"})
