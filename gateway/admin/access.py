"""Who may call the admin API: programs, under a host name that is the gateway's own, with the token where there is one.

A browser on the operator's desk reaches what the operator reaches, so it must not become a way in: a request with an
Origin is refused, and so is one under a foreign host name (a name that its owner let point here: DNS rebinding). The
Host field itself counts, never X-Forwarded-Host: a script may set that one.
"""

from __future__ import annotations

from collections.abc import Iterable
from hmac import compare_digest
from ipaddress import IPv4Address, IPv6Address
from typing import Literal

from gateway.config.addresses import Bind
from gateway.config.units import Secret
from gateway.errors import HostRefused, OriginRefused, Unauthorized
from gateway.exchange import Exchange

Access = Literal["open", "register", "admin"]
"""Which token a call needs, where one is configured: none, `admin.register_token` or `admin.token`, `admin.token`."""

_SCHEME = "bearer "
_CHALLENGE = [("WWW-Authenticate", 'Bearer realm="gateway admin"')]


def allowed_hosts(hosts: Iterable[str], binds: Iterable[Bind]) -> frozenset[str]:
    """The names under which the admin API may be called: `admin.hosts`, and the names its listeners bind."""
    return frozenset([*(host.lower() for host in hosts), *(bind.host.lower() for bind in binds if bind.host)])


class Guard:
    """token, register_token: of the `admin` section. hosts: see `allowed_hosts`; `*.example.com`: all below it."""

    def __init__(self, token: Secret | None, register_token: Secret | None, hosts: Iterable[str]) -> None:
        admin = [] if token is None else [token.reveal().encode()]
        register = [] if register_token is None else [register_token.reveal().encode(), *admin]
        self._tokens: dict[Access, list[bytes]] = {"open": [], "admin": admin, "register": register or admin}
        listed = frozenset(hosts)
        self._hosts = frozenset(host for host in listed if not host.startswith("*."))
        self._below = tuple(host[1:] for host in listed if host.startswith("*."))

    def check_caller(self, exchange: Exchange) -> None:
        """Raises OriginRefused or HostRefused."""
        for name, value in exchange.headers:
            lower = name.lower()
            if lower == "origin":
                raise OriginRefused
            # HTTP/1.0 has no Host, but no browser speaks it.
            if lower == "host" and not self._is_ours(value):
                raise HostRefused(f"the Host {value[:255]!a} is no address, not localhost and not configured")

    def check_token(self, exchange: Exchange, access: Access) -> bool:
        """Whether a token was needed and is there. Raises Unauthorized. Every token is compared in constant time, and
        always all of them."""
        tokens = self._tokens[access]
        if not tokens:
            return False
        given = exchange.environ.get("HTTP_AUTHORIZATION", "")
        if given[: len(_SCHEME)].lower() == _SCHEME:
            sent = given[len(_SCHEME) :].strip().encode("latin-1", "replace")  # as it was on the wire
            if sum(compare_digest(sent, token) for token in tokens):
                return True
            raise Unauthorized("the bearer token is not the configured one", headers=_CHALLENGE)
        which = "admin.register_token or admin.token" if access == "register" else "admin.token"
        raise Unauthorized(f"the call needs Authorization: Bearer with {which}", headers=_CHALLENGE)

    def _is_ours(self, authority: str) -> bool:
        host = authority.lower()
        if host.startswith("["):
            return _is_address(IPv6Address, host[1:].partition("]")[0])
        host = host.partition(":")[0].removesuffix(".")
        return (
            host == "localhost"
            or host in self._hosts
            or _is_address(IPv4Address, host)
            or (bool(self._below) and host.endswith(self._below))
        )


def _is_address(kind: type[IPv4Address] | type[IPv6Address], text: str) -> bool:
    try:
        kind(text)
    except ValueError:
        return False
    return True
