"""Making sure that files outlive a loss of power. What is in them is no matter here."""

from __future__ import annotations

import os
from pathlib import Path


def sync(path: Path) -> None:
    """Return once a file, or a folder's list of files, is safe on disk.

    :raises OSError: it is not
    """
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
