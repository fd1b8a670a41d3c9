"""Where the files that belong to the program but are no Python are found: ``templates`` and ``locales``.

An installed package carries them inside itself; in a checkout they stand beside it. Nothing here knows what is in them.
"""

from __future__ import annotations

from pathlib import Path

PACKAGE = Path(__file__).resolve().parent


def data_dir(name: str, package: Path = PACKAGE) -> Path:
    """The folder ``name`` in ``package`` or, failing that, beside it.

    FileNotFoundError, with both places in its text, when it is in neither.
    """
    places = (package / name, package.parent / name)
    for place in places:
        if place.is_dir():
            return place
    raise FileNotFoundError(f"no folder {name}: neither {places[0]} nor {places[1]} is there; reinstall fxa-auth")
