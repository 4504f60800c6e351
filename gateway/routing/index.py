"""The routes of one host by path, so that finding them costs the same among ten and among ten thousand.

Exact paths are a dictionary; templates and prefixes a trie over segments; regexes are looked up by what their matches
hold (see `anchors`). Candidates come in the order of `patterns`, and no more is searched than is asked for.

Beyond a few hundred routes the cost is that of memory that is in no cache, so a look-up touches few objects.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from operator import itemgetter
from sys import intern
from typing import Generic, Protocol, TypeVar

from ..exchange import Headers
from .anchors import Key, ways
from .patterns import Pattern
from .siblings import Siblings


class Entry(Protocol):
    """What is found. `rank` orders the entries of one index that tie by path."""

    @property
    def pattern(self) -> Pattern: ...

    @property
    def rank(self) -> tuple[int, int]: ...

    @property
    def conditions(self) -> Sequence[tuple[str, str | None]]: ...


E = TypeVar("E", bound=Entry)


class PathIndex(Generic[E]):
    """Immutable after construction; read by all threads.

    steps: called one after the other with a canonical path and the header fields, they give the entries whose pattern
    matches, in order of precedence; some whose conditions these fields do not meet are left out. So for whoever is
    content with the first that fits, no more is looked up than that takes.
    """

    __slots__ = ("_cuts", "_exact", "_more", "_regexes", "_root", "steps")

    def __init__(self, entries: Iterable[E]) -> None:
        self._exact: dict[str, E] = {}
        self._root: _Node[E] = _Node()
        more: dict[E, list[E]] = {}  # for the first entry of a pattern: the others
        regexes: list[tuple[E, re.Pattern[str]]] = []
        depth = -1
        for entry in sorted(entries, key=lambda entry: entry.rank):
            pattern = entry.pattern
            if pattern.regex is not None:
                regexes.append((entry, pattern.regex))
                continue
            if pattern.kind == "exact":
                first = self._exact.setdefault(pattern.path, entry)
            else:
                depth = max(depth, len(pattern.segments))
                first = self._root.add(pattern, entry)
            if first is not entry:
                more.setdefault(first, []).append(entry)
        self._more = {first: Siblings(others) for first, others in more.items()}
        self._regexes = RegexIndex(regexes)
        self._cuts = max(depth, self._regexes.depth) + 1
        steps = ((self._exact, self._exactly), (depth >= 0, self._by_segments), (regexes, self._by_regex))
        self.steps = tuple(step for any_entry, step in steps if any_entry)

    def _exactly(self, path: str, headers: Headers) -> Iterable[E]:
        entry = self._exact.get(path)
        if entry is None:
            return ()
        return (entry,) if entry not in self._more else self._with_siblings((entry,), headers)

    def _by_segments(self, path: str, headers: Headers) -> Iterable[E]:
        # Split no further than the trie is deep: what a path is longer by costs nothing.
        found = self._root.walk(path.split("/", self._cuts))
        return found if not self._more else self._with_siblings(found, headers)

    def _with_siblings(self, entries: Iterable[E], headers: Headers) -> Iterator[E]:
        for entry in entries:
            yield entry
            if entry in self._more:
                yield from self._more[entry].candidates(headers)

    def _by_regex(self, path: str, headers: Headers) -> Iterable[E]:
        return self._regexes.candidates(path, path.split("/", self._cuts))


class _Node(Generic[E]):
    """A place in the trie: `literals` and `variable` lead on, `end` ends here, `prefix` takes all that is below."""

    __slots__ = ("end", "literals", "prefix", "variable")

    def __init__(self) -> None:
        self.literals: dict[str, _Node[E]] | None = None
        self.variable: _Node[E] | None = None
        self.end: E | None = None
        self.prefix: E | None = None

    def add(self, pattern: Pattern, entry: E) -> E:
        """Put the entry at its place; returns the one that is there already."""
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
            node.prefix = node.prefix or entry
            return node.prefix
        node.end = node.end or entry
        return node.end

    def walk(self, segments: Sequence[str]) -> list[E]:
        """The entries for a path that was split, in order of precedence.

        The weight is the length of `patterns`: literal segments, then segments. Entries of equal weight are met in
        reverse order, variables before literals and a prefix before the end, which sorting leaves as it is. Each node
        is visited at most once, so the worst case is the number of nodes, however many variables there are.
        """
        found: list[E] = []
        weights: list[int] = []
        later: list[tuple[_Node[E], int, int]] = []  # literals that were left aside for a variable
        node = self
        at = 1
        weight = 0
        forked = False
        while True:
            if node.prefix is not None:
                found.append(node.prefix)
                weights.append(weight)
            if at == len(segments):
                if node.end is not None:
                    found.append(node.end)
                    weights.append(weight)
            else:
                segment = segments[at]
                at += 1
                child = None if node.literals is None else node.literals.get(segment)
                if node.variable is not None and segment:
                    if child is not None:
                        later.append((child, at, weight + _LITERAL))
                        forked = True
                    node = node.variable
                    weight += 1
                    continue
                if child is not None:
                    node = child
                    weight += _LITERAL if segment else 1
                    continue
            if not later:
                break
            node, at, weight = later.pop()
        if forked:
            found = [entry for _, entry in sorted(zip(weights, found, strict=True), key=_weight)]
        found.reverse()
        return found


_LITERAL = 1 << 16  # more than a pattern has segments
_weight = itemgetter(0)


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

    def candidates(self, path: str, segments: Sequence[str]) -> Iterator[E]:
        """The entries whose regex matches, by rank; nothing is looked for before the first is asked for.

        segments: of the path, at least up to `depth`.
        """
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
        for entry, regex in found:
            if regex.match(path):
                yield entry

    def _longest(self, number: int, text: str) -> int:
        """The first among this prefix and its own prefixes that the text begins with, or -1."""
        while number >= 0 and not text.startswith(self._prefixes[number]):
            number = self._shorter[number]
        return number
