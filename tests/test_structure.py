"""The rules of the house that a program can check: floors, reactors, docstrings, tests that trial really runs."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

ROOT = Path(__file__).resolve().parent.parent

TABLE = (
    (
        "0 pure",
        "errors records config onepw tokens hawk certificates emailaddress language publicurl fairqueue clientnetwork"
        " invitecodes returnpath",
    ),
    ("0 Twisted at hand", "clock log data files shield outgoing periodic wakeful backoff statistics aws"),
    ("0 texts", "catalogues rendering"),
    (
        "1 outside world",
        "store mail customs events sqs ses reports preverify workers keyfiles devmail overload tls version",
    ),
    ("2 shared by the domain", "passwords registration"),
    (
        "2 domain",
        "accounts sessions verification signing credentials administration invitations pruning letters bounces",
    ),
    ("3 http", "http"),
    ("4 wiring", "storage texts mailing hints transfer assembly extras service tap cli configfiles commands demo"),
)
"""Every module and package at the top of fxa_auth, from the ground up; a room imports only from lower floors."""

FLOORS = {room: floor for floor, (_, rooms) in enumerate(TABLE) for room in rooms.split()}

PURE = "0 pure"
SECLUDED = frozenset({"1 outside world", "2 domain"})
"""Floors whose rooms do not know each other."""

IMPURE = frozenset(
    {
        "asyncio",
        "klein",
        "os",
        "pathlib",
        "random",
        "socket",
        "sqlite3",
        "subprocess",
        "threading",
        "time",
        "treq",
        "twisted",
    }
)
"""What floor 0 does without: it does no I/O, and is told the time."""


def imports(tree: ast.AST, module: str, is_package: bool = False) -> Iterator[tuple[int, str]]:
    """Line and full dotted name of everything imported anywhere in ``module``; ``from a import b`` gives ``a.b``."""
    package = module if is_package else module.rpartition(".")[0]
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            parts = package.split(".")
            above = parts[: len(parts) - node.level + 1] if node.level else []
            source = ".".join([*above, *([node.module] if node.module else [])])
            yield from ((node.lineno, f"{source}.{alias.name}") for alias in node.names)


def floor_faults(source: str, module: str, is_package: bool = False) -> list[str]:
    """Arrows of ``module`` (a dotted name) that do not point downwards; a module that the table lacks is one too."""
    room = [*module.split("."), ""][1]
    if room == "":
        own = [name for _, name in imports(ast.parse(source), module, is_package) if name.startswith("fxa_auth.")]
        return [f"{module}: the package itself imports {name}" for name in own]
    if room not in FLOORS:
        return [f"{module}: {room} has no floor in the table"]
    faults = []
    floor = TABLE[FLOORS[room]][0]
    for line, name in imports(ast.parse(source), module, is_package):
        first, _, rest = name.partition(".")
        other = rest.partition(".")[0]
        if floor == PURE and first in IMPURE:
            faults.append(f"{module}:{line}: floor {floor} imports {name}")
        if first != "fxa_auth" or other in (room, "__version__"):
            continue
        if other not in FLOORS:
            faults.append(f"{module}:{line}: {name} has no floor in the table")
        elif FLOORS[other] > FLOORS[room]:
            faults.append(f"{module}:{line}: floor {floor} imports {name} of floor {TABLE[FLOORS[other]][0]}")
        elif FLOORS[other] == FLOORS[room] and floor in SECLUDED:
            faults.append(f"{module}:{line}: {name} is a sibling on floor {floor}")
    return faults


def reactor_faults(source: str, module: str) -> list[str]:
    """Imports of the global reactor; inside a function of fxa_auth.tap it is welcome."""
    tree = ast.parse(source)
    allowed: set[int] = set()
    if module == "fxa_auth.tap":
        for function in ast.walk(tree):
            if isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef):
                allowed.update(line for line, _ in imports(function, module))
    return [
        f"{module}:{line}: imports the global reactor"
        for line, name in imports(tree, module)
        if name.startswith("twisted.internet.reactor") and line not in allowed
    ]


def unseen_test_faults(source: str, module: str) -> list[str]:
    """Tests that pass without having run, or that only one of the two runners sees."""
    tree = ast.parse(source)
    faults = [
        f"{module}:{line}: {name} is nothing that trial knows"
        for line, name in imports(tree, module)
        if re.match(r"pytest\b|unittest(\.case)?\.\w*TestCase$", name)
    ]
    synchronous = {"SynchronousTestCase"}
    for node in ast.walk(tree):
        if (
            isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
            and node in tree.body
            and node.name.startswith("test")
        ):
            faults.append(f"{module}:{node.lineno}: {node.name} stands outside a class")
        if not isinstance(node, ast.ClassDef):
            continue
        bases = {base.attr if isinstance(base, ast.Attribute) else getattr(base, "id", "") for base in node.bases}
        if not bases & synchronous:
            continue
        synchronous.add(node.name)
        faults += [
            f"{module}:{method.lineno}: {method.name} is async in a SynchronousTestCase"
            for method in node.body
            if isinstance(method, ast.AsyncFunctionDef) and re.match("test|setUp|tearDown", method.name)
        ]
    return faults


def log_faults(source: str, module: str) -> list[str]:
    """Log calls whose first argument is no op: a sentence, or a format whose fields would be written into the text."""
    levels = {"debug", "info", "warn", "error", "critical", "failure"}
    return [
        f"{module}:{node.lineno}: {ast.unparse(node.args[0])} is no op"
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.args
        if node.func.attr in levels and ast.unparse(node.func.value) in ("_log", "self._log")
        if not (isinstance(node.args[0], ast.Constant) and re.fullmatch(r"[a-z0-9_.]+", str(node.args[0].value)))
    ]


def docstring_faults(source: str, module: str) -> list[str]:
    return [] if ast.get_docstring(ast.parse(source)) else [f"{module}: no docstring"]


def machine_path_faults(text: str, name: str) -> list[str]:
    """Paths that exist on one machine only, and ways out of the checkout."""
    pattern = r"(?<![\w.~-])/(?:work|root|home|tmp/fxa)/[\w.]|\.\./shared\b"
    return [f"{name}: {found.group()}" for found in re.finditer(pattern, text)]


def modules(folder: str) -> Iterator[tuple[str, str, bool]]:
    """Source, dotted name and whether it is a package, of every Python file below ``folder``."""
    for path in sorted((ROOT / folder).rglob("*.py")):
        parts = path.relative_to(ROOT).with_suffix("").parts
        is_package = parts[-1] == "__init__"
        yield path.read_text(encoding="utf-8"), ".".join(parts[:-1] if is_package else parts), is_package


def texts() -> Iterator[tuple[str, str]]:
    """Text and name of every file of the project that is text."""
    folders = ("fxa_auth", "twisted", "templates", "locales", "tests", "docs", "tools", ".ci")
    inside = (path for folder in folders for path in (ROOT / folder).rglob("*"))
    for path in sorted({*ROOT.glob("*"), *inside}):
        # In a further work tree of git's, .git is a file that tells where the others are.
        if path.is_file() and path.name != ".git" and path.suffix not in {".pyc", ".cache", ".log", ".png"}:
            try:
                yield path.read_text(encoding="utf-8"), str(path.relative_to(ROOT))
            except UnicodeDecodeError:
                continue


class ProjectTests(SynchronousTestCase):
    """The rules, applied to this project."""

    def assertNoFaults(self, faults: list[str]) -> None:
        self.assertEqual(faults, [], "\n".join(["", *faults]))

    def test_imports_point_downwards(self) -> None:
        self.assertNoFaults([fault for found in modules("fxa_auth") for fault in floor_faults(*found)])

    def test_the_global_reactor_is_imported_only_when_the_service_is_made(self) -> None:
        self.assertNoFaults(
            [fault for source, name, _ in modules("fxa_auth") for fault in reactor_faults(source, name)]
        )

    def test_every_test_runs_under_both_runners(self) -> None:
        self.assertNoFaults(
            [fault for source, name, _ in modules("tests") for fault in unseen_test_faults(source, name)]
        )

    def test_every_log_call_names_its_op(self) -> None:
        self.assertNoFaults([fault for source, name, _ in modules("fxa_auth") for fault in log_faults(source, name)])

    def test_every_module_says_what_it_is_for(self) -> None:
        sources = [(source, name) for folder in ("fxa_auth", "twisted", "tests") for source, name, _ in modules(folder)]
        sources += [((ROOT / name).read_text(encoding="utf-8"), name) for name in ("setup.py", "auth.tac")]
        self.assertNoFaults([fault for source, name in sources for fault in docstring_faults(source, name)])

    def test_every_folder_of_python_files_is_a_package(self) -> None:
        folders = {path.parent for folder in ("fxa_auth", "tests") for path in (ROOT / folder).rglob("*.py")}
        self.assertNoFaults([str(folder) for folder in sorted(folders) if not (folder / "__init__.py").is_file()])

    def test_twisteds_own_packages_are_left_alone(self) -> None:
        self.assertNoFaults([str(path) for path in (ROOT / "twisted").rglob("__init__.py")])

    def test_no_file_names_a_path_of_one_machine(self) -> None:
        self.assertNoFaults([fault for text, name in texts() for fault in machine_path_faults(text, name)])

    def test_the_files_looked_at_are_there(self) -> None:
        """A wrong ROOT would make every rule above hold."""
        self.assertIn("fxa_auth.errors", [name for _, name, _ in modules("fxa_auth")])
        self.assertIn(__name__, [name for _, name, _ in modules("tests")])
        self.assertIn("setup.py", [name for _, name in texts()])


class CheckerTests(SynchronousTestCase):
    """Each rule can be broken: small sources that do, and that do not."""

    def test_arrows(self) -> None:
        for module, source, faults in (
            ("fxa_auth.store.mails", "from fxa_auth.records import Letter", 0),
            ("fxa_auth.store.mails", "from fxa_auth.store import database", 0),
            ("fxa_auth.store.mails", "from .database import Database", 0),
            ("fxa_auth.store.mails", "from ..records import Letter", 0),
            ("fxa_auth.store.mails", "from fxa_auth.accounts import Accounts", 1),
            ("fxa_auth.store.mails", "from ..accounts import Accounts", 1),
            ("fxa_auth.store.mails", "from fxa_auth.mail.compose import Composer", 1),
            ("fxa_auth.store.mails", "from .. import mail", 1),
            ("fxa_auth.mail.compose", "def f():\n    import fxa_auth.service", 1),
            ("fxa_auth.accounts", "from fxa_auth import sessions", 1),
            ("fxa_auth.accounts", "from fxa_auth import errors, preverify", 0),
            ("fxa_auth.http.app", "from fxa_auth.http.site import Site\nfrom fxa_auth.sessions import Sessions", 0),
            ("fxa_auth.http.app", "if TYPE_CHECKING:\n    from fxa_auth.tap import Options", 1),
            ("fxa_auth.tap", "from fxa_auth import __version__, cli, service", 0),
            ("fxa_auth.hawk", "from fxa_auth import errors\nimport hashlib", 0),
            ("fxa_auth.hawk", "from twisted.logger import Logger", 1),
            ("fxa_auth.hawk", "import time", 1),
            ("fxa_auth.errors", "from fxa_auth import tap", 1),
            ("fxa_auth.attic", "", 1),
            ("fxa_auth.tap", "from fxa_auth.attic import old", 1),
        ):
            self.assertEqual(len(floor_faults(source, module)), faults, (module, source))

    def test_arrows_of_packages(self) -> None:
        for module, source, faults in (
            ("fxa_auth.mail", "from .compose import Composer", 0),
            ("fxa_auth.mail", "from ..store import database", 1),
            ("fxa_auth", "from importlib import metadata", 0),
            ("fxa_auth", "from fxa_auth import errors", 1),
            ("fxa_auth", "from .errors import ApiError", 1),
        ):
            self.assertEqual(len(floor_faults(source, module, is_package=True)), faults, (module, source))

    def test_reactors(self) -> None:
        inside = "def make(options):\n    from twisted.internet import reactor\n"
        for module, source, faults in (
            ("fxa_auth.tap", inside, 0),
            ("fxa_auth.tap", "from twisted.internet import reactor", 1),
            ("fxa_auth.tap", inside + "from twisted.internet import reactor", 1),
            ("fxa_auth.service", inside, 1),
            ("fxa_auth.service", "import twisted.internet.reactor as r", 1),
            ("fxa_auth.service", "from twisted.internet.reactor import callLater", 1),
            ("fxa_auth.service", "from twisted.internet import defer", 0),
        ):
            self.assertEqual(len(reactor_faults(source, module)), faults, (module, source))

    def test_tests_that_are_not_seen(self) -> None:
        async_test = "    async def test_x(self): pass\n"
        for source, faults in (
            ("class A(TestCase):\n" + async_test, 0),
            ("class A(SynchronousTestCase):\n    def test_x(self): pass\n    async def ask(self): pass\n", 0),
            ("class A(SynchronousTestCase):\n" + async_test, 1),
            ("class A(unittest.SynchronousTestCase):\n    async def setUp(self): pass\n", 1),
            ("class A(SynchronousTestCase):\n    pass\nclass B(Mixin, A):\n" + async_test, 1),
            ("def test_x(): pass", 1),
            ("import pytest", 1),
            ("from pytest import fixture", 1),
            ("from unittest import TestCase", 1),
            ("from unittest import mock", 0),
            ("from twisted.trial.unittest import TestCase", 0),
        ):
            self.assertEqual(len(unseen_test_faults(source, "tests.test_x")), faults, source)

    def test_log_calls(self) -> None:
        for source, faults in (
            ("_log.info('mail.sent', uid=uid)", 0),
            ("_log.failure('mail.lost', failure)", 0),
            ("_log.info('mail to {address}', address=a)", 1),
            ("self._log.error('it broke')", 1),
            ("_log.error(f'mail.{kind}')", 1),
            ("errors.error('it broke')", 0),
        ):
            self.assertEqual(len(log_faults(source, "m")), faults, source)

    def test_docstrings(self) -> None:
        self.assertEqual(docstring_faults('"""What it is for."""\nx = 1\n', "m"), [])
        self.assertEqual(len(docstring_faults("# a comment\nx = 1\n", "m")), 1)
        self.assertEqual(len(docstring_faults("", "m")), 1)

    def test_machine_paths(self) -> None:
        for text, faults in (
            (f"see /{'work'}/main", 1),
            (f"'/{'root'}/.cache'", 1),
            (f"../{'shared'}/design.md", 1),
            ("https://host/v1/network/home", 0),
            ("/var/lib/fxa-auth", 0),
            ("$HOME/work/x", 0),
        ):
            self.assertEqual(len(machine_path_faults(text, "f")), faults, text)
