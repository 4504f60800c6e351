"""What the backend is asked for: the client's own bytes without `strip_prefix`, or put into `rewrite.path`.

A rewriting takes the raw path and returns the raw path to forward; the query is not its business. It cuts by segments,
not by characters: the raw and the canonical path have the same segments, whatever their lengths (`/%61pi/x` is
`/api/x`), so cutting one segment cuts the right bytes.

    strip_prefix: /api           /api/x → /x      /api → /      /apix is not touched (no segment boundary)
    strip_prefix: /{name}        on /{name}/*: whatever the variable stands for
    rewrite.path: /v2/{id}       variables are inserted as the client encoded them
    rewrite.path: /v2/*          on a prefix: the * is what the prefix's * stands for; without one the rest is dropped
"""

from __future__ import annotations

import re
from collections.abc import Callable
from urllib.parse import quote

from ..config import patterns as syntax
from .paths import canonical
from .patterns import Pattern

Rewriting = Callable[[str], str]

_split_at_variables = re.compile(r"\{([A-Za-z_][A-Za-z0-9_]*)\}").split


def strip_prefix(prefix: str, pattern: Pattern) -> Rewriting | None:
    """What cuts the prefix from a path that the pattern matched; None when there is nothing to cut.

    ValueError when the pattern's matches do not all begin with the prefix. For a regex that is only known at the
    request: a path that does not begin with the prefix is left as it is.
    """
    stripped = syntax.parse_prefix(prefix)
    if stripped.segments == ("",):
        return None
    count = len(stripped.segments)
    if pattern.kind == "regex":
        if stripped.variables:
            raise ValueError("has a variable, the regular expression none")
        return _StripWhereItIs(stripped.segments)
    variables = tuple(name for name, position in pattern.variables if position <= count)
    if (pattern.segments[:count], variables) != (stripped.segments, stripped.variables):
        raise ValueError(f"is not what {pattern.text!r} begins with")
    return _Strip(count)


def replace_path(path: str, pattern: Pattern) -> Rewriting:
    """What puts the parts of a path that the pattern matched into `rewrite.path`. ValueError says what is wrong."""
    _, keep_rest = syntax.parse_rewrite(path)
    if keep_rest and pattern.kind != "prefix":
        raise ValueError(f"ends in /*, which {pattern.text!r} does not")
    pieces = _split_at_variables(path.removesuffix("/*") if keep_rest else path)
    positions: list[int] = []
    for name in pieces[1::2]:
        position = pattern.position(name)
        if position is None:
            raise ValueError(f"names {{{name}}}, which is no variable of {pattern.text!r}")
        positions.append(position)
    literals = [quote(text, safe="/%;!$&'()+,=:@~") for text in pieces[::2]]
    return _Replace(literals, positions, len(pattern.segments), keep_rest=keep_rest)


class _Strip:
    """Cuts a number of segments off a path that has them."""

    __slots__ = ("_cuts",)

    def __init__(self, count: int) -> None:
        self._cuts = count + 1

    def __call__(self, raw: str) -> str:
        pieces = raw.split("/", self._cuts)
        return "/" + pieces[-1] if len(pieces) > self._cuts else "/"


class _StripWhereItIs(_Strip):
    """Cuts the segments off where the canonical path begins with them."""

    __slots__ = ("_segments",)

    def __init__(self, segments: tuple[str | None, ...]) -> None:
        super().__init__(len(segments))
        self._segments = ["", *segments]

    def __call__(self, raw: str) -> str:
        path, _ = canonical(raw)
        return super().__call__(raw) if path.split("/")[: self._cuts] == self._segments else raw


class _Replace:
    """Puts segments of the path between literals, and the rest behind them."""

    __slots__ = ("_keep_rest", "_literals", "_positions", "_rest")

    def __init__(self, literals: list[str], positions: list[int], count: int, *, keep_rest: bool) -> None:
        self._literals = tuple(literals)
        self._positions = tuple(positions)
        self._rest = count + 1
        self._keep_rest = keep_rest

    def __call__(self, raw: str) -> str:
        pieces = raw.split("/", self._rest)
        parts = [self._literals[0]]
        for position, text in zip(self._positions, self._literals[1:], strict=True):
            parts += (pieces[position], text)
        if self._keep_rest and len(pieces) > self._rest:
            parts += ("/", pieces[-1])
        return "".join(parts) or "/"
