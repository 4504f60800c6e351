"""The request head, parsed strictly: RFC 9112 without its leniencies.

A gateway and its backends must agree on where a request ends and what it asks for. So whatever two implementations may
read differently is refused: line endings other than CRLF, folded lines, spaces around a header's name, control
characters, several lengths, a length beside a transfer coding, several Hosts. The parser never repairs.

`parse_head` writes straight into a WSGI environ and calls no method of ours a second time for a header name it has
seen: on the hot path it costs about a quarter of a microsecond per header line.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import unquote_to_bytes

from gateway.errors import (
    BadHost,
    BodyTooLarge,
    ExpectationFailed,
    HeadersTooLarge,
    Malformed,
    NotSupported,
    Refusal,
    UriTooLong,
)

CHUNKED: Final = -1  # as a body's length: it is told by chunks

is_token = re.compile(r"[!#$%&'*+\-.^_`|~0-9a-zA-Z]+").fullmatch  # RFC 9110, 5.6.2
# The authority of an absolute-form target: a registered name, an IPv4 or a bracketed IPv6 address, and perhaps a port;
# no user information (RFC 9110, 4.2.4).
_is_authority = re.compile(r"(?:[A-Za-z0-9\-._~%!$&'()*+,;=]+|\[[0-9A-Fa-f:.]+\])(?::[0-9]{0,5})?").fullmatch
_is_version = re.compile(r"HTTP/[0-9]\.[0-9]").fullmatch

_ALLOWED = bytes([*b"\t\r\n", *range(0x20, 0x7F), *range(0x80, 0x100)])  # all octets that a head may hold
_METHODS = frozenset(("GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "PATCH", "TRACE"))
_MINOR = {"HTTP/1.1": True, "HTTP/1.0": False}
# Fields that must not come twice: of those that may, the values are joined.
_SINGLE = frozenset(
    ("HTTP_HOST", "CONTENT_LENGTH", "CONTENT_TYPE", "HTTP_TRANSFER_ENCODING", "HTTP_AUTHORIZATION", "HTTP_EXPECT")
)
_LENGTH_DIGITS = 18  # more bytes than any disk holds, and below what a C `long long` takes


@dataclass(frozen=True, slots=True)
class HeadLimits:
    """line: bytes of the request line. count, size: number and bytes of the header lines, line ends included."""

    line: int = 8 * 1024
    count: int = 100
    size: int = 32 * 1024


class _Keys(dict[str, str | None]):
    """Header name as sent -> its environ key; None where the name has none of its own.

    A name with `_` has none: as a key it would be taken for the name with `-` (`X_Forwarded_For`). It is told only in
    `gateway.headers`, where it keeps its spelling. A bounded cache of a pure function.
    """

    def __missing__(self, name: str) -> str | None:
        if not is_token(name):
            raise Malformed("A header's name is empty or holds characters that no name may hold.")
        key: str | None = name.upper().replace("-", "_")
        if "_" in name:
            key = None
        elif key not in ("CONTENT_TYPE", "CONTENT_LENGTH"):
            key = f"HTTP_{key}"
        if len(self) < 4096 and len(name) <= 64:
            self[name] = key
        return key


_keys = _Keys()


def parse_head(head: bytes, environ: dict[str, Any], limits: HeadLimits) -> tuple[bool, int, bool]:
    """Parse a head (request line and header lines, without the empty line that ends it) into `environ`.

    Sets REQUEST_METHOD, RAW_URI (the target as sent), PATH_INFO, QUERY_STRING, SERVER_PROTOCOL, the HTTP_* keys and
    `gateway.headers`: the header lines in order, names as sent, values without the white space around them, all
    latin-1 text. `environ` must hold none of the header keys before.

    Returns (persistent, length, expects): whether the client lets the connection be used again; the body's bytes, 0
    for none, CHUNKED for a chunked one; whether the client waits for "100 Continue".
    Raises a Refusal; the connection's framing is then in doubt and it must be closed.
    """
    if head.translate(None, _ALLOWED):
        raise Malformed("The request head holds control characters.")
    lines = head.decode("latin-1").split("\r\n")
    start = lines[0]
    last = len(lines) - 1
    if len(start) > limits.line:
        raise _too_long(limits)
    if len(head) - len(start) > limits.size:
        raise _too_large(limits)
    if head.count(b"\n") != last or head.count(b"\r") != last:
        raise Malformed("A line of the request head ends in a bare CR or LF.")
    if last > limits.count:
        raise HeadersTooLarge(f"The request has more than {limits.count} header lines.")
    try:
        method, target, protocol = start.split(" ")
        at_least_11 = _MINOR[protocol]
    except (ValueError, KeyError):
        raise _bad_request_line(start) from None
    if method not in _METHODS and not is_token(method):
        raise Malformed("The method is not a token.")

    headers: list[tuple[str, str]] = []
    del lines[0]
    for line in lines:
        name, colon, value = line.partition(":")
        key = _keys[name]
        if not colon:
            raise Malformed("A header line has no colon.")
        value = value.strip(" \t")
        headers.append((name, value))
        if key is None:
            continue
        if key in environ:
            if key in _SINGLE:
                raise _repeated(key, name)
            value = f"{environ[key]}{'; ' if key == 'HTTP_COOKIE' else ','}{value}"
        environ[key] = value
    environ["gateway.headers"] = headers
    environ["REQUEST_METHOD"] = method
    environ["SERVER_PROTOCOL"] = protocol
    environ["RAW_URI"] = target

    if not target.isascii() or "#" in target or "\t" in target:
        raise Malformed("The request target holds characters that must be percent-encoded.")
    if target[:1] != "/" or method == "CONNECT":
        target = _other_form(method, target, environ)
    path, _, environ["QUERY_STRING"] = target.partition("?")
    environ["PATH_INFO"] = unquote_to_bytes(path).decode("latin-1") if "%" in path else path
    if "HTTP_HOST" not in environ and at_least_11:
        raise BadHost("HTTP/1.1 requests must have a Host header.")

    length = 0
    if "HTTP_TRANSFER_ENCODING" in environ:
        length = _chunked(environ, at_least_11)
    elif "CONTENT_LENGTH" in environ:
        digits = environ["CONTENT_LENGTH"]
        if not digits.isdigit() or not digits.isascii():
            raise Malformed("Content-Length is not a number.")
        if len(digits) > _LENGTH_DIGITS:
            raise BodyTooLarge("Content-Length is beyond all limits.")
        length = int(digits)
    expects = False
    if "HTTP_EXPECT" in environ and at_least_11:  # a 1.0 client's expectation is ignored (RFC 9110, 10.1.1)
        if environ["HTTP_EXPECT"].lower() != "100-continue":
            raise ExpectationFailed("The only expectation the gateway knows is 100-continue.")
        expects = length != 0
    connection = environ.get("HTTP_CONNECTION")
    return at_least_11 if connection is None else _persistent(connection, at_least_11), length, expects


def check_partial(received: bytes, limits: HeadLimits) -> None:
    """Refuse the beginning of a head that no continuation can make right; so nobody waits for the rest of it."""
    if received == b"\r":  # perhaps the empty line that may come before a request
        return
    if not is_token(chr(received[0])):
        raise Malformed("The request does not start with a method.")
    if received.count(b"\n") != received.count(b"\r\n"):
        raise Malformed("A line of the request head ends in a bare CR or LF.")
    end = received.find(b"\r\n")
    if end > limits.line or (end < 0 and len(received) > limits.line + 1):
        raise _too_long(limits)
    if end >= 0 and len(received) - end > limits.size + 3:  # the CRLFCRLF at the end but for its last byte
        raise _too_large(limits)


def _persistent(connection: str, at_least_11: bool) -> bool:
    """Whether the connection may be used again (RFC 9112, 9.3)."""
    options = {option.strip(" \t") for option in connection.lower().split(",")}
    return "close" not in options and (at_least_11 or "keep-alive" in options)


def _chunked(environ: dict[str, Any], at_least_11: bool) -> int:
    """RFC 9112, 6.1 and 6.3: what a sender may not combine with a transfer coding is an attack or a broken sender."""
    if "CONTENT_LENGTH" in environ:
        raise Malformed("The request has both Content-Length and Transfer-Encoding.")
    if not at_least_11:
        raise Malformed("HTTP/1.0 has no Transfer-Encoding.")
    if environ["HTTP_TRANSFER_ENCODING"].lower() != "chunked":
        raise NotSupported("The only transfer coding the gateway takes is chunked.")
    return CHUNKED


def _other_form(method: str, target: str, environ: dict[str, Any]) -> str:
    """The path and query of a target that is not in origin-form (RFC 9112, 3.2).

    The host of an absolute-form target takes the place of the Host header, for the application and for whoever the
    request is forwarded to, as RFC 9112, 3.2.2 demands: a Host header that differs has no effect.
    """
    if method == "CONNECT":
        raise NotSupported("The gateway is no tunnel: CONNECT is not supported.")
    if target == "*":
        if method != "OPTIONS":
            raise Malformed("The target * is only for OPTIONS.")
        return target
    scheme, separator, rest = target.partition("://")
    if not separator or scheme.lower() not in ("http", "https"):
        raise Malformed("The request target is neither a path nor an http URL.")
    end = min((at for at in (rest.find("/"), rest.find("?")) if at >= 0), default=len(rest))
    authority, path = rest[:end], rest[end:]
    if not _is_authority(authority):
        raise Malformed("The URL's host is not a name or an address.")
    if "HTTP_HOST" not in environ and environ["SERVER_PROTOCOL"] == "HTTP/1.1":
        raise BadHost("HTTP/1.1 requests must have a Host header.")
    environ["HTTP_HOST"] = authority
    others = [line for line in environ["gateway.headers"] if line[0].lower() != "host"]
    environ["gateway.headers"] = [("Host", authority), *others]
    if path[:1] == "/":
        return path
    return "*" if method == "OPTIONS" and not path else f"/{path}"


def _repeated(key: str, name: str) -> Refusal:
    if key == "HTTP_HOST":
        return BadHost("The request has more than one Host header.")
    return Malformed(f"The header {name[:64]} must not come twice.")


def _bad_request_line(line: str) -> Refusal:
    protocol = line.rpartition(" ")[2]
    if line.count(" ") == 2 and _is_version(protocol):
        return NotSupported(f"The gateway speaks HTTP/1.1 and HTTP/1.0, not {protocol}.")
    return Malformed("The request line is not: method, target and HTTP version, one space between them.")


def _too_long(limits: HeadLimits) -> Refusal:
    return UriTooLong(f"The request line is longer than {limits.line} bytes.")


def _too_large(limits: HeadLimits) -> Refusal:
    return HeadersTooLarge(f"The header lines are longer than {limits.size} bytes together.")
