"""The head of a backend's answer, read strictly (RFC 9112): what two readers could take differently is refused.

A reader behind us that sees another end of the message than we do would take one client's answer for another's.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from gateway.errors import AnswerTooLarge, BadAnswer
from gateway.exchange import Headers

from .headers import fold
from .remembered import Remembered

MAX_HEAD = 64 * 1024  # bytes
MAX_FIELDS = 200

_PASS, _DROP, _LENGTH, _CODING, _CONNECTION = range(5)  # what to do with a field; passing is false
_KNOWN = {
    "connection": _CONNECTION,
    "content-length": _LENGTH,
    "keep-alive": _DROP,
    "proxy-authenticate": _DROP,
    "proxy-authentication-info": _DROP,
    "proxy-connection": _DROP,
    "te": _DROP,
    "trailer": _DROP,
    "transfer-encoding": _CODING,
    "upgrade": _DROP,
}
_TOKEN = re.compile(r"[!#$%&'*+\-.^_`|~0-9a-zA-Z]+").fullmatch
_TEXT = bytes([9, *range(32, 127), *range(128, 256)])
_NOT_HOP_BY_HOP = frozenset(("close", "keep-alive", "content-length", ""))
_MOST_DIGITS = 18
_is_status_line = re.compile(r"HTTP/1\.([01]) ([1-9][0-9]{2})(?: (.*))?").fullmatch


def _kind(name: str) -> int:
    """What to do with a field, by its name as sent."""
    if not _TOKEN(name):
        raise BadAnswer("The backend's answer has a line that is no header field")
    if fold(name).startswith("x-accel-"):
        return _DROP  # orders to the nginx in front
    return _KNOWN.get(name.lower(), _PASS)


def _status(line: str) -> tuple[int, str, bool]:
    """Status line -> (status, phrase, whether it is HTTP/1.1)."""
    found = _is_status_line(line)
    if not found:
        raise BadAnswer("The backend's answer does not begin with an HTTP/1 status line")
    return int(found[2]), found[3] or "", found[1] == "1"


def _options(value: str) -> tuple[bool, bool, frozenset[str]]:
    """Connection's value -> (close, keep-alive, the fields that it names, in lower case)."""
    options = frozenset(option.strip(" \t") for option in value.lower().split(","))
    return "close" in options, "keep-alive" in options, options - _NOT_HOP_BY_HOP


_KINDS = Remembered(_kind)
_STATUS_LINES = Remembered(_status)
_OPTIONS = Remembered(_options)


@dataclass(slots=True)
class Head:
    """headers: those to pass on, as sent. length: of the body, None: not told. keep: the connection may be reused."""

    status: int
    phrase: str
    headers: Headers
    length: int | None
    chunked: bool
    keep: bool


def parse(data: bytes) -> Head:
    """The head of an answer, without its empty line. BadAnswer and AnswerTooLarge say what is wrong with it."""
    lines = data.decode("latin-1").split("\r\n")
    count = len(lines) - 1
    if data.translate(None, _TEXT) != b"\r\n" * count:  # CR and LF occur together only, other controls not at all
        raise BadAnswer("The head of the backend's answer holds a control character or a bare line break")
    if count > MAX_FIELDS:
        raise AnswerTooLarge(f"The backend's answer has over {MAX_FIELDS} header fields")
    status, phrase, is_11 = _STATUS_LINES[lines[0]]
    headers: Headers = []
    length: int | None = None
    chunked = False
    close = keep_alive = False
    named: frozenset[str] = frozenset()
    kinds = _KINDS
    add = headers.append
    del lines[0]
    for line in lines:
        name, colon, value = line.partition(":")
        if not colon:
            raise BadAnswer("The backend's answer has a line that is no header field")
        kind = kinds[name]
        if not kind:
            add((name, value.strip(" \t")))
        elif kind == _LENGTH:
            value = value.strip(" \t")
            if not (value.isascii() and value.isdigit()) or len(value) > _MOST_DIGITS:
                raise BadAnswer("The backend's answer has a Content-Length that is no number")
            if length is None:
                length = int(value)
                add((name, value))
            elif length != int(value):
                raise BadAnswer("The backend's answer has two lengths")
        elif kind == _CODING:
            if chunked or value.strip(" \t").lower() != "chunked":
                raise BadAnswer("The backend's answer has a transfer coding other than chunked")
            chunked = True
        elif kind == _CONNECTION:
            closes, keeps, fields = _OPTIONS[value]
            close, keep_alive, named = close or closes, keep_alive or keeps, named | fields
    if chunked and length is not None:
        raise BadAnswer("The backend's answer has both a length and chunks")
    keep = not close and (is_11 or keep_alive)
    if named:
        headers = [pair for pair in headers if pair[0].lower() not in named]
    if chunked and not is_11:
        keep = False  # RFC 9112, 6.1: framing that is not to be trusted beyond this message
    return Head(status, phrase, headers, length, chunked, keep)
