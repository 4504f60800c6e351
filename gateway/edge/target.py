"""The request target and the Host field: what of them is HTTP, before anything is matched (RFC 9112, 3.2 and 3.3)."""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import lru_cache
from ipaddress import IPv6Address
from typing import Any
from urllib.parse import quote

from gateway.errors import BadHost, Malformed, NotSupported

_absolute = re.compile(r"[Hh][Tt][Tt][Pp][Ss]?://([^/?#]*)(.*)", re.DOTALL).fullmatch
_authority = re.compile(r"(?:[A-Za-z0-9_][A-Za-z0-9._-]{0,252}|\[([0-9A-Fa-f:.]+)\])(?::([0-9]{1,5}))?").fullmatch
_user = re.compile(r"^([A-Za-z][A-Za-z0-9+.-]*://|).*@", re.DOTALL).sub
_printable = re.compile(r"[!-~]+").fullmatch
_PATH_SAFE = "/!$&'()*+,;=:@~"


@lru_cache(maxsize=4096)  # a pure function of a text that repeats: the Host of nearly every request is one of a few
def is_authority(text: str) -> bool:
    """Whether `text` is a host name or an address, with or without a port, as Host may hold it (no user, not empty)."""
    found = _authority(text)
    if not found:
        return False
    try:
        if found[1]:
            IPv6Address(found[1])
    except ValueError:
        return False
    return not found[2] or int(found[2]) <= 65535


def as_sent(environ: Mapping[str, Any]) -> str:
    """The target as the client sent it; put together again from the decoded path where the server does not tell.

    Werkzeug's test client tells what the test wrote, which need not be encoded and may leave the query to an argument.
    """
    target: str | None = environ.get("RAW_URI") or environ.get("REQUEST_URI")
    if not target or not _printable(target):
        path = f"{environ.get('SCRIPT_NAME', '')}{environ.get('PATH_INFO', '')}".encode("latin-1")
        target = quote(path, safe=_PATH_SAFE)
    query = environ.get("QUERY_STRING")
    return f"{target}?{query}" if query and "?" not in target else target


def without_user(target: str) -> str:
    """A target for the log that may be no valid one: without what may be a password."""
    return target if target.startswith("/") else _user("\\1***@", target)


def split(method: str, target: str) -> tuple[str | None, str, str | None]:
    """(authority, path, query) of a target: authority only from the absolute form, query None without a "?".

    BadHost: the absolute form names no valid host. NotSupported: CONNECT. Malformed: no form that RFC 9112 knows.
    """
    authority = None
    if not target.startswith("/"):
        if method == "CONNECT":
            raise NotSupported("CONNECT: the gateway opens no tunnels")
        if target == "*" and method == "OPTIONS":
            return None, target, None
        found = _absolute(target)
        if not found:
            raise Malformed("the request target is neither a path nor an http URL")
        authority, target = found[1], found[2]
        if not is_authority(authority):
            raise BadHost("the request target is a URL whose host is not valid")
        if method == "OPTIONS" and not target:
            return authority, "*", None  # RFC 9112, 3.2.4
        if not target.startswith("/"):
            target = "/" + target
    if "#" in target:
        raise Malformed("the request target holds a '#'")
    path, mark, query = target.partition("?")
    return authority, path, query if mark else None
