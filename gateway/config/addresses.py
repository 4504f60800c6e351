"""Addresses: where a listener binds and where an instance is reached, each in one spelling.

The spelling of URLs follows RFC 3986, 6.2.2 and 6.2.3: scheme and host in lower case, the port always written, IPv6 in
brackets in its shortest form.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address
from urllib.parse import urlsplit

from .quantities import UnitError

DEFAULT_PORTS = {"http": 80, "https": 443}
_LABEL = re.compile(r"[A-Za-z0-9_]([A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?")
_AUTHORITY = re.compile(r"(\[[^\[\]]*\]|[^:\[\]]*)(?::(.*))?")
_LOOPBACK_NAMES = {"localhost", "localhost.", "ip6-localhost"}
_ANY = "0.0.0.0"  # noqa: S104 - compared with, not bound
_WILDCARDS = {_ANY: "127.0.0.1", "::": "::1"}  # and where a connection to one of them goes


@dataclass(frozen=True, slots=True)
class Bind:
    """What a listener binds: `host` (without brackets) and `port`, or a unix socket at `path`."""

    host: str = ""
    port: int = 0
    path: str | None = None

    @property
    def loopback(self) -> bool:
        """Whether only this machine reaches it."""
        return self.path is not None or is_loopback(self.host)

    @property
    def near(self) -> str:
        """The host under which this machine itself reaches it."""
        return _WILDCARDS.get(self.host, self.host)

    def overlaps(self, other: Bind) -> bool:
        """Whether the kernel refuses to bind both. Port 0 is a different port each time."""
        if self.path is not None or other.path is not None:
            return self.path == other.path
        if not self.port or self.port != other.port:
            return False
        if self.host == other.host or "::" in (self.host, other.host):
            return True  # [::] also takes IPv4, unless the system says otherwise
        return _ANY in (self.host, other.host) and ":" not in self.host + other.host

    def answers(self, host: str, port: int) -> bool:
        """Whether a connection to `host` and `port` surely ends here, as far as the texts tell without a look-up."""
        if self.path is not None or port != self.port:
            return False
        if self.host in _WILDCARDS and is_loopback(host):
            return True
        return not _meant(self.host).isdisjoint(_meant(host))

    def __str__(self) -> str:
        if self.path is not None:
            return f"unix:{self.path}"
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


def is_loopback(host: str) -> bool:
    """Whether a host is an address of the loopback, or the name that stands for one everywhere."""
    try:
        return (IPv6Address(host) if ":" in host else IPv4Address(host)).is_loopback
    except ValueError:
        return host.lower() in _LOOPBACK_NAMES


def _meant(host: str) -> set[str]:
    """The addresses that a host stands for, where its text tells; else itself."""
    if host in _LOOPBACK_NAMES:
        return {"127.0.0.1", "::1"}
    return {host, _WILDCARDS.get(host, host)}


def parse_bind(text: str) -> Bind:
    """`host:port`, `[ipv6]:port` or `unix:/path`. Raises UnitError."""
    if text.startswith("unix:"):
        path = re.sub(r"^//(?=/)", "", text[5:])
        if not path.startswith("/") or "\0" in path:
            raise UnitError("no absolute path after unix:")
        if len(path.encode()) > 107:  # sockaddr_un.sun_path, less its NUL
            raise UnitError("a path of more than 107 bytes, which no unix socket can have")
        return Bind(path=path)
    found = _AUTHORITY.fullmatch(text)
    try:
        if not found or found[2] is None or not found[1]:
            raise UnitError("not host:port")
        return Bind(_host(found[1]), _port(found[2], 0))
    except UnitError as error:
        raise UnitError(str(error), likely=_likely_bind(text)) from None


def _likely_bind(text: str) -> str | None:
    bare = re.fullmatch(r"\*?:?([0-9]{1,5})", text)
    if bare:
        return f"{_ANY}:{bare[1]}"
    full = re.fullmatch(r"(?:tcp|http)://([0-9A-Za-z.-]+:[0-9]{1,5})/?", text)
    return full[1] if full else None


def normal_bind(text: str) -> str:
    return str(parse_bind(text))


def split_url(text: str) -> tuple[str, str, int]:
    """(scheme, host without brackets, port) of an http(s) URL that has nothing else. Raises UnitError."""
    scheme, separator, rest = text.partition("://")
    if not separator or scheme.lower() not in DEFAULT_PORTS:
        bare = re.fullmatch(r"[A-Za-z0-9._-]+(:[0-9]{1,5})?/?", text)
        likely = f"http://{text.rstrip('/')}" if bare else None
        raise UnitError("does not begin with http:// or https://", likely=likely)
    if re.search(r"[^!-~]|\\", text):
        raise UnitError("holds a space, a backslash or a character beyond ASCII (which is written xn--…)")
    authority = re.split(r"[/?#]", rest, maxsplit=1)[0]
    tail = rest[len(authority) :]
    if "@" in authority:
        raise UnitError("holds a user or password")
    if tail not in ("", "/"):
        raise UnitError("holds a path, query or fragment", likely=f"{scheme}://{authority}")
    found = _AUTHORITY.fullmatch(authority)
    if not found:
        raise UnitError("not scheme://host:port, with an IPv6 address in brackets")
    scheme = scheme.lower()
    return scheme, _host(found[1]), DEFAULT_PORTS[scheme] if found[2] is None else _port(found[2], 1)


def normal_url(text: str) -> str:
    """`scheme://host:port`. Raises UnitError."""
    scheme, host, port = split_url(text)
    return f"{scheme}://[{host}]:{port}" if ":" in host else f"{scheme}://{host}:{port}"


def normal_host(text: str) -> str:
    """A host name or address, lower case, IPv6 in brackets. Raises UnitError."""
    host = _host(text)
    return f"[{host}]" if ":" in host else host


def _host(text: str) -> str:
    if text.startswith("["):
        try:
            return str(IPv6Address(text[1:-1] if "%" not in text else ""))
        except ValueError:
            raise UnitError("no IPv6 address in the brackets") from None
    labels = text.removesuffix(".").split(".")
    if re.fullmatch(r"[0-9]+|0[xX][0-9A-Fa-f]*", labels[-1]):
        # WHATWG URL, 3.5: a host that ends in a number is an IPv4 address; 127.1 and 0x7f000001 are traps
        try:
            return str(IPv4Address(text))
        except ValueError:
            raise UnitError("neither a host name nor an IPv4 address in four decimal parts") from None
    if len(text) > 253 or not all(_LABEL.fullmatch(label) for label in labels):
        raise UnitError("a host is made of letters, digits, dots, hyphens and underscores")
    return text.lower()


def _port(text: str, lowest: int) -> int:
    if not re.fullmatch(r"[0-9]{1,5}", text) or not lowest <= int(text) <= 65535:
        raise UnitError(f"the port is not between {lowest} and 65535")
    return int(text)


def checked_url(text: str, schemes: tuple[str, ...]) -> str:
    """A whole URL (path, query and userinfo allowed) with one of `schemes`, as written. Raises UnitError."""
    if re.search(r"[^!-~]", text):
        raise UnitError("holds a space or a character beyond ASCII")
    try:
        parts = urlsplit(text)
        host, port = parts.hostname, parts.port
    except ValueError:
        raise UnitError("not a URL") from None
    if parts.scheme not in schemes:
        raise UnitError("another scheme, or none")
    if parts.scheme == "unix":
        if not parts.path.startswith("/"):
            raise UnitError("no path")
    elif not host or port == 0:
        raise UnitError("no host, or port 0")
    return text
