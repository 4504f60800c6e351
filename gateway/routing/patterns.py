"""The path of a route as the table needs it: parsed by `config.patterns`, plus the order that decides between several.

Exact paths go first, then templates and prefixes, the longest first, then regexes. The length of a template or prefix
is the number of its literal segments; of equal ones that with more segments is longer, the `*` of a prefix counting for
none. Where both are equal, the first segment in which the two differ decides, a literal before a variable; at last a
template goes before a prefix. So for these requests the left goes before the right:

    /api/v1/x        /api/v1/*              /api/*                  more literal segments
    /api/5           /api/*                 /{name}/{id}            more literal segments
    /api/v1/items    /api/{version}/items   /api/v1/*               as many literals, more segments
    /a/b             /a/{y}                 /{x}/b                  as long, literal first
    /users/5         /users/{id}            /users/{id}/*           as long, template before prefix

A variable stands for one segment that is not empty. A regex is matched from the beginning of the canonical path (see
`paths`), not to its end.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from ..config import patterns as syntax

Kind = Literal["exact", "template", "prefix", "regex"]


@dataclass(frozen=True, slots=True)
class Pattern:
    """text: as written. segments: canonical literals, None for a variable; empty for a regex.

    variables: name and position in `path.split("/")` (the first segment is 1).
    order: sorts the patterns of one host; of two that match the same path the lesser goes first, equal ones tie.
    """

    text: str
    kind: Kind
    segments: tuple[str | None, ...]
    variables: tuple[tuple[str, int], ...]
    regex: re.Pattern[str] | None
    order: tuple[object, ...]
    forms: frozenset[str]

    @property
    def path(self) -> str:
        """The canonical path that an exact pattern stands for."""
        return "/" + "/".join(segment or "" for segment in self.segments)

    def position(self, variable: str) -> int | None:
        """Where a variable stands in `path.split("/")`."""
        return dict(self.variables).get(variable)


def parse(text: str) -> Pattern:
    """The pattern of a route's `path`. ValueError says what is wrong with it."""
    found = syntax.parse(text)
    positions = [position for position, segment in enumerate(found.segments, 1) if segment is None]
    return Pattern(
        text=text,
        kind=found.kind,
        segments=found.segments,
        variables=tuple(zip(found.variables, positions, strict=True)),
        regex=syntax.compile_regex(text[1:]) if found.kind == "regex" else None,
        order=_order(found.kind, found.segments),
        forms=found.forms,
    )


def _order(kind: Kind, segments: Sequence[str | None]) -> tuple[object, ...]:
    if kind == "regex":
        return (2,)
    if kind == "exact":
        return (0, *segments)
    literals = sum(bool(segment) for segment in segments)
    variables = tuple(segment is None for segment in segments)
    return (1, -literals, -len(segments), variables, kind == "prefix")
