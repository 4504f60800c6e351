"""Which addresses the gateway may connect to: registered ones inside the allowed networks, never its own listeners."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterable
from ipaddress import IPv4Address, IPv6Address, ip_address

from gateway.config.addresses import Bind
from gateway.config.units import Network

Address = IPv4Address | IPv6Address


def is_local(address: Address) -> bool:
    """Whether an address is this machine's own. Asks the kernel's routing table; nothing is sent.

    A connection to an unspecified address (0.0.0.0, ::) goes to the loopback, so that counts as own, too.
    """
    if address.is_loopback or address.is_unspecified:
        return True
    family = socket.AF_INET if address.version == 4 else socket.AF_INET6
    try:
        with socket.socket(family, socket.SOCK_DGRAM) as probe:
            probe.connect((str(address), 9))  # towards an own address the kernel takes that very address as the source
            return ip_address(probe.getsockname()[0].partition("%")[0]) == address
    except OSError:
        return False


class AddressRule:
    """Asked at registration and again at each connect, with the addresses that the name resolves to then: a name that
    passed once may point elsewhere later. Immutable.

    networks: `admin.register_networks`. listeners: what both listeners bind.
    """

    def __init__(
        self, networks: Iterable[Network], listeners: Iterable[Bind], *, local: Callable[[Address], bool] = is_local
    ) -> None:
        self._networks = tuple(networks)
        self._listeners = tuple((_bound(bind.host), bind.port) for bind in listeners if bind.path is None)
        self._ports = frozenset(port for _, port in self._listeners)
        self._local = local

    def check(self, host: str, port: int, addresses: Iterable[str], *, registered: bool = True) -> str | None:
        """None when every address may be connected to, else one sentence about the first that may not.

        host: as registered or configured, for the sentence. addresses: what it resolves to, IPv6 without brackets.
        registered: False for an instance of the configuration, to which `admin.register_networks` does not apply.
        """
        for text in addresses:
            address = _address(text)
            subject = text if text == host else f"{host} resolves to {text}, which"
            if registered and not any(address in network for network in self._networks):
                return f"{subject} is outside admin.register_networks"
            if port in self._ports and self._is_listener(address, port):
                return f"{subject} with port {port} is this gateway itself"
        return None

    def _is_listener(self, address: Address, port: int) -> bool:
        return self._local(address) and any(
            port == bound_port and (bound is None or bound == address or address.is_unspecified)
            for bound, bound_port in self._listeners
        )

    def __repr__(self) -> str:
        return f"AddressRule(networks={list(map(str, self._networks))}, listeners={list(self._listeners)})"


def _address(text: str) -> Address:
    """An address as the kernel sees it: without zone, IPv4 when it is IPv4 mapped into IPv6 (RFC 4291, 2.5.5.2)."""
    address = ip_address(text.partition("%")[0])
    if isinstance(address, IPv6Address) and address.ipv4_mapped is not None:
        return address.ipv4_mapped
    return address


def _bound(host: str) -> Address | None:
    """The address that a listener is bound to; None for every own one (a wildcard, or a name: it may mean several)."""
    try:
        address = _address(host)
    except ValueError:
        return None
    return None if address.is_unspecified else address
