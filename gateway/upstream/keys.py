"""What a request is hashed by: a `config.texts.HashKey` as a function of the exchange.

Names of header fields are compared without case, those of cookies and parameters with it. Of several values the first
counts. A parameter is decoded as a form's: `%20` and `+` are both a space. A value that is there but empty says as
little as one that is not: both are None.
"""

from __future__ import annotations

from collections.abc import Callable
from urllib.parse import unquote_plus

from gateway.config.texts import HashKey
from gateway.exchange import Exchange

from .cookies import cookies

Key = Callable[[Exchange], str | None]


def key_of(spec: HashKey) -> Key:
    """How a request's key is found. ValueError for what is no HashKey."""
    kind, _, name = spec.partition(":")
    match kind:
        case "client_ip":
            return lambda exchange: exchange.client or None
        case "path":
            return lambda exchange: exchange.path or None
        case "principal":
            return lambda exchange: exchange.principal or None
        case "header":
            return _header(name.lower())
        case "cookie":
            return lambda exchange: next(filter(None, cookies(exchange.headers, name)), None)
        case "query":
            return lambda exchange: _parameter(exchange.query, name) if exchange.query else None
    raise ValueError(f"not a key to hash by: {spec!r}")


def with_fallback(key: Key, fallback: Key) -> Key:
    """The key, and the fallback's for a request that does not have it."""
    return lambda exchange: key(exchange) or fallback(exchange)


def _header(name: str) -> Key:
    length = len(name)

    def key(exchange: Exchange) -> str | None:
        for field, value in exchange.headers:
            if len(field) == length and field.lower() == name:
                return value or None
        return None

    return key


def _parameter(query: str, name: str) -> str | None:
    """The query is the client's bytes as latin-1 text, so that is what its escapes stand for, too."""
    for pair in query.split("&"):
        found, _, value = pair.partition("=")
        if unquote_plus(found, "latin-1") == name:
            return unquote_plus(value, "latin-1") or None
    return None
