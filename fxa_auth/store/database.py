"""The port between the operations of the store and the database that carries them out.

A change that must be atomic is a list of statements handed over at once. Nothing of ours runs inside a transaction, so
nothing can be cancelled halfway through one. The SQL is the subset that SQLite and PostgreSQL share, with named
parameters written ``:name``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

Row = Mapping[str, Any]


@dataclass(frozen=True)
class Statement:
    """One step of a change. With a ``demand``, the whole change is undone unless this step touches a row.

    The demand is a short name of what was expected to be there; it comes back in ``DemandFailed``.
    """

    sql: str
    params: Mapping[str, Any] = field(repr=False)
    demand: str | None = None


class DemandFailed(Exception):
    """A step of a change touched no row though it had to. Nothing of the change was kept."""

    def __init__(self, demand: str) -> None:
        super().__init__(demand)
        self.demand = demand


class DatabaseUnavailable(Exception):
    """The database is not open, does not answer, or failed. Whether a change was kept is unknown."""


class UnusableDatabase(Exception):
    """The database answers but this program must not use it; the text is one line that says why and what to do.

    ``setting`` is the name of the setting that it is about.
    """

    def __init__(self, text: str, setting: str = "database.url") -> None:
        super().__init__(text)
        self.setting = setting


class Database(Protocol):
    """All three raise DatabaseUnavailable."""

    async def point(self, sql: str, params: Mapping[str, Any]) -> Sequence[Row]:
        """Read at most a few rows, found by a unique key."""

    async def query(self, sql: str, params: Mapping[str, Any]) -> Sequence[Row]:
        """Read any number of rows, by whatever it takes."""

    async def change(self, statements: Sequence[Statement]) -> list[Sequence[Row]]:
        """Run the statements in one transaction; the answer holds each one's RETURNING rows.

        :raises DemandFailed: a statement touched no row and demanded it; nothing was changed
        """
