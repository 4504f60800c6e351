"""The routes of one host by path, so that finding them costs the same among ten and among ten thousand.

Exact paths are a dictionary; templates and prefixes a trie over segments; regexes are looked up by what their matches
hold (see `anchors`). `candidates` yields in the order of `patterns`, and does no more of the search than is asked for.

Beyond a few hundred routes the cost is that of memory that is in no cache, so a look-up touches few objects.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from sys import intern
from typing import Any, Generic, Protocol, TypeVar

from .anchors import Key, ways
from .patterns import Pattern


class Entry(Protocol):
    """What is found. `rank` orders the entries of one index that tie by path."""

    @property
    def pattern(self) -> Pattern: ...

    @property
    def rank(self) -> tuple[int, int]: ...


E = TypeVar("E", bound=Entry)


class PathIndex(Generic[E]):
    """Immutable after construction; read by all threads."""

    __slots__ = ("_cuts", "_exact", "_regexes", "_root")

    def __init__(self, entries: Iterable[E]) -> None:
        self._exact: dict[str, tuple[E, ...]] = {}
        self._root: _Node[E] = _Node()
        regexes: list[tuple[E, re.Pattern[str]]] = []
        depth = 0
        for entry in sorted(entries, key=lambda entry: entry.rank):
            pattern = entry.pattern
            if pattern.regex is not None:
                regexes.append((entry, pattern.regex))
            elif pattern.kind == "exact":
                self._exact[pattern.path] = (*self._exact.get(pattern.path, ()), entry)
            else:
                depth = max(depth, len(pattern.segments))
                self._root.add(pattern, entry)
        self._root.rank_terminals()
        self._regexes = RegexIndex(regexes) if regexes else None
        if self._regexes:
            depth = max(depth, self._regexes.depth)
        self._cuts = depth + 1

    def candidates(self, path: str) -> Iterator[E]:
        """The entries whose pattern matches the canonical path, in order of precedence.

        Each node of the trie is visited at most once, so the worst case is the number of nodes, however many variables
        there are.
        """
        exact = self._exact.get(path)
        if exact is not None:
            yield from exact
        # Split no further than the trie is deep: what a path is longer by costs nothing.
        segments = path.split("/", self._cuts)
        end = len(segments)
        found: list[_Terminal] = []
        node = self._root
        at = 1
        later: list[tuple[_Node[E], int]] = []  # the variables that were left aside for a literal
        forked = False
        while True:
            if node.prefixes:
                found.append(node.prefixes)
            if at == end:
                if node.ends:
                    found.append(node.ends)
            else:
                segment = segments[at]
                at += 1
                child = None if node.literals is None else node.literals.get(segment)
                if node.variable is not None and segment:
                    if child is None:
                        child = node.variable
                    else:
                        later.append((node.variable, at))
                        forked = True
                if child is not None:
                    node = child
                    continue
            if not later:
                break
            node, at = later.pop()
        if forked:
            found.sort()
        else:
            found.reverse()  # on one way down each find goes before those above it
        for terminal in found:
            yield from terminal[1:]
        if self._regexes is not None:
            yield from self._regexes.candidates(path, segments)


_Terminal = tuple[Any, ...]
"""(rank, entry, entry, …), or (): the entries of one pattern, and a number that sorts it among the patterns that match
the same path. One object and not two, see above."""


class _Node(Generic[E]):
    """A place in the trie: `literals` and `variable` lead on, `ends` end here, `prefixes` take all that is below."""

    __slots__ = ("ends", "literals", "prefixes", "variable")

    def __init__(self) -> None:
        self.literals: dict[str, _Node[E]] | None = None
        self.variable: _Node[E] | None = None
        self.ends: _Terminal = ()
        self.prefixes: _Terminal = ()

    def add(self, pattern: Pattern, entry: E) -> None:
        node = self
        for segment in pattern.segments:
            if segment is not None:
                if node.literals is None:
                    node.literals = {}
                node = node.literals.setdefault(intern(segment), _Node())
            else:
                if node.variable is None:
                    node.variable = _Node()
                node = node.variable
        if pattern.kind == "prefix":
            node.prefixes = (*(node.prefixes or (pattern.order,)), entry)
        else:
            node.ends = (*(node.ends or (pattern.order,)), entry)

    def rank_terminals(self) -> None:
        """Put numbers in the place of the patterns' orders."""
        nodes = list(self._all())
        orders = sorted({terminal[0] for node in nodes for terminal in (node.ends, node.prefixes) if terminal})
        ranks = {order: rank for rank, order in enumerate(orders)}
        for node in nodes:
            if node.ends:
                node.ends = (ranks[node.ends[0]], *node.ends[1:])
            if node.prefixes:
                node.prefixes = (ranks[node.prefixes[0]], *node.prefixes[1:])

    def _all(self) -> Iterator[_Node[E]]:
        nodes = [self]
        while nodes:
            node = nodes.pop()
            yield node
            nodes += (node.literals or {}).values()
            if node.variable is not None:
                nodes.append(node.variable)


class RegexIndex(Generic[E]):
    """Entries with a regex under keys that every path has which the regex matches: of the ways to look it up the one
    whose keys fewest other regexes have.

    Of the prefixes, kept sorted, those that a path begins with are found by one bisection: the longest of them is the
    path's predecessor or a prefix of the predecessor, and each names the next shorter one.
    """

    __slots__ = ("_members", "_prefixes", "_segments", "_shorter", "depth")

    def __init__(self, entries: Sequence[tuple[E, re.Pattern[str]]]) -> None:
        found = [(entry, regex, ways(regex)) for entry, regex in entries]
        sharing = Counter(key for _, _, sets in found for keys in sets for key in keys)
        by_key: dict[Key, list[tuple[E, re.Pattern[str]]]] = {}
        for entry, regex, sets in found:
            for key in min(sets, key=lambda keys: max(sharing[key] for key in keys)):
                by_key.setdefault(key, []).append((entry, regex))
        segments: dict[int, dict[str, tuple[tuple[E, re.Pattern[str]], ...]]] = {}
        for (position, text), members in by_key.items():
            if position:
                segments.setdefault(position, {})[text] = tuple(members)
        self._segments = tuple(segments.items())
        self.depth = max(segments, default=0)
        self._prefixes = sorted(text for position, text in by_key if position == 0)
        self._members = [by_key[0, prefix] for prefix in self._prefixes]
        self._shorter: list[int] = []
        for number, prefix in enumerate(self._prefixes):
            self._shorter.append(self._longest(number - 1, prefix))

    def candidates(self, path: str, segments: Sequence[str]) -> Iterable[E]:
        """The entries whose regex matches, by rank. segments: of the path, at least up to `depth`."""
        found: list[tuple[E, re.Pattern[str]]] = []
        for position, members in self._segments:
            if position < len(segments) and segments[position] in members:
                found += members[segments[position]]
        if self._prefixes:
            number = self._longest(bisect_right(self._prefixes, path) - 1, path)
            while number >= 0:
                found += self._members[number]
                number = self._shorter[number]
        if len(found) > 1:
            found.sort(key=lambda member: member[0].rank)
        return (entry for entry, regex in found if regex.match(path)) if found else ()

    def _longest(self, number: int, text: str) -> int:
        """The first among this prefix and its own prefixes that the text begins with, or -1."""
        while number >= 0 and not text.startswith(self._prefixes[number]):
            number = self._shorter[number]
        return number
