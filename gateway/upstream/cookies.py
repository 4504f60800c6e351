"""The cookies of a request (RFC 6265, 4.2 and 5.4): `Cookie: a=1; b=2`, names are case-sensitive."""

from __future__ import annotations

from collections.abc import Iterator

from gateway.exchange import Headers


def cookies(headers: Headers, name: str) -> Iterator[str]:
    """The values of the cookies of this name, in the order sent; a client may send several, for different paths."""
    for field, value in headers:
        if len(field) == 6 and field.lower() == "cookie" and name in value:
            for pair in value.split(";"):
                found, _, text = pair.partition("=")
                if found.strip(" \t") == name:
                    yield text.strip(" \t")
