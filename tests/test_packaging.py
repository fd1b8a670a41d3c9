"""setup.py names what the code imports, and the plugin and the .tac file name what the code has."""

from __future__ import annotations

import ast
import re
import runpy
import sys
from collections.abc import Iterable
from pathlib import Path

from twisted.application.service import IServiceMaker
from twisted.plugin import IPlugin
from twisted.trial.unittest import SynchronousTestCase

from fxa_auth import __version__

ROOT = Path(__file__).resolve().parent.parent

PROJECTS = {
    "OpenSSL": "pyopenssl",
    "browserid": "pybrowserid",
    "fxa": "pyfxa",
    "jwt": "pyjwt",
    "nacl": "pynacl",
    "psycopg2": "psycopg2-binary",
    "pytest_twisted": "pytest-twisted",
    "service_identity": "service-identity",
    "zope": "twisted",
}
"""Projects on PyPI whose name is not that of the module; zope.interface comes with twisted."""


def imported(folder: str) -> set[str]:
    """The projects whose modules are imported somewhere below ``folder``."""
    tops = set()
    for path in (ROOT / folder).rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                tops.update(alias.name.partition(".")[0] for alias in node.names)
            elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
                tops.add(node.module.partition(".")[0])
    return {PROJECTS.get(top, top) for top in tops - set(sys.stdlib_module_names) - {"fxa_auth", "tests"}}


def requirements(name: str) -> list[str]:
    """The list that setup.py assigns to ``name``."""
    for node in ast.parse((ROOT / "setup.py").read_text(encoding="utf-8")).body:
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name) and node.targets[0].id == name:
            return list(ast.literal_eval(node.value))
    raise AssertionError(f"setup.py assigns no {name}")


def projects(required: Iterable[str]) -> set[str]:
    return {re.split(r"[\[><=~ ;]", line, maxsplit=1)[0] for line in required}


class RequirementTests(SynchronousTestCase):
    def test_what_the_package_imports_is_required(self) -> None:
        known = projects([*requirements("REQUIRED"), *requirements("AWS")])
        self.assertEqual(imported("fxa_auth") - known, set())

    def test_what_is_an_extra_is_imported_where_it_is_needed_and_no_sooner(self) -> None:
        """Functions may import it; no module does, or every daemon would need it."""
        extra = {re.split(r"[>=]", line, maxsplit=1)[0] for line in requirements("AWS")}
        for path in sorted((ROOT / "fxa_auth").rglob("*.py")):
            for node in ast.parse(path.read_text(encoding="utf-8")).body:
                names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
                names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
                self.assertEqual({name.partition(".")[0] for name in names} & extra, set(), path.name)

    def test_what_the_tests_import_is_required(self) -> None:
        known = projects([*requirements("REQUIRED"), *requirements("AWS"), *requirements("TEST")])
        self.assertEqual(imported("tests") - known, set())

    def test_every_requirement_has_a_lowest_version(self) -> None:
        for line in [line for name in ("REQUIRED", "AWS", "TEST", "DEVELOPMENT") for line in requirements(name)]:
            self.assertRegex(line, r"[>=]=\d")


class PluginTests(SynchronousTestCase):
    def test_twistd_is_offered_the_service(self) -> None:
        names = runpy.run_path(str(ROOT / "twisted" / "plugins" / "fxa_auth_plugin.py"))
        (maker,) = (value for value in names.values() if IServiceMaker.providedBy(value))
        self.assertTrue(IPlugin.providedBy(maker))
        self.assertEqual((maker.tapname, maker.module), ("fxa-auth", "fxa_auth.tap"))

    def test_the_service_can_be_made(self) -> None:
        names = runpy.run_path(str(ROOT / "twisted" / "plugins" / "fxa_auth_plugin.py"))
        (maker,) = (value for value in names.values() if IServiceMaker.providedBy(value))
        self.assertTrue(callable(maker.makeService))
        self.assertTrue(callable(maker.options))


class VersionTests(SynchronousTestCase):
    def test_the_changelog_knows_the_version(self) -> None:
        self.assertIn(f"\n## {__version__} ", (ROOT / "CHANGELOG.md").read_text(encoding="utf-8"))
