"""Work that goes on to its end although whoever waits for it has gone."""

from __future__ import annotations

from typing import TypeVar

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

_T = TypeVar("_T")


def shielded(running: Deferred[_T]) -> Deferred[_T]:
    """A Deferred with the outcome of ``running`` that may be cancelled without any effect on it."""

    def hand_on(result: _T | Failure) -> None:
        if not waiting.called:
            waiting.callback(result)

    waiting: Deferred[_T] = Deferred()
    running.addBoth(hand_on)
    return waiting
