"""TLS on the gateway's own listeners, and connections that speak it; all contexts of a configuration.

The handshake runs a step at a time through the group's epoll, so a client that stops in the middle of it holds no
thread; it has the time that a request head has. TLS sockets use Python's timeouts where plain ones use SO_RCVTIMEO.
"""

from __future__ import annotations

import contextlib
import select
import socket
import ssl
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from gateway.config.model import Config, Listener, ListenerTls, UpstreamTls
from gateway.errors import TlsFailed
from gateway.exchange import Plane
from gateway.forward.dial import tls_context
from gateway.server.client import NOT_YET, PARK
from gateway.server.connection import AGAIN, DONE, READABLE, Connection
from gateway.server.service import Service

WRITABLE: Final = select.EPOLLOUT | select.EPOLLONESHOT

_RECORD = 16 * 1024  # most plain bytes of one record: what is written at once, so that progress shows
_VERIFY = {"none": ssl.CERT_NONE, "optional": ssl.CERT_OPTIONAL, "required": ssl.CERT_REQUIRED}


def server_context(settings: ListenerTls) -> ssl.SSLContext:
    """The context of a listener: TLS 1.2 and up, HTTP/1.1 only. ValueError says which file is wrong."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.options |= ssl.OP_NO_RENEGOTIATION | ssl.OP_NO_COMPRESSION
    context.set_alpn_protocols(["http/1.1"])
    try:
        context.load_cert_chain(settings.certificate, settings.key, password=lambda: "")
    except OSError as error:  # ssl.SSLError is one
        raise ValueError(f"certificate {settings.certificate} with key {settings.key}: {_why(error)}") from error
    if settings.client_ca is not None:
        try:
            context.load_verify_locations(settings.client_ca)
        except OSError as error:
            raise ValueError(f"client_ca {settings.client_ca}: {_why(error)}") from error
    elif settings.client_auth != "none":
        raise ValueError(f"client_auth: {settings.client_auth} needs client_ca")
    context.verify_mode = _VERIFY[settings.client_auth]
    return context


@dataclass(frozen=True, slots=True)
class Contexts:
    """All contexts of a configuration. The master makes them once for each generation and its workers inherit them:
    one that takes a dead worker's place serves what was examined, whatever has become of the files since.

    listeners: by plane. upstream: by the settings of the services that have them.
    """

    listeners: Mapping[Plane, ssl.SSLContext] = field(default_factory=dict)
    upstream: Mapping[UpstreamTls, ssl.SSLContext] = field(default_factory=dict)


def contexts(config: Config) -> Contexts:
    """Read the files that the configuration names. ValueError says which one is wrong."""
    listeners: dict[Plane, Listener | None] = {
        "external": config.listeners.external, "internal": config.listeners.internal,
    }  # fmt: skip
    try:
        upstream = {one.tls: tls_context(one.tls) for one in config.services.values() if one.tls is not None}
    except TlsFailed as error:
        raise ValueError(error.detail) from error
    return Contexts({plane: server_context(one.tls) for plane, one in listeners.items() if one and one.tls}, upstream)


def _why(error: OSError) -> str:
    return error.strerror or str(error)


class TlsConnection(Connection):
    """A connection whose bytes go through TLS. `sock` is the plain socket until the first bytes came."""

    __slots__ = ("_established",)

    def __init__(self, service: Service, sock: socket.socket, base: dict[str, Any], peer: str, now: float) -> None:
        super().__init__(service, sock, base, peer, now)
        self._established = False

    def serve(self) -> int:
        if not self._established:
            events = self._handshake()
            if events is not None:
                return events
            if not self._tls.pending() and not self.unread():
                return READABLE
        events = super().serve()
        if events == READABLE and self._tls.pending():
            return AGAIN  # decrypted already: the descriptor will not tell
        return events

    @property
    def _tls(self) -> ssl.SSLSocket:
        assert isinstance(self.sock, ssl.SSLSocket)  # noqa: S101
        return self.sock

    def _handshake(self) -> int | None:
        """The events that its next step waits for, DONE when it failed, None when it is complete."""
        try:
            if not isinstance(self.sock, ssl.SSLSocket):
                assert self.service.context is not None  # noqa: S101
                self.sock.setblocking(False)
                self.sock = self.service.context.wrap_socket(self.sock, server_side=True, do_handshake_on_connect=False)
                self.base["gunicorn.socket"] = self.sock
            self._tls.do_handshake()
        except ssl.SSLWantReadError:
            return READABLE
        except ssl.SSLWantWriteError:
            return WRITABLE
        except OSError:  # not TLS, no common version, no good certificate, or gone
            self.close()
            return DONE
        self.sock.settimeout(PARK)
        self._established = True
        return None

    def wait(self, other: int) -> bool:
        return bool(self._tls.pending()) or super().wait(other)

    def send_with_head(self, head: bytes, data: bytes) -> None:
        self.send(head + data)

    def send(self, data: bytes) -> None:
        self._send_rest(memoryview(data))

    def _send_some(self, rest: memoryview) -> int:
        return self.sock.send(rest[:_RECORD])

    def send_now(self, data: bytes) -> None:
        self.sock.settimeout(0)
        with contextlib.suppress(OSError):
            self.sock.send(data)

    def receive_now(self, size: int) -> bytes | None:
        if not self._established:
            return b""
        self.sock.settimeout(0)
        try:
            return self.sock.recv(size)
        except NOT_YET:
            return None
        except OSError:
            return b""
        finally:
            self.sock.settimeout(PARK)

    def expire(self) -> None:
        if self._established:
            super().expire()
        else:
            self.close()

    def linger(self) -> None:
        self._say_goodbye()
        super().linger()

    def end(self) -> None:
        self._say_goodbye()
        super().end()

    def _say_goodbye(self) -> None:
        """close_notify, so that the client can tell the end from a cut; its own is not waited for."""
        self.sock.settimeout(0)
        with contextlib.suppress(OSError, ValueError):
            self._tls.unwrap()
