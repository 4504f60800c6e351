"""Texts of the configuration that have a syntax of their own: names, methods, header fields, hosts, addresses, hooks.

Each is a unit whose value is a `str`, in one spelling where several mean the same. A text that this module lets
through never has to be checked again where it is used.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from typing import Annotated

from . import addresses, patterns
from .quantities import UnitError
from .units import Unit

NAME_PATTERN = r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}"
TOKEN_PATTERN = r"[!#$%&'*+.^_`|~0-9A-Za-z-]+"  # noqa: S105 - RFC 9110, 5.6.2: methods and names of header fields
_STANDARD_METHODS = {"GET", "HEAD", "POST", "PUT", "DELETE", "CONNECT", "OPTIONS", "TRACE", "PATCH"}
_is_name = re.compile(NAME_PATTERN).fullmatch
_is_token = re.compile(TOKEN_PATTERN).fullmatch
_is_printable = re.compile(r"[^\x00-\x1f\x7f-\x9f]+").fullmatch


def valid_name(text: str) -> bool:
    """Whether a text may name a service or an instance: 1 to 128 of A-Z a-z 0-9 . _ -, the first a letter or digit."""
    return _is_name(text) is not None


def _matching(pattern: str, why: str) -> Callable[[str], str]:
    matches = re.compile(pattern).fullmatch

    def parse(text: str) -> str:
        if not matches(text):
            raise UnitError(why)
        return text

    return parse


def _text(name: str, allowed: str, pattern: str) -> Unit:
    """A text that matches a regular expression as a whole."""
    return Unit(name, allowed, _matching(pattern, f"not {allowed}"), pattern=f"^(?:{pattern})$")


def _name(text: str) -> str:
    if not _is_name(text):
        near = re.fullmatch(r"[A-Za-z0-9._ /-]+", text)  # anything stranger may hold what must not be repeated
        raise UnitError("not a name", likely=re.sub("[ /]+", "-", text).lstrip("._-")[:128] or None if near else None)
    return text


def _method(text: str) -> str:
    if not _is_token(text):
        raise UnitError("not a method")
    if text not in _STANDARD_METHODS and text.upper() in _STANDARD_METHODS:
        raise UnitError("methods are case-sensitive", likely=text.upper())
    if text == "CONNECT":
        raise UnitError("a gateway has no use for CONNECT")
    return text


def _header_name(text: str) -> str:
    if not _is_token(text):
        likely = text.strip(": ")
        raise UnitError("not the name of a header field", likely=likely if _is_token(likely) else None)
    return text


def _header_value(text: str) -> str:
    """RFC 9110, 5.5: visible characters, spaces and tabs within; beyond ASCII only what latin-1 can carry."""
    if re.search(r"[\x00-\x08\x0a-\x1f\x7f]", text) or text.strip(" \t") != text:
        raise UnitError("holds a control character, or a space at an end")
    if any(ord(character) > 255 for character in text):
        raise UnitError("holds a character beyond latin-1")
    return text


def _checked_by(check: Callable[[str], object]) -> Callable[[str], str]:
    """A parser that keeps the text when `check` raises no ValueError."""

    def parse(text: str) -> str:
        try:
            check(text)
        except UnitError:
            raise
        except ValueError as error:
            raise UnitError(str(error)) from None
        return text

    return parse


def _printable(text: str) -> str:
    if not _is_printable(text) or len(text) > 128:
        raise UnitError("empty, longer than 128 characters, or with a control character")
    return text


def _host_pattern(text: str) -> str:
    if text.startswith("*."):
        parent = addresses.normal_host(text[2:])
        if re.fullmatch(r"\[.*|[0-9.]+", parent):
            raise UnitError("a wildcard stands before a host name")
        return f"*.{parent}"
    port = re.fullmatch(r"(.+?):[0-9]+", text)
    if port and not text.startswith("["):
        raise UnitError("hosts are compared without a port", likely=port[1])
    return addresses.normal_host(text)


def _origin(text: str) -> None:
    """`*`, an exact origin, one with `*.` before the host, or a regular expression behind ~."""
    if text.startswith("~"):
        patterns.compile_regex(text[1:])
    elif text != "*":
        addresses.split_url(text.replace("://*.", "://", 1))


def status_ranges(text: str) -> list[tuple[int, int]]:
    """First and last status of each part of such a text; UnitError when it is none."""
    found = []
    for part in text.split(","):
        span = re.fullmatch(r"\s*([1-5][0-9]{2})(?:-([1-5][0-9]{2}))?\s*", part)
        if not span or (span[2] and span[2] < span[1]):
            raise UnitError("neither a status nor a range of them")
        found.append((int(span[1]), int(span[2] or span[1])))
    return found


def _expiry(text: str) -> None:
    from datetime import datetime  # only where API keys expire

    try:
        datetime.fromisoformat(text)
    except ValueError:
        raise UnitError("not a date") from None


_IDENTIFIER = r"[A-Za-z_][A-Za-z0-9_]*"
_SOURCE = rf"(header|cookie|query):{TOKEN_PATTERN}"

ANY = Unit("text", "a text", str)
PRINTABLE = Unit("text", "1 to 128 printable characters", _printable, pattern=r"^[^\u0000-\u001f\u007f-\u009f]{1,128}$")
NAME = Unit("name", "1 to 128 of A-Z a-z 0-9 . _ -, the first a letter or digit", _name, pattern=f"^{NAME_PATTERN}$")
METHOD = Unit("method", "a method such as GET or PURGE", _method, pattern=f"^{TOKEN_PATTERN}$")
HEADER_NAME = Unit("header name", "the name of a header field", _header_name, pattern=f"^{TOKEN_PATTERN}$", fold=True)
HEADER_VALUE = Unit(
    "header value", "the value of a header field: one line, without spaces at its ends", _header_value, secret=True
)
HOST = Unit(
    "host", "a host such as api.example.com, *.example.com or an address", _host_pattern, pattern=r"^[^/?#@\s]+$"
)
BIND = Unit(
    "address", "host:port, [ipv6]:port or unix:/path", addresses.normal_bind, pattern=r"^(unix:.+|.+:[0-9]{1,5})$"
)
INSTANCE_URL = Unit(
    "URL",
    "http(s)://host or http(s)://host:port",
    addresses.normal_url,
    pattern=r"^[hH][tT][tT][pP][sS]?://[^/?#@]+/?$",
)
ROUTE_PATH = Unit(
    "path",
    "/exact, /prefix/*, /users/{id}, or ~ and a regular expression",
    _checked_by(patterns.parse),
    pattern="^[/~]",
)
PREFIX = Unit("path", "a path without * such as /api", _checked_by(patterns.parse_prefix), pattern="^/")
REWRITE = Unit("path", "a path such as /v2/{id} or /v2/*", _checked_by(patterns.parse_rewrite), pattern="^/")
PLAIN_PATH = _text("path", "a path such as /metrics", r"/[!-~]*")
HOOK = _text("function", "module:function", rf"{_IDENTIFIER}(\.{_IDENTIFIER})*:{_IDENTIFIER}")
HTTP_URL = Unit(
    "URL", "an http(s) URL", lambda text: addresses.checked_url(text, ("http", "https")), pattern="^https?://"
)
REDIS_URL = Unit(
    "URL",
    "a URL with redis://, rediss://, unix://, redis+sentinel:// or redis+cluster://",
    lambda text: addresses.checked_url(text, ("redis", "rediss", "unix", "redis+sentinel", "redis+cluster")),
    pattern=r"^(rediss?|unix|redis\+sentinel|redis\+cluster)://",
)
DOCKER_SOCKET = Unit(
    "URL",
    "a URL with unix://, tcp://, http:// or https://",
    lambda text: addresses.checked_url(text, ("unix", "tcp", "http", "https")),
    pattern="^(unix|tcp|https?)://",
)
STATUSES = Unit("statuses", "statuses such as 200, 200-399 or 200,204", _checked_by(status_ranges))
HASH_KEY = _text(
    "key", "client_ip, header:NAME, cookie:NAME, query:NAME, path or principal", rf"client_ip|path|principal|{_SOURCE}"
)
LIMIT_KEY = _text(
    "key",
    "client_ip, principal, api_key, header:NAME, cookie:NAME, route, service or global",
    rf"client_ip|principal|api_key|route|service|global|(header|cookie):{TOKEN_PATTERN}",
)
CREDENTIAL = _text("place", "header:NAME, query:NAME or cookie:NAME", _SOURCE)
TOKEN = _text("name", "a name without spaces and separators", TOKEN_PATTERN)
ORIGIN = Unit(
    "origin", "*, https://app.example.com, https://*.example.com, or ~ and a regular expression", _checked_by(_origin)
)
SHA256 = replace(_text("hash", "64 hexadecimal digits", "[0-9A-Fa-f]{64}"), secret=True)
EXPIRY = Unit("date", "a date such as 2027-01-01", _checked_by(_expiry))

Name = Annotated[str, NAME]
Printable = Annotated[str, PRINTABLE]
Method = Annotated[str, METHOD]
HeaderName = Annotated[str, HEADER_NAME]
HeaderValue = Annotated[str, HEADER_VALUE]
HostPattern = Annotated[str, HOST]
BindAddress = Annotated[str, BIND]
InstanceUrl = Annotated[str, INSTANCE_URL]
RoutePath = Annotated[str, ROUTE_PATH]
Prefix = Annotated[str, PREFIX]
RewritePath = Annotated[str, REWRITE]
PlainPath = Annotated[str, PLAIN_PATH]
Hook = Annotated[str, HOOK]
HttpUrl = Annotated[str, HTTP_URL]
DockerSocket = Annotated[str, DOCKER_SOCKET]
RedisUrl = Annotated[str, REDIS_URL]
Statuses = Annotated[str, STATUSES]
HashKey = Annotated[str, HASH_KEY]
LimitKey = Annotated[str, LIMIT_KEY]
Credential = Annotated[str, CREDENTIAL]
Token = Annotated[str, TOKEN]
Origin = Annotated[str, ORIGIN]
Sha256 = Annotated[str, SHA256]
Expiry = Annotated[str, EXPIRY]
