"""The two files that hold the server's signing key: reading them, and making them once.

The format is that of fxa-auth-server: a JSON object with ``algorithm`` "RS" and decimal ``n`` and ``e``, in the secret
file also ``d``; further members are left unread. Whether a key may be made at all (only while no account exists) is
decided elsewhere. These functions block and are for the start of the process.
"""

from __future__ import annotations

import json
import os
import re
from pathlib import Path
from typing import Any

from twisted.logger import Logger

from fxa_auth.certificates import SigningKey
from fxa_auth.files import write_new

_log = Logger()

_DECIMAL = re.compile(r"[0-9]{1,1300}", re.ASCII)
_SECRET_MODE = 0o600
_PUBLIC_MODE = 0o644


class KeyFileError(Exception):
    """A key file cannot be used; the text is one line that says why and what to do.

    ``setting`` is the name of the setting that names the file, ``path`` the file.
    """

    def __init__(self, setting: str, path: Path, problem: str) -> None:
        super().__init__(problem)
        self.setting = setting
        self.path = path


def exists(secret_path: Path) -> bool:
    """Whether there is a key to ``load``: the secret file alone decides, for the public one follows from it."""
    return os.path.lexists(secret_path)


def load(secret_path: Path, public_path: Path) -> SigningKey:
    """The key in the two files. Raise KeyFileError unless they hold the halves of one RSA key of 2048 bits.

    A public file that is not there is written again; where it cannot be, that is logged and the key used all the same.
    """
    key = _read_secret(secret_path)
    try:
        public = _read("publicKeyFile", public_path)
    except FileNotFoundError:
        _restore_public(key, public_path)
        return key
    numbers = key.public_numbers()
    mend = "remove it to have it written again"
    if _numbers("publicKeyFile", public_path, public, ("n", "e"), mend) != [numbers.n, numbers.e]:
        raise KeyFileError("publicKeyFile", public_path, f"does not match the secretKeyFile {secret_path}; {mend}")
    return key


def create(secret_path: Path, public_path: Path) -> SigningKey:
    """Make a new key and write both files, with their folders.

    Raise KeyFileError if they cannot be written or one is there already: a key file is never overwritten.
    """
    for setting, path in (("secretKeyFile", secret_path), ("publicKeyFile", public_path)):
        if os.path.lexists(path):
            raise _already_there(setting, path)
    key = SigningKey.generate()
    public = key.browserid_public_key()
    _write("secretKeyFile", secret_path, {**public, "d": str(key.secret_exponent())}, _SECRET_MODE)
    _write("publicKeyFile", public_path, public, _PUBLIC_MODE)
    _log.info("keyfiles.created", secretKeyFile=str(secret_path), publicKeyFile=str(public_path))
    return key


def _read_secret(path: Path) -> SigningKey:
    try:
        members = _read("secretKeyFile", path)
    except FileNotFoundError:
        problem = "there is no such file; restore it from a copy, or name the file that holds the signing key"
        raise KeyFileError("secretKeyFile", path, problem) from None
    mend = "restore it from a copy"
    n, e, d = _numbers("secretKeyFile", path, members, ("n", "e", "d"), mend)
    try:
        return SigningKey.from_numbers(n, e, d)
    except ValueError as error:
        raise KeyFileError("secretKeyFile", path, f"holds {error}; {mend}") from None


def _restore_public(key: SigningKey, path: Path) -> None:
    try:
        _write("publicKeyFile", path, key.browserid_public_key(), _PUBLIC_MODE)
    except KeyFileError as error:
        _log.warn("keyfiles.public_not_written", publicKeyFile=str(path), reason=str(error))
    else:
        _log.info("keyfiles.public_restored", publicKeyFile=str(path))


def _read(setting: str, path: Path) -> dict[str, Any]:
    """The file's JSON object. FileNotFoundError is left to the caller."""
    try:
        members = json.loads(path.read_bytes().decode("utf-8"))
    except FileNotFoundError:
        raise
    except OSError as error:
        raise KeyFileError(setting, path, f"cannot be read ({error.strerror}); give this process access") from None
    except (ValueError, RecursionError):
        raise KeyFileError(setting, path, "is not JSON; restore it from a copy") from None
    if not isinstance(members, dict):
        raise KeyFileError(setting, path, "is not a JSON object; restore it from a copy")
    return members


def _numbers(setting: str, path: Path, members: dict[str, Any], names: tuple[str, ...], mend: str) -> list[int]:
    if members.get("algorithm") != "RS":
        raise KeyFileError(setting, path, f'has no "algorithm": "RS"; {mend}')
    numbers = []
    for name in names:
        text = members.get(name)
        if not isinstance(text, str) or not _DECIMAL.fullmatch(text):
            raise KeyFileError(setting, path, f'has no decimal number "{name}"; {mend}')
        numbers.append(int(text))
    return numbers


def _write(setting: str, path: Path, members: dict[str, str], mode: int) -> None:
    try:
        write_new(path, json.dumps(members) + "\n", mode)
    except FileExistsError:
        raise _already_there(setting, path) from None
    except OSError as error:
        problem = f"cannot be written ({error.strerror}); give this process access, or name another place"
        raise KeyFileError(setting, path, problem) from None


def _already_there(setting: str, path: Path) -> KeyFileError:
    return KeyFileError(setting, path, "is there already; move it away to have a new key made")
