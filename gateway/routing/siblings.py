"""Routes of one pattern that header conditions tell apart, such as a thousand tenants behind one path.

A few are tried one by one. Many are looked up: each by one of its conditions that names a value, the one that fewest
others have; those without such a condition are always among the candidates.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from heapq import merge
from operator import attrgetter
from typing import Generic, Protocol, TypeVar

from ..exchange import Headers

FEW = 8

_rank = attrgetter("rank")


class Conditional(Protocol):
    """conditions: names in lower case, values or None for any. rank: orders the siblings."""

    @property
    def conditions(self) -> Sequence[tuple[str, str | None]]: ...

    @property
    def rank(self) -> tuple[int, int]: ...


E = TypeVar("E", bound=Conditional)


class Siblings(Generic[E]):
    """Immutable. entries: by rank."""

    __slots__ = ("_by_condition", "_entries", "_others")

    def __init__(self, entries: Sequence[E]) -> None:
        self._entries = tuple(entries)
        self._by_condition: dict[tuple[str, str | None], list[E]] = {}
        self._others: list[E] = []
        if len(self._entries) <= FEW:
            return
        shared = Counter(condition for entry in self._entries for condition in entry.conditions)
        for entry in self._entries:
            named = [condition for condition in entry.conditions if condition[1] is not None]
            if named:
                self._by_condition.setdefault(min(named, key=shared.__getitem__), []).append(entry)
            else:
                self._others.append(entry)

    def candidates(self, headers: Headers) -> Iterable[E]:
        """By rank, all whose conditions these header fields meet, and perhaps more."""
        if not self._by_condition:
            return self._entries
        fields = {(name.lower(), value) for name, value in headers}
        found = [entries for field in fields if (entries := self._by_condition.get(field))]
        return merge(*found, self._others, key=_rank) if found else self._others
