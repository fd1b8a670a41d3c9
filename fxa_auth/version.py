"""Which version of this program runs, for the operator who asks over HTTP."""

from __future__ import annotations

import json
import subprocess
from dataclasses import dataclass
from pathlib import Path

from fxa_auth import __version__

_PACKAGE = Path(__file__).parent
_UNKNOWN = "unknown"


@dataclass(frozen=True)
class Version:
    """What this server says of itself; ``commit`` is 40 hex digits where it is known."""

    version: str
    commit: str
    source: str
    build: str


def running_version(reported_version: str) -> Version:
    """From ``version.json`` in the package, which a build leaves there, or else from the checkout that runs.

    ``reported_version`` stands in for the program's own version number, unless it is empty.
    """
    found = _built() or {"commit": _checked_out_commit() or _UNKNOWN}
    return Version(
        reported_version or __version__,
        found.get("commit", _UNKNOWN),
        found.get("source", _UNKNOWN),
        found.get("build", _UNKNOWN),
    )


def _built() -> dict[str, str] | None:
    try:
        found: dict[str, str] = json.loads((_PACKAGE / "version.json").read_text("utf-8"))
    except (OSError, ValueError):
        return None
    return found


def _checked_out_commit() -> str | None:
    repository = _PACKAGE.parent / ".git"
    if not repository.exists():
        return None
    command = ["git", f"--git-dir={repository}", "rev-parse", "HEAD"]
    try:
        return subprocess.run(command, capture_output=True, text=True, timeout=5, check=True).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return None
