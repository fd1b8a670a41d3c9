"""How long to wait after one failure more: twice as long each time, up to a limit, and never quite alike.

What failed, and who waits, is no matter here.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from fxa_auth.periodic import jittered


@dataclass(frozen=True)
class Backoff:
    """Pauses from ``first_ms`` up to ``longest_ms``, each a quarter shorter or longer at most, by chance.

    So what failed together does not come again together. ``random(n)`` gives n random bytes.
    """

    first_ms: int
    longest_ms: int
    random: Callable[[int], bytes]

    def pause_ms(self, failures: int) -> int:
        """The pause after the ``failures``-th failure in a row, counted from 1."""
        doublings = min(failures - 1, self.longest_ms.bit_length())
        return round(jittered(min(self.first_ms << doublings, self.longest_ms), self.random))
