"""Header hygiene in both directions: what a client sent is never taken for what the gateway or a proxy says.

A header field that describes one connection goes (RFC 9110, 7.6.1), and so does what `Connection` names. What the
gateway sets itself is removed first, and so is what backends believe of proxies, unless a trusted one sent it; both in
every spelling that some backend folds onto the same name (`-`, `_`, `.`, case). Everything else passes byte for byte:
name, value, order, repetitions. What a name means is looked up in a bounded dictionary, so that a request costs one
look-up a field.
"""

from __future__ import annotations

import re
from typing import NamedTuple

from gateway.config import model
from gateway.errors import LoopDetected, Malformed
from gateway.exchange import Exchange, Headers

from .remembered import Remembered

# What to do with a field of a request.
PASS, DROP, HOST, LENGTH, CONNECTION, VIA, FORWARDED_FOR, FORWARDED, IF_TRUSTED = range(9)

FRAMING = frozenset(
    (
        "connection", "content-length", "expect", "http2-settings", "keep-alive", "proxy-connection", "te", "trailer",
        "transfer-encoding", "upgrade",
    )
)  # fmt: skip

# What proxies and their users have taken to tell backends of the client, beside the gateway's own.
PROXYS = frozenset(
    (
        "cf-connecting-ip", "forwarded-for", "front-end-https", "true-client-ip", "x-client-ip", "x-cluster-client-ip",
        "x-forwarded", "x-forwarded-port", "x-forwarded-prefix", "x-original-forwarded-for", "x-original-host",
        "x-scheme", "x-url-scheme",
    )
)  # fmt: skip

_OWNED = {
    **dict.fromkeys(FRAMING, DROP),
    **dict.fromkeys(PROXYS, IF_TRUSTED),
    "connection": CONNECTION,
    "content-length": LENGTH,
    "forwarded": FORWARDED,
    "host": HOST,
    "proxy": DROP,  # a CGI backend would take it for its own HTTP_PROXY
    "proxy-authenticate": DROP,
    "proxy-authorization": DROP,
    "via": VIA,
    "x-forwarded-for": FORWARDED_FOR,
    "x-http-method-override": DROP,
    "x-original-url": DROP,
    "x-real-ip": DROP,
    "x-request-id": DROP,
    "x-rewrite-url": DROP,
}
_OWNED_PREFIXES = ("x-forwarded-", "x-gateway-")
_FOLDED = str.maketrans("_.", "--")


def fold(name: str) -> str:
    """The spelling under which backends may see a name: lower case, `_` and `.` as `-`."""
    return name.lower().translate(_FOLDED)


def _kind(name: str) -> int:
    """What to do with a field, by its name as sent."""
    folded = fold(name)
    kind = _OWNED.get(folded, DROP if folded.startswith(_OWNED_PREFIXES) else PASS)
    return DROP if kind != PASS and folded != name.lower() else kind  # another spelling of a name that is ours


KINDS = Remembered(_kind)


class Edits(NamedTuple):
    """A route's header edits, compiled. drop: folded names that go; add: what is set; lines: that as header lines."""

    drop: frozenset[str]
    add: tuple[tuple[str, str], ...]
    lines: tuple[str, ...]


_TOKEN = re.compile(r"[!#$%&'*+\-.^_`|~0-9a-zA-Z]+").fullmatch
_VALUE = re.compile(r"[\t\x20-\x7e\x80-\xff]*").fullmatch


def compile_edits(edits: model.HeaderEdits) -> Edits | None:
    """The form of `rewrite.request_headers` or `.response_headers` that a route carries; None when they say nothing.

    A ValueError names the field that cannot be edited: no field name, a control character in the value, or a field
    that frames messages. Values beyond ASCII go out as UTF-8.
    """
    add = tuple((name, value.strip(" \t").encode().decode("latin-1")) for name, value in edits.set.items())
    for name, value in (*add, *((name, "") for name in edits.remove)):
        if not _TOKEN(name):
            raise ValueError(f"{name!r} is not a header field name")
        if fold(name) in FRAMING:
            raise ValueError(f"{name} frames the message and cannot be edited")
        if fold(name) == "via":
            raise ValueError("Via tells requests that go in a circle and cannot be edited")
        if not _VALUE(value):
            raise ValueError(f"the value for {name} holds a control character")
    drop = frozenset(fold(name) for name in (*edits.set, *edits.remove))
    if "host" in drop and not any(fold(name) == "host" for name, _ in add):
        raise ValueError("Host cannot be removed, only set")
    return Edits(drop, add, tuple(f"{name}: {value}\r\n" for name, value in add)) if drop else None


def edit(headers: Headers, edits: Edits) -> Headers:
    """An answer's header fields after a route's edits."""
    return [pair for pair in headers if fold(pair[0]) not in edits.drop] + list(edits.add)


def names_us(via: str, pseudonym: str) -> bool:
    """Whether a Via field (RFC 9110, 7.6.3) has an element that this gateway put there."""
    return pseudonym in via and any(pseudonym in element.split()[1:2] for element in via.split(","))


_NOTHING: frozenset[str] = frozenset()
_PERSISTENCE = frozenset(("keep-alive", "close", ""))


