"""The heads of answers: from a WSGI application's status and header list to bytes.

The server owns the framing: Content-Length, Transfer-Encoding and Connection say what is really sent, whatever the
application claims. Hop-by-hop fields of the application are dropped (PEP 3333 forbids them), a line break or NUL in a
name, value or status is an error, and Date is added where it is missing (RFC 9110, 6.6.1).
"""

from __future__ import annotations

import time
from collections.abc import Iterable
from email.utils import formatdate
from typing import Final

from gateway.server.http1 import is_token

CHUNKED: Final = -1  # framings of a streamed body other than a number of bytes
UNTIL_CLOSE: Final = -2
NONE: Final = -3

CLOSE: Final = "Connection: close\r\n"
KEEP_ALIVE: Final = "Connection: keep-alive\r\n"

_HOP_BY_HOP = frozenset(
    (
        "connection", "keep-alive", "proxy-authenticate", "proxy-authorization", "proxy-connection", "te", "trailer",
        "trailers", "transfer-encoding", "upgrade",
    )
)  # fmt: skip
_ORDINARY, _DROPPED, _LENGTH, _DATE = range(4)
_BODY, _NO_BODY, _NO_LENGTH = range(3)


class _Fields(dict[str, int]):
    """Header name -> what to do with it. A bounded cache of a pure function."""

    def __missing__(self, name: str) -> int:
        if not is_token(name):
            raise ValueError(f"{name[:64]!r} is no header name")
        lower = name.lower()
        kind = _ORDINARY
        if lower in _HOP_BY_HOP:
            kind = _DROPPED
        elif lower == "content-length":
            kind = _LENGTH
        elif lower == "date":
            kind = _DATE
        if len(self) < 4096:
            self[name] = kind
        return kind


class _Statuses(dict[str, int]):
    """Status line's end ("200 OK") -> what a body may follow it. A bounded cache of a pure function."""

    def __missing__(self, status: str) -> int:
        code = status[:3]
        if not (code.isascii() and code.isdigit() and len(code) == 3 and status[3:4] in ("", " ") and code >= "100"):
            raise ValueError(f"{status[:64]!r} is no status")
        kind = _BODY
        if code == "304":
            kind = _NO_BODY
        elif code == "204" or code < "200":
            kind = _NO_LENGTH
        if len(self) < 1024:
            self[status] = kind
        return kind


_fields = _Fields()
_statuses = _Statuses()
_today: tuple[int, str] = (0, "")  # the Date line of a second; a cache of a pure function, replaced as a whole


def date_line() -> str:
    """The Date field of now, made once a second."""
    global _today  # noqa: PLW0603
    now = int(time.time())
    second, line = _today
    if second != now:
        line = f"Date: {formatdate(now, usegmt=True)}\r\n"
        _today = now, line
    return line


def may_have_body(status: str, method: str) -> bool:
    """Whether a body may follow (RFC 9110, 6.4.1)."""
    return not _statuses[status] and method != "HEAD"


def whole(
    status: str, headers: Iterable[tuple[str, str]], data: bytes, method: str, connection: str
) -> tuple[bytes, bytes]:
    """The head of an answer whose body is `data`, and the body as it is to be sent: empty where none may be.

    connection: CLOSE, KEEP_ALIVE or "". ValueError, TypeError: the application's headers cannot be sent.
    """
    kind = _statuses[status]
    lines = [f"HTTP/1.1 {status}\r\n"]
    declared = _lines(headers, lines, kind)
    if kind or method == "HEAD":
        if declared is None and data and not kind:
            lines.append(f"Content-Length: {len(data)}\r\n")
        data = b""
    elif declared is None:
        lines.append(f"Content-Length: {len(data)}\r\n")
    elif declared != len(data):
        raise ValueError(f"Content-Length is {declared}, the body has {len(data)} bytes")
    return _encode(lines, connection), data


def streamed(
    status: str, headers: Iterable[tuple[str, str]], method: str, at_least_11: bool, persistent: bool
) -> tuple[bytes, int, bool]:
    """The head of an answer whose body comes piece by piece, its framing, and whether the connection persists.

    framing: the bytes that the application declared, CHUNKED, UNTIL_CLOSE (HTTP/1.0), or NONE: no body may follow.
    """
    kind = _statuses[status]
    lines = [f"HTTP/1.1 {status}\r\n"]
    declared = _lines(headers, lines, kind)
    if kind or method == "HEAD":
        framing = NONE
    elif declared is not None:
        framing = declared
    elif at_least_11:
        framing = CHUNKED
        lines.append("Transfer-Encoding: chunked\r\n")
    else:
        framing = UNTIL_CLOSE
        persistent = False
    return _encode(lines, connection_line(persistent, at_least_11)), framing, persistent


def connection_line(persistent: bool, at_least_11: bool) -> str:
    """What has to be said about the connection; persistence goes without saying in HTTP/1.1."""
    if not persistent:
        return CLOSE
    return "" if at_least_11 else KEEP_ALIVE


def _lines(headers: Iterable[tuple[str, str]], lines: list[str], kind: int) -> int | None:
    """Append the application's header lines, and Date; the Content-Length it declares."""
    declared = None
    dated = False
    for name, value in headers:
        special = _fields[name]
        if special:
            if special == _DROPPED or (special == _LENGTH and kind == _NO_LENGTH):
                continue
            if special == _DATE:
                dated = True
            elif declared is not None or not (value.isascii() and value.isdigit()):
                raise ValueError("Content-Length must be one number")
            else:
                declared = int(value)
        lines.append(name + ": " + value + "\r\n")
    if not dated:
        lines.append(date_line())
    return declared


def _encode(lines: list[str], connection: str) -> bytes:
    text = "".join(lines)
    count = len(lines)
    if text.count("\n") != count or text.count("\r") != count or "\0" in text:
        raise ValueError("a header or the status holds a line break or NUL")
    return f"{text}{connection}\r\n".encode("latin-1")
