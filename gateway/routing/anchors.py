"""What every match of a regular expression holds, read from its parse tree, so that regexes can be looked up.

`~^/(users|teams)/[0-9]+$` can only match paths whose first segment is `users` or `teams`, `~^/[a-z]{2}/products/` only
those whose second is `products`, `~^/v[0-9]+/` only those that begin with `/v`. What is told here may let through more
than the regex matches, never less: whatever this reader does not understand ends it there.

The tree is that of CPython's `re._parser`, the same since 3.11; the property test of the router would tell a change.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterator, Sequence
from re import _constants, _parser  # type: ignore[attr-defined]  # CPython's own, not in typeshed
from typing import Any

_MOST_PREFIXES = 32  # alternatives kept apart; beyond it the prefix ends before them
_SLASH = ord("/")
Tokens = Sequence[tuple[Any, Any]]

Key = tuple[int, str]
"""(position, text): the text is the segment at this position of `path.split("/")`; position 0: the path's beginning."""


def ways(regex: re.Pattern[str]) -> list[frozenset[Key]]:
    """Sets of keys: a path that `regex.match` takes has at least one key of each set. The last set holds prefixes."""
    if regex.flags & re.IGNORECASE:
        return [frozenset([(0, "")])]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # whatever there is to warn of was told when it was compiled
        tree = list(_parser.parse(regex.pattern, regex.flags))
    begins, _ = _prefixes(tree)
    prefixes = {one for one in begins if not any(one.startswith(other) for other in begins - {one})}
    # The segments that a prefix holds whole lie between two slashes.
    held = [dict(enumerate(prefix.split("/")[:-1])) for prefix in prefixes]
    common = set(held[0]).intersection(*held[1:]) - {0}
    found = [frozenset((position, segments[position]) for segments in held) for position in sorted(common)]
    found += (frozenset([key]) for key in _segments(tree) if key[0] not in common)
    return [*found, frozenset((0, prefix) for prefix in prefixes)]


def _prefixes(tokens: Tokens) -> tuple[set[str], bool]:
    """The texts that a match of the tokens may begin with, and whether each of them is all that the tokens match."""
    found = {""}
    for operation, argument in tokens:
        more, whole = _alternatives(operation, argument)
        if len(found) * len(more) > _MOST_PREFIXES:
            return found, False
        found = {first + second for first in found for second in more}
        if not whole:
            return found, False
    return found, True


def _alternatives(operation: Any, argument: Any) -> tuple[set[str], bool]:
    if operation is _constants.LITERAL:
        return {chr(argument)}, True
    if operation is _constants.AT and argument in (_constants.AT_BEGINNING, _constants.AT_BEGINNING_STRING):
        return {""}, True  # anywhere else than at the beginning it matches nothing, which the anchor may ignore
    if operation is _constants.IN and all(kind is _constants.LITERAL for kind, _ in argument):
        return {chr(code) for _, code in argument}, True
    if operation is _constants.SUBPATTERN:
        _, added, removed, inner = argument
        return ({""}, False) if added or removed else _prefixes(inner)
    if operation is _constants.BRANCH:
        branches = [_prefixes(inner) for inner in argument[1]]
        return set().union(*(texts for texts, _ in branches)), all(whole for _, whole in branches)
    if operation in (_constants.MAX_REPEAT, _constants.MIN_REPEAT) and argument[0] > 0:
        least, most, inner = argument
        texts, whole = _prefixes(inner)
        return texts, whole and least == most == 1
    return {""}, False


def _segments(tokens: Tokens) -> Iterator[Key]:
    """Positions and texts of the segments that are literal, as far as it is certain where segments begin."""
    position, text = 0, None  # text: the segment so far, None when it is not literal
    for operation, argument in _flat(tokens):
        if operation is _constants.LITERAL and argument == _SLASH:
            if text:
                yield position, text
            position, text = position + 1, ""
        elif operation is _constants.LITERAL:
            text = None if text is None else text + chr(argument)
        elif operation is _constants.AT and argument in (_constants.AT_END, _constants.AT_END_STRING):
            if text:
                yield position, text
            return
        elif _without_slash(operation, argument):
            text = None
        else:
            return


def _flat(tokens: Tokens) -> Iterator[tuple[Any, Any]]:
    """The tokens with plain groups opened."""
    for operation, argument in tokens:
        if operation is _constants.SUBPATTERN and not (argument[1] or argument[2]):
            yield from _flat(argument[3])
        else:
            yield operation, argument


def _without_slash(operation: Any, argument: Any) -> bool:
    """Whether the token matches no text with a slash in it, as far as can be told."""
    if operation is _constants.AT:
        return True
    if operation is _constants.LITERAL:
        return bool(argument != _SLASH)
    if operation is _constants.NOT_LITERAL:
        return bool(argument == _SLASH)
    if operation is _constants.IN:
        return _set_without_slash(argument)
    if operation in (_constants.MAX_REPEAT, _constants.MIN_REPEAT, _constants.POSSESSIVE_REPEAT):
        return all(_without_slash(*token) for token in argument[2])
    if operation is _constants.BRANCH:
        return all(_without_slash(*token) for inner in argument[1] for token in inner)
    if operation is _constants.SUBPATTERN:
        return all(_without_slash(*token) for token in argument[3])
    return False


def _set_without_slash(members: Sequence[tuple[Any, Any]]) -> bool:
    negated = members[0][0] is _constants.NEGATE
    holds = any(_may_be_slash(kind, argument) for kind, argument in members[negated:])
    if not negated:
        return not holds
    # of a negated set only what certainly names the slash excludes it
    return any(
        (kind is _constants.LITERAL and argument == _SLASH)
        or (kind is _constants.RANGE and argument[0] <= _SLASH <= argument[1])
        for kind, argument in members[1:]
    )


def _may_be_slash(kind: Any, argument: Any) -> bool:
    if kind is _constants.LITERAL:
        return bool(argument == _SLASH)
    if kind is _constants.RANGE:
        return bool(argument[0] <= _SLASH <= argument[1])
    return argument not in (_constants.CATEGORY_DIGIT, _constants.CATEGORY_WORD, _constants.CATEGORY_SPACE)