class Composer:
    """Makes the head of the request that an instance gets.

    pseudonym: the name that stands for this gateway in Via, the same in all its workers, different in every other
    gateway: a request that comes back with it has gone in a circle.
    """

    __slots__ = ("_pseudonym", "_via")

    def __init__(self, pseudonym: str) -> None:
        if not _TOKEN(pseudonym):
            raise ValueError(f"{pseudonym!r} cannot be a pseudonym in Via")
        self._pseudonym = pseudonym
        self._via = f"Via: 1.1 {pseudonym}\r\n"

    def compose(self, exchange: Exchange, authority: str, left: int) -> bytes:
        """Request line and fields, the empty line included. authority: what Host says where the client's is not kept.
        left: milliseconds until the request's deadline, told as X-Gateway-Deadline-Ms.

        Raises LoopDetected when the request has been here before, Malformed when it would not be one request.
        """
        return self._compose(exchange, authority, left, _NOTHING)

    def _compose(self, exchange: Exchange, authority: str, left: int, named: frozenset[str]) -> bytes:
        """named: the folded names that Connection lists; found on the way, whereupon this starts again with them."""
        route = exchange.route
        edits: Edits | None = route.request_headers
        drop = named if edits is None else named | edits.drop
        lines = [f"{exchange.method} {exchange.target} HTTP/1.1\r\n"]
        add = lines.append
        host = "host" in drop  # then the edits set it
        length: int | None = exchange.content_length
        chain = forwarded = ""
        trusted = exchange.trusted
        for name, value in exchange.headers:
            kind = KINDS[name]
            if drop and fold(name) in drop:
                continue
            if kind == PASS:
                add(f"{name}: {value}\r\n")
            elif kind == HOST:
                if not host:
                    host = True
                    add(f"{name}: {value if route.preserve_host else authority}\r\n")
            elif kind == LENGTH:
                if length is not None:
                    add(f"{name}: {length}\r\n")
                    length = None  # once, however often it came
            elif kind == CONNECTION:
                if not named and value.lower() not in _PERSISTENCE and (found := _named(exchange.headers)):
                    return self._compose(exchange, authority, left, found)
            elif kind == VIA:
                if names_us(value, self._pseudonym):
                    raise LoopDetected
                add(f"{name}: {value}\r\n")
            elif trusted:
                if kind == FORWARDED_FOR:
                    chain = f"{chain}, {value}" if chain else value
                elif kind == FORWARDED:
                    forwarded = f"{forwarded}, {value}" if forwarded else value
                elif kind == IF_TRUSTED:
                    add(f"{name}: {value}\r\n")
        if not host:
            add(f"Host: {authority}\r\n")
        if exchange.chunked:
            add("Transfer-Encoding: chunked\r\n")
        elif length is not None:
            add(f"Content-Length: {length}\r\n")
        peer = exchange.peer
        if peer != "unix":
            chain = f"{chain}, {peer}" if chain else peer
        if edits is None and chain and exchange.host and not forwarded:
            add(
                f"X-Forwarded-For: {chain}\r\nX-Forwarded-Proto: {exchange.scheme}\r\n"
                f"X-Forwarded-Host: {exchange.host}\r\nX-Request-ID: {exchange.request_id}\r\n"
                f"X-Gateway-Deadline-Ms: {left}\r\n{self._via}\r\n"
            )
            count = len(lines) + 6
        else:
            if forwarded:
                forwarded = f"{forwarded}, {_forwarded_element(exchange)}"
            lines += _own(exchange, chain, forwarded, left, edits)
            lines += (self._via, "\r\n")
            count = len(lines)
        text = "".join(lines)
        if text.count("\n") != count or text.count("\r") != count or " " in exchange.target:
            raise Malformed("The request holds a line break or space where HTTP allows none")
        return text.encode("latin-1")


def _own(exchange: Exchange, chain: str, forwarded: str, left: int, edits: Edits | None) -> list[str]:
    """What the gateway says of the client, without what is not known; a route's edits have the last word."""
    own = [
        ("X-Forwarded-For", chain),
        ("X-Forwarded-Proto", exchange.scheme),
        ("X-Forwarded-Host", exchange.host),
        ("Forwarded", forwarded),
        ("X-Request-ID", exchange.request_id),
        ("X-Gateway-Deadline-Ms", str(left)),
    ]
    drop, added = (edits.drop, edits.lines) if edits is not None else (_NOTHING, ())
    return [*(f"{name}: {value}\r\n" for name, value in own if value and fold(name) not in drop), *added]


def _named(headers: Headers) -> frozenset[str]:
    """The folded names of the fields that Connection makes hop-by-hop; those that are ours anyway left out."""
    listed = ",".join(value for name, value in headers if KINDS[name] == CONNECTION)
    names = (option.strip(" \t") for option in listed.lower().split(","))
    return frozenset(fold(name) for name in names if name not in _PERSISTENCE and KINDS[name] == PASS)


def _forwarded_element(exchange: Exchange) -> str:
    """What this hop adds to a trusted proxy's Forwarded field (RFC 7239)."""
    peer = exchange.peer
    node = "unknown" if peer == "unix" else f'"[{peer}]"' if ":" in peer else peer
    return f'for={node};host="{exchange.host}";proto={exchange.scheme}'
