"""The commands of ``fxa-auth`` that work on the store, a module for each family."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    Subparsers = argparse._SubParsersAction[argparse.ArgumentParser]
    """To what a command adds its own parser."""
