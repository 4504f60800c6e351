"""Who the client is: the peer, or what trusted proxies in front say of it.

A proxy appends the address it was called from, so the list is read from the right: each entry was written by the hop
to its right, and counts only while that hop is one of `server.trusted_proxies`. Whatever stands left of the first
address that is not trusted is the client's own invention.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from functools import lru_cache
from ipaddress import IPv6Address, ip_address
from typing import Any, NamedTuple

from gateway.config.units import Network

from .target import is_authority

UNIX = "unix"
_SCHEMES = {"http": "http", "https": "https", "ws": "http", "wss": "https"}
_IPV4 = re.compile(r"([0-9.]{7,15})(?::[0-9]{1,5})?").fullmatch
_IPV6_BRACKETS = re.compile(r"\[([0-9A-Fa-f]*:[0-9A-Fa-f:.]{1,44})\](?::[0-9]{1,5})?").fullmatch
_IPV6 = re.compile(r"[0-9A-Fa-f]*:[0-9A-Fa-f:.]{1,44}").fullmatch

# RFC 9110, 5.6.2 and 5.6.4
_TOKEN = r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+"  # noqa: S105 (HTTP's word for a word)
_PAIR = rf'({_TOKEN})=(?:({_TOKEN})|"((?:[^"\\]|\\.)*)")'
_element = re.compile(rf"[ \t]*(?:{_PAIR}[ \t]*(?:;[ \t]*|$))*").fullmatch
_pairs = re.compile(_PAIR).finditer
_MOST_COMMAS = 8  # within the quoted strings of one element


class Sender(NamedTuple):
    """client: an address in canonical text, or "unix". scheme, host: as the client used them, None where not told."""

    client: str
    scheme: str | None = None
    host: str | None = None


@lru_cache(maxsize=4096)  # a pure function: clients come back
def address(text: str) -> str | None:
    """The canonical text of an address as proxies write it, with or without a port; None for anything else.

    IPv4 mapped into IPv6 is IPv4, as a dual-stack socket or proxy reports it.
    """
    found = _IPV4(text) or _IPV6_BRACKETS(text)
    bare = found[1] if found else text
    if not found and not _IPV6(text):
        return None
    try:
        parsed = ip_address(bare)
    except ValueError:
        return None
    if isinstance(parsed, IPv6Address) and parsed.ipv4_mapped is not None:
        return str(parsed.ipv4_mapped)
    return str(parsed)


class Proxies:
    """trusted: `server.trusted_proxies`, networks and "unix" for peers that come over a unix socket."""

    def __init__(self, trusted: Iterable[Network | str]) -> None:
        self._networks: list[Network] = []
        self._unix = False
        for one in trusted:
            if isinstance(one, Network):
                self._networks.append(one)
            else:
                self._unix = True
        self.peer = lru_cache(maxsize=4096)(self._peer)  # peers come back; bounded, whoever connects

    def _peer(self, text: str) -> tuple[str, bool]:
        """(canonical text of a peer as the socket reports it, whether it is trusted)."""
        if text == UNIX:
            return UNIX, self._unix
        found = address(text.partition("%")[0]) or text  # a link-local peer comes with its zone
        return found, self.trusts(found)

    def trusts(self, client: str) -> bool:
        try:
            return any(client in network for network in self._networks)
        except ValueError:  # no address at all
            return False

    def sender(self, peer: str, environ: Mapping[str, Any]) -> Sender:
        """What a trusted peer's request tells. X-Forwarded-* go before Forwarded (RFC 7239), which few proxies set."""
        forwarded_for = environ.get("HTTP_X_FORWARDED_FOR")
        forwarded = environ.get("HTTP_FORWARDED")
        if forwarded_for is None and forwarded is not None:
            return self._standard(peer, forwarded)
        client = peer if forwarded_for is None else self._walk(peer, forwarded_for)
        scheme = environ.get("HTTP_X_FORWARDED_PROTO")
        host = environ.get("HTTP_X_FORWARDED_HOST")
        return Sender(client, scheme and _scheme(_last(scheme)), host and _host(_last(host)))

    def _walk(self, peer: str, listed: str) -> str:
        client = peer
        for entry in reversed(listed.split(",")):
            found = address(entry.strip())
            if found is None:
                break
            client = found
            if not self.peer(found)[1]:
                break
        return client

    def _standard(self, peer: str, listed: str) -> Sender:
        """As above for RFC 7239; scheme and host are what the hop next to the client saw."""
        client, scheme, host = peer, None, None
        for pairs in _elements(listed):
            found = address(pairs.get("for", ""))
            if found is None:
                break
            client, scheme, host = found, _scheme(pairs.get("proto", "")), _host(pairs.get("host", ""))
            if not self.peer(found)[1]:
                break
        return Sender(client, scheme, host)


def _last(listed: str) -> str:
    """The value that the nearest proxy set, when several did."""
    return listed.rpartition(",")[2].strip() if "," in listed else listed


def _scheme(text: str) -> str | None:
    return _SCHEMES.get(text.lower())


def _host(text: str) -> str | None:
    return text if is_authority(text) else None


def _elements(listed: str) -> Iterator[dict[str, str]]:
    """The elements of a Forwarded field from the right, up to the first that is not valid.

    From the right: a client's part on the left may hold a quote that is never closed and would swallow the rest.
    """
    end = len(listed)
    while end > 0:
        start = end
        for _ in range(_MOST_COMMAS):
            start = listed.rfind(",", 0, start)
            element = listed[start + 1 : end]
            if _element(element):
                break
            if start < 0:
                return
        else:
            return
        yield {
            found[1].lower(): found[2] if found[2] is not None else re.sub(r"\\(.)", r"\1", found[3])
            for found in _pairs(element)
        }
        end = start
