"""A queue in which nobody waits for all that somebody else has put in before: its owners take turns.

What is queued, and what an owner is, is no matter here.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Container
from typing import Generic, TypeVar

_T = TypeVar("_T")


class FairQueue(Generic[_T]):
    """Items in a line for each owner, taken in order of arrival; the owners have their turns one after the other."""

    def __init__(self) -> None:
        self._lines: OrderedDict[str, deque[_T]] = OrderedDict()
        self._length = 0

    def __len__(self) -> int:
        return self._length

    def waiting(self, owner: str) -> int:
        """How many items of this owner wait."""
        return len(self._lines.get(owner, ()))

    def put(self, owner: str, item: _T) -> None:
        self._lines.setdefault(owner, deque()).append(item)
        self._length += 1

    def next_owner(self, passing_over: Container[str] = ()) -> str | None:
        """Whose turn it is, those aside who are passed over; None when there is nobody."""
        return next((owner for owner in self._lines if owner not in passing_over), None)

    def take(self, owner: str) -> _T:
        """The owner's next item; the owner's next turn comes after all others'. KeyError when there is none."""
        line = self._lines.pop(owner)
        if len(line) > 1:
            self._lines[owner] = line
        self._length -= 1
        return line.popleft()

    def give_way(self, newcomer: str) -> _T | None:
        """Take out the latest item of the longest line, if that is longer than the newcomer's would be; else None."""
        owner, line = max(self._lines.items(), key=lambda entry: len(entry[1]), default=("", deque()))
        if len(line) <= self.waiting(newcomer) + 1:
            return None
        self._length -= 1
        return self._lines[owner].pop()
