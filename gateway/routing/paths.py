"""The canonical form of a path, and the forms in which one path can be read in two ways.

Routes are matched against the canonical form; what goes to the backend are the client's own bytes. Canonical means,
after RFC 3986, 6.2.2: percent-encoded unreserved characters are decoded (`/%61dmin` is `/admin`), the hex digits of the
other escapes are upper case, and the printable characters that RFC 3986 does not allow in a path (`"<>\\^`{|}`) are
escaped. A slash is never added, removed, encoded or decoded: a path and its canonical form have the same segments.

Refused here, whatever the routes say: a path that does not begin with "/", control characters, spaces and bytes beyond
ASCII, "#", invalid escapes, `%00`, and dot segments. A segment counts as a dot segment also when a backend would only
see it as one after decoding a slash or backslash or after dropping `;parameters` (`/a%2F..%2Fb`, `/..;/b`).

Four forms are refused unless the matched route's `allow_encoded` names them: `%2F`, `%5C` (a raw backslash too), `//`
and `;`. Where allowed they are ordinary characters of their segment, and `readings` tells what else a backend may take
the path for.
"""

from __future__ import annotations

import re

from ..errors import BadPath

UNRESERVED = r"A-Za-z0-9\-._~"
SEGMENT = UNRESERVED + r"!$&'()*+,=:@"  # RFC 3986 pchar without "%" and ";"
NOT_A_DOT = SEGMENT.replace(".", "")
NO_FORMS: frozenset[str] = frozenset()

# Possessive, so that a path that is not plain is given up after one pass. Segments that begin with a dot
# (`.well-known`) are not plain: telling them from dot segments here would cost every other path a third more.
plain = re.compile(rf"(?=/)(?:/[{NOT_A_DOT}][{SEGMENT}]*+)*+/?").fullmatch
"""Truthy for a path that is its own canonical form and holds nothing to refuse; falsy says nothing."""

_not_in_a_target = re.compile(r"[^!-~]|#").search
_bad_escape = re.compile(r"%(?![0-9A-Fa-f]{2}).{0,2}").search
_to_change = re.compile(rf"%..|[^{SEGMENT}/;]")
_is_unreserved = re.compile(rf"[{UNRESERVED}]").fullmatch
_SEPARATOR = r"(?:/|%2F|%5C)"
_dot_segment = re.compile(rf"{_SEPARATOR}\.\.?(?={_SEPARATOR}|;|%3B|\Z)").search

# As the canonical form shows them, and what a backend may take them for. In this order one reading leads to the next: a
# decoded slash may end a parameter or make an empty segment.
_FORMS = (
    ("%2F", re.compile("%2F"), "/"),
    ("%5C", re.compile("%5C"), "/"),
    (";", re.compile(";[^/]*"), ""),
    ("//", re.compile("//+"), "/"),
)


def canonical(raw: str) -> tuple[str, frozenset[str]]:
    """The canonical form of a raw path (latin-1 text without the query) and the forms that a route has to allow.

    BadPath says what is wrong.
    """
    if not raw.startswith("/"):
        raise BadPath("the path must begin with '/'")
    if found := _not_in_a_target(raw):
        raise BadPath(f"the path holds {found[0]!a}, which must be percent-encoded")
    if found := _bad_escape(raw):
        raise BadPath(f"{found[0]!r} in the path is no percent escape: two hexadecimal digits must follow the '%'")
    path = _to_change.sub(_change, raw)
    if "%00" in path:
        raise BadPath("the path holds %00")
    if _dot_segment(path):
        raise BadPath("the path holds a dot segment ('.' or '..', perhaps encoded)")
    return path, forms(path)


def forms(path: str) -> frozenset[str]:
    """The forms that a canonical path holds, spelled as `allow_encoded` spells them."""
    return frozenset([spelling for spelling, _, _ in _FORMS if spelling in path])


def readings(path: str) -> set[str]:
    """What backends may take a canonical path with such forms for, other than itself: at most fifteen paths."""
    found = {path}
    for spelling, pattern, meant in _FORMS:
        found |= {pattern.sub(meant, one) for one in found if spelling in one}
    return found - {path}


def _change(found: re.Match[str]) -> str:
    text = found[0]
    if text[0] != "%":
        return f"%{ord(text):02X}"
    character = chr(int(text[1:], 16))
    return character if _is_unreserved(character) else text.upper()
