"""The configuration's text as a whole: its files, its tree, what is wrong with it so far, where everything stands."""

from __future__ import annotations

from collections.abc import Sequence
from difflib import get_close_matches

from .nodes import Items, Node, Scalar, Table, describe
from .patterns import Pattern, parse
from .problems import KeyPath, Problem, render_path

_MOST_COMPARISONS = 100_000  # of a word with a known name, in search of near misses: about two seconds


class Document:
    """files: names for messages, the main file first. root: the tree, with the included files joined in.

    Owned by the one `load` that makes it.
    """

    def __init__(self, name: str) -> None:
        self.files = [name]
        self.root = Table(0, 1, 1)
        self.problems: list[Problem] = []
        self.warnings: list[Problem] = []
        self._bad: set[KeyPath] = set()
        self._above_bad: set[KeyPath] = set()
        self._comparisons = 0
        self._patterns: dict[str, Pattern] = {}

    def refuse(
        self,
        path: KeyPath,
        why: str,
        *,
        node: Node | None = None,
        found: str | None = None,
        allowed: str | None = None,
        likely: str | None = None,
    ) -> None:
        """Note a problem with what stands at `path`. node: where to point at, when it is not that."""
        there, shown = self._place_of(path)
        where = node or there
        self.problems.append(
            Problem(
                file=self.files[where.file],
                line=where.line,
                column=where.column,
                path=shown,
                why=why,
                found=found,
                allowed=allowed,
                likely=likely,
            )
        )
        self.spoil(path)

    def warn(self, path: KeyPath, why: str, *, likely: str | None = None) -> None:
        """Note what is allowed but hardly meant."""
        node, shown = self._place_of(path)
        file = self.files[node.file]
        self.warnings.append(Problem(file=file, line=node.line, column=node.column, path=shown, why=why, likely=likely))

    def spoil(self, path: KeyPath) -> None:
        """What was read at `path` is not what the file means: nothing further may be concluded from it."""
        self._bad.add(path)
        self._above_bad.update(path[:end] for end in range(len(path)))

    def sound(self, *path: str | int) -> bool:
        """Whether nothing is wrong at `path`, above it or below it."""
        if not self._bad:
            return True
        return path not in self._above_bad and not any(path[:end] in self._bad for end in range(1, len(path) + 1))

    def given(self, *path: str | int) -> bool:
        """Whether the file itself says something at `path`."""
        return self._walk(path)[1] == len(path)

    def found(self, *path: str | int) -> str | None:
        """What stands at `path`, as written."""
        node, depth, _ = self._walk(path)
        return describe(node) if depth == len(path) else None

    def place(self, *path: str | int) -> str:
        """`file:line` of what stands at `path`, or of the nearest thing above it."""
        node = self._walk(path)[0]
        return f"{self.files[node.file]}:{node.line}"

    def pattern(self, path: str) -> Pattern:
        """The parsed form of a route's path, which several checks look at."""
        known = self._patterns.get(path)
        if known is None:
            known = self._patterns[path] = parse(path)
        return known

    def near(self, word: str, known: Sequence[str]) -> str | None:
        """The known name that was probably meant."""
        self._comparisons += len(known)
        if self._comparisons > _MOST_COMPARISONS or len(word) > 64:
            return None
        for one in known:
            if one.lower() == word.lower().replace("-", "_"):
                return one
        return next(iter(get_close_matches(word, known, n=1, cutoff=0.65)), None)

    def _place_of(self, path: KeyPath) -> tuple[Node, str]:
        node, _, shown = self._walk(path)
        return node, render_path(shown)

    def _walk(self, path: KeyPath) -> tuple[Node, int, KeyPath]:
        """The deepest node on the way to `path`, how deep that is, and the path with list numbers as in their files."""
        node: Node = self.root
        shown: list[str | int] = list(path)
        for depth, key in enumerate(path):
            child: Node | None = None
            if isinstance(node, Table) and isinstance(key, str):
                child = node.get(key)
            elif isinstance(node, Items) and isinstance(key, int) and key < len(node.items):
                child = node.items[key]
                shown[depth] = node.numbers[key] if node.numbers else key
            if child is None:
                return node, depth, tuple(shown)
            node = child
        return node, len(path), tuple(shown)


def scalar_text(node: Node | None) -> str | None:
    """The text of a scalar, None for anything else."""
    return node.text if isinstance(node, Scalar) else None
