"""``fxa-auth db rewrap``: seal everything with the newest key, so that an older one can be thrown away."""

from __future__ import annotations

import argparse
from typing import Any

from fxa_auth.commands.running import run_on_storage, say
from fxa_auth.config import Settings
from fxa_auth.storage import Storage
from fxa_auth.store.rewrapping import Rewrapping

DETAILS = (
    "Daemons may serve meanwhile, provided that all of them already have the newest key first in sealingKeys: one that "
    "does not changes nothing any more, and answers 503. A run that was cut off is simply begun again."
)


def run(options: argparse.Namespace) -> int:
    """Seal all values anew, then strike the older keys off the database's list; the answer is the exit code."""
    return run_on_storage(options, _rewrap)


async def _rewrap(reactor: Any, settings: Settings, storage: Storage) -> None:
    database = settings.database
    longest_change_s = database.statement_timeout / 1000 + 1 if database.is_postgres else 0
    done = await Rewrapping(storage.database, storage.seal, reactor, longest_change_s).run()
    newest, place = storage.seal.newest_id, settings.sealing_keys[0]
    say(f"{done.rows} rows sealed anew; everything is sealed with key {newest} ({place})")
    if done.struck_off:
        no_more = ", ".join(done.struck_off)
        say(f"The database needs no more: {no_more}. Take it out of sealingKeys and restart the daemons.")
