"""The syntax of a route's path, and what of it the checks need: its variables, its forms, whether two are the same.

    /a/b          exact       the whole path
    /users/{id}   template    a variable stands for one segment
    /a/*          prefix      /a itself and everything below it; variables before the * are allowed
    ~^/v[0-9]+/   regex       Python's `re`

Paths are compared in their canonical form (RFC 3986, 6.2.2): `/gr%c3%b6sse`, `/größe` and `/gr%C3%B6%C3%9Fe` are
spellings, `/%61` is `/a`.
"""

from __future__ import annotations

import re
import warnings
from dataclasses import dataclass
from typing import Literal
from urllib.parse import quote

LONGEST = 2048
FORMS = ("%2F", "%5C", "//", ";")  # can be read in two ways, so a route has to allow them
_VARIABLE = re.compile(r"\{([A-Za-z_][A-Za-z0-9_]*)\}")
_UNRESERVED = re.compile(r"[A-Za-z0-9._~-]")
_ESCAPE = re.compile(r"%([0-9A-Fa-f]{2})?")
_SEPARATOR = r"(?:/|%2F|%5C)"
_DOT_SEGMENT = re.compile(rf"{_SEPARATOR}\.\.?(?={_SEPARATOR}|;|\Z)")
_TAKES_EVERYTHING = {"", "^", "/", "^/", ".*", "^.*", "^/.*", "/.*", ".*$", "^.*$", "^/.*$"}


@dataclass(frozen=True, slots=True)
class Pattern:
    """segments: canonical literals, None for a variable; empty for a regex. variables: in order.

    forms: of FORMS, those that the path holds. shape: equal for two patterns that match the same paths.
    everything: whether it matches every path.
    """

    kind: Literal["exact", "template", "prefix", "regex"]
    segments: tuple[str | None, ...]
    variables: tuple[str, ...]
    forms: frozenset[str]
    shape: tuple[object, ...]
    everything: bool = False


def parse(text: str) -> Pattern:
    """The pattern that a route's `path` writes. ValueError says what is wrong with it, without quoting it."""
    if len(text) > LONGEST:
        raise ValueError(f"longer than {LONGEST} characters")
    if text.startswith("~"):
        compile_regex(text[1:])
        return Pattern("regex", (), (), frozenset(), ("regex", text[1:]), text[1:] in _TAKES_EVERYTHING)
    if not text.startswith("/"):
        raise ValueError("begins neither with / nor with ~")
    prefix = text.endswith("/*")
    segments, variables, forms = _segments(text.removesuffix("/*") if prefix else text)
    kind: Literal["exact", "template", "prefix"] = "prefix" if prefix else "template" if variables else "exact"
    return Pattern(kind, segments, variables, forms, (prefix, *segments), prefix and not segments)


def parse_prefix(text: str) -> Pattern:
    """The path without `*` that `strip_prefix` writes; a slash at its end says nothing. ValueError otherwise."""
    pattern = parse(text.rstrip("/") or text)
    if pattern.kind not in ("exact", "template"):
        raise ValueError("has no * and is no regular expression")
    return pattern


def parse_rewrite(text: str) -> tuple[frozenset[str], bool]:
    """(variables, whether the rest behind a prefix is kept) of what `rewrite.path` writes, `/v2/{id}` or `/v2/*`.

    Variables may stand within a segment. ValueError says what is wrong.
    """
    if not text.startswith("/"):
        raise ValueError("does not begin with /")
    keeps_rest = text.endswith("/*")
    _canonical(_VARIABLE.sub("x", text.removesuffix("/*") if keeps_rest else text))
    return frozenset(_VARIABLE.findall(text)), keeps_rest


def compile_regex(text: str) -> re.Pattern[str]:
    """ValueError says what is wrong with the regular expression."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # "possible nested set": it compiles
            return re.compile(text)
    except re.error as error:
        raise ValueError(f"not a regular expression: {_unquoted(error.msg)}{_at(error.pos)}") from None
    except (RecursionError, OverflowError, MemoryError):
        raise ValueError("not a regular expression that can be compiled: too deep or too large") from None


def _unquoted(message: str) -> str:
    """The words at the beginning of a message of `re`, without the piece of the pattern that some go on with."""
    words = re.match(r"(?:(?:[a-z]{2,}|\))[ ,]*)+", message)
    return words[0].rstrip(" ,") if words else "it does not compile"


def _at(position: int | None) -> str:
    return "" if position is None else f", at character {position + 1}"


def _segments(text: str) -> tuple[tuple[str | None, ...], tuple[str, ...], frozenset[str]]:
    """The canonical segments, the variables and the forms of a path without its final /*."""
    if not text:
        return (), (), frozenset()
    written = text.split("/")[1:]
    found = [_VARIABLE.fullmatch(segment) for segment in written]
    variables = tuple(match[1] for match in found if match)
    if len(set(variables)) != len(variables):
        raise ValueError("names a variable twice")
    path = _canonical("".join("/x" if match else f"/{segment}" for match, segment in zip(found, written, strict=True)))
    literals = path.split("/")[1:]
    segments = tuple(None if match else literal for match, literal in zip(found, literals, strict=True))
    return segments, variables, frozenset(form for form in FORMS if form in path)


def _canonical(path: str) -> str:
    """The canonical form of a path without variables."""
    if re.search(r"[\x00-\x20\x7f-\x9f?#]", path):
        raise ValueError("holds a space, a control character, ? or #")
    if "{" in path or "}" in path:
        raise ValueError("a variable is {name}, of letters, digits and _, and stands for a whole segment")
    if "*" in path:
        raise ValueError("* stands only at the end, as /*")
    try:
        escaped = quote(path, safe="/%;!$&'()+,=:@~")
    except UnicodeEncodeError:
        raise ValueError("is not Unicode text") from None
    canonical = _ESCAPE.sub(_decode, escaped)
    if _DOT_SEGMENT.search(canonical):
        raise ValueError("holds a dot segment, which is refused in requests")
    return canonical


def _decode(found: re.Match[str]) -> str:
    if not found[1]:
        raise ValueError("holds a % that two hexadecimal digits do not follow")
    character = chr(int(found[1], 16))
    if character == "\0":
        raise ValueError("holds %00, which is refused in requests")
    return character if _UNRESERVED.fullmatch(character) else found[0].upper()
