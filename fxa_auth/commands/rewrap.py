"""``fxa-auth db rewrap``: seal everything with the newest key, so that an older one can be thrown away."""

from __future__ import annotations

import argparse
from typing import Any

from fxa_auth.commands.running import run_on_storage, say
from fxa_auth.config import Settings
from fxa_auth.storage import Storage
from fxa_auth.store.rewrapping import Rewrapping
from fxa_auth.store.seal import key_id

DETAILS = (
    "Daemons may serve meanwhile, provided that all of them already have the newest key first in sealingKeys. A run "
    "that was cut off is simply begun again."
)


def run(options: argparse.Namespace) -> int:
    """Seal all values anew, then strike the older keys off the database's list; the answer is the exit code."""
    return run_on_storage(options, _rewrap)


async def _rewrap(reactor: Any, settings: Settings, storage: Storage) -> None:
    newest = storage.sealing_keys[0]
    rewrapping = Rewrapping(storage.database, storage.seal)
    rows = await rewrapping.run()
    forgotten = await rewrapping.forget_other_keys(newest)
    say(f"{rows} rows sealed anew; everything is sealed with key {key_id(newest).hex()} ({settings.sealing_keys[0]})")
    if forgotten:
        say(f"The database needs no more: {', '.join(forgotten)}. Take it out of sealingKeys and restart the daemons.")
