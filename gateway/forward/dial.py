"""From an instance's address to a connection: addresses asked for and checked, TCP, TLS, within one time limit."""

from __future__ import annotations

import errno
import socket
import ssl
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from gateway.config import model
from gateway.errors import AddressRefused, ConnectRefused, ConnectTimeout, PoolExhausted, TlsFailed, UpstreamFailure

from .connection import Connection, TlsConnection


class Instance(Protocol):
    """What forwarding needs to know of an instance; `gateway.state.registry.Instance` is one. key: its identity."""

    @property
    def service(self) -> str: ...
    @property
    def id(self) -> str: ...
    @property
    def url(self) -> str: ...
    @property
    def key(self) -> str: ...


class Lookup(Protocol):
    """Where addresses come from: `resolver.Resolver`."""

    def addresses(self, host: str, wait: float, ttl: float) -> Sequence[str]:
        """The addresses of a host, at least one, in the order in which to try them. Raises NameUnresolved."""
        ...


Rule = Callable[[Instance, str, int], str | None]
"""Asked before each connect with the instance, the address and the port: None, or why it may not be connected to."""

_OUT_OF_SOCKETS = frozenset((errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM, errno.EADDRNOTAVAIL))
_LEAST = 0.001  # seconds


@dataclass(frozen=True, slots=True)
class Dialer:
    """Connects to one instance. context: None for http."""

    instance: Instance
    host: str
    port: int
    context: ssl.SSLContext | None
    server_name: str
    resolver: Lookup
    rule: Rule
    now: Callable[[], float] = time.monotonic

    @property
    def authority(self) -> str:
        """What the Host field says for the instance itself: the port only where it is not the scheme's own."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == (443 if self.context else 80) else f"{host}:{self.port}"

    def __call__(self, timeouts: model.Timeouts, deadline: float) -> Connection:
        """A new connection. timeouts.dns bounds the wait for addresses, timeouts.connect all tries at them with TLS.

        Raises ConnectRefused, ConnectTimeout, NameUnresolved, AddressRefused, TlsFailed, or PoolExhausted when this
        process has no socket left.
        """
        found = self.resolver.addresses(self.host, min(timeouts.dns, deadline - self.now()), timeouts.dns_ttl)
        limit = min(self.now() + timeouts.connect, deadline)
        failure: UpstreamFailure | None = None
        for at, address in enumerate(found):
            why = self.rule(self.instance, address, self.port)
            if why is not None:
                failure = failure or AddressRefused(why)
                continue
            left = limit - self.now()
            if left <= 0:
                break
            try:
                # An address that swallows packets leaves time for the ones behind it.
                return self._connect(address, self.now() + left / (len(found) - at))
            except UpstreamFailure as error:
                failure = error
        raise failure or ConnectTimeout(f"No connection to {self.host}:{self.port} within the limit")

    def _connect(self, address: str, limit: float) -> Connection:
        sock: socket.socket | None = None
        try:
            sock = socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET, socket.SOCK_STREAM)
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            sock.settimeout(max(limit - self.now(), _LEAST))
            sock.connect((address, self.port))
            if sock.getsockname() == sock.getpeername():
                # A free port in the ephemeral range of this very machine may connect to itself.
                raise ConnectionRefusedError(errno.ECONNREFUSED, "Connection refused")
            if self.context is None:
                return Connection(sock, self.now)
            return self._handshake(sock, self.context, limit)
        except BaseException as error:
            if sock is not None:
                sock.close()
            if isinstance(error, OSError):
                raise self._failure(address, error) from None
            raise

    def _handshake(self, sock: socket.socket, context: ssl.SSLContext, limit: float) -> Connection:
        # Without close_notify the end of a body without length could be anybody's doing: let it be an error.
        secured = context.wrap_socket(
            sock, server_hostname=self.server_name, do_handshake_on_connect=False, suppress_ragged_eofs=False
        )
        try:
            secured.settimeout(max(limit - self.now(), _LEAST))
            secured.do_handshake()
        except BaseException as error:
            secured.close()
            if isinstance(error, ssl.SSLError) or (isinstance(error, OSError) and not isinstance(error, TimeoutError)):
                why = getattr(error, "verify_message", "") or getattr(error, "reason", "") or error
                raise TlsFailed(f"TLS with {self.host}:{self.port} failed: {why}") from None
            raise
        return TlsConnection(secured, self.now)

    def _failure(self, address: str, error: OSError) -> UpstreamFailure:
        where = f"[{address}]:{self.port}" if ":" in address else f"{address}:{self.port}"
        if isinstance(error, TimeoutError):
            return ConnectTimeout(f"No connection to {where} within the limit")
        if error.errno in _OUT_OF_SOCKETS:
            return PoolExhausted(f"The gateway has no socket left for {where}: {error.strerror}")
        return ConnectRefused(f"{where} cannot be reached: {error.strerror or error}")


def tls_context(settings: model.UpstreamTls | None) -> ssl.SSLContext:
    """The TLS settings of a service, ready for its instances' connections. TlsFailed when a file cannot be used."""
    settings = settings or model.UpstreamTls()
    try:
        context = ssl.create_default_context(cafile=settings.ca)
        if not settings.verify:
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
        if settings.certificate is not None:
            context.load_cert_chain(settings.certificate, settings.key)
    except (OSError, ValueError) as error:  # ssl.SSLError is an OSError
        raise TlsFailed(f"The service's tls section cannot be used: {error}") from None
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(["http/1.1"])
    return context
