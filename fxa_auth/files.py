"""Files that appear whole or not at all, and outlive a loss of power. What is in them is no matter here."""

from __future__ import annotations

import errno
import os
import socket
import tempfile
from pathlib import Path


def write_new(path: Path, text: str, mode: int) -> None:
    """Make a file, with its folder (0700) if need be. It is linked, not renamed, into place: a link replaces nothing.

    :raises FileExistsError: there is one already
    :raises OSError: it cannot be written
    """
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    except FileExistsError:
        raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), str(path.parent)) from None
    # mkstemp makes the file 0600 whatever the umask, so a secret is never readable by others, not even at first.
    descriptor, draft = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with open(descriptor, "w", encoding="utf-8") as file:
            file.write(text)
            os.fchmod(file.fileno(), mode)
            file.flush()
            os.fsync(file.fileno())
        os.link(draft, path)
    finally:
        os.unlink(draft)
    sync(path.parent)


def remove_dead_socket(path: Path) -> None:
    """Remove a Unix socket that nobody listens on; leave alone whatever else is there.

    :raises OSError: it cannot be looked at, or not removed
    """
    if not path.is_socket():
        return
    with socket.socket(socket.AF_UNIX) as probe:
        probe.setblocking(False)
        try:
            probe.connect(str(path))
        except ConnectionRefusedError:
            path.unlink()
        except BlockingIOError:  # somebody listens, and has much to do
            return


def sync(path: Path) -> None:
    """Return once a file, or a folder's list of files, is safe on disk.

    :raises OSError: it is not
    """
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
