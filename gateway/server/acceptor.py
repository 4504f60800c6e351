"""Accepting connections: from the listeners into the groups of threads."""

from __future__ import annotations

import errno
import select
import socket
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from gateway.exchange import Plane
from gateway.server.balance import Balance
from gateway.server.client import prepare
from gateway.server.connection import Connection
from gateway.server.groups import ThreadGroup
from gateway.server.tls import TlsConnection

_BATCH: Final = 16  # connections in a row from one listener
_PAUSE: Final = 0.1  # seconds without accepting when there are too many connections or descriptors
_GONE = frozenset((errno.EAGAIN, errno.ECONNABORTED, errno.EPROTO, errno.EINTR))
_EXHAUSTED = frozenset((errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM))


class Listener:
    """One listening socket: its group, and the part of the environ that all its requests have in common."""

    def __init__(self, listener: Any, group: ThreadGroup, environ: Mapping[str, Any]) -> None:
        self.socket = listener
        self.group = group
        self.local = isinstance(listener.getsockname(), (str, bytes))
        self._secure = group.service.context is not None
        name, port = ("localhost", 0) if self.local else listener.getsockname()[:2]
        self._base = {
            **environ,
            "wsgi.url_scheme": "https" if self._secure else "http",
            "SERVER_NAME": name,
            "SERVER_PORT": str(port),
            "SCRIPT_NAME": "",
            "gateway.plane": group.service.plane,
        }

    def take(self, sock: socket.socket, address: Any, now: float) -> None:
        """Hand an accepted connection to the group."""
        prepare(sock)
        peer, port = ("unix", "") if self.local else (_plain(address[0]), str(address[1]))
        base = {
            **self._base,
            "REMOTE_ADDR": "" if self.local else peer,
            "REMOTE_PORT": port,
            "gateway.peer": peer,
            "gunicorn.socket": sock,
        }
        kind = TlsConnection if self._secure else Connection
        self.group.add(kind(self.group.service, sock, base, peer, now))


def _plain(address: str) -> str:
    """An IPv4 client of a listener for both families, as it would be on one for IPv4."""
    return address[7:] if address.startswith("::ffff:") and "." in address else address


class Acceptor:
    """The listeners of a worker. Used by its main thread alone.

    count(): the worker's open connections. changed(): called when there is one more.
    """

    def __init__(
        self,
        listeners: Sequence[Listener],
        balance: Balance,
        *,
        most: int,
        count: Callable[[], int],
        changed: Callable[[], None],
        log: Any,
    ) -> None:
        self._listeners = {listener.socket.fileno(): listener for listener in listeners}
        self._balance = balance
        self._most = most
        self._count = count
        self._changed = changed
        self._log = log
        self._epoll: select.epoll | None = None
        self._paused_until: float | None = None

    def start(self, epoll: select.epoll) -> None:
        """Accept whatever `epoll` reports; its owner calls `ready` for our descriptors."""
        self._epoll = epoll
        for fd, listener in self._listeners.items():
            listener.socket.setblocking(False)
            epoll.register(fd, select.EPOLLIN)

    def stop(self) -> None:
        """Accept no more; what waits in the backlog is for the other workers."""
        if self._epoll is not None and self._paused_until is None:
            for fd in self._listeners:
                self._epoll.unregister(fd)
        self._epoll = self._paused_until = None

    def close(self, plane: Plane) -> None:
        """Listen no more: who comes is refused at once, instead of waiting for an accept that never comes."""
        for fd, listener in list(self._listeners.items()):
            if listener.group.service.plane == plane:
                if self._epoll is not None and self._paused_until is None:
                    self._epoll.unregister(fd)
                del self._listeners[fd]
                listener.socket.close()

    def resume(self, now: float) -> None:
        """End a pause that is over."""
        if self._epoll is not None and self._paused_until is not None and now >= self._paused_until:
            self._paused_until = None
            for fd in self._listeners:
                self._epoll.register(fd, select.EPOLLIN)

    def ready(self, fd: int, now: float) -> None:
        """Accept from a listener that has connections waiting."""
        listener = self._listeners[fd]
        for _ in range(_BATCH):
            mine = self._count()
            if mine >= self._most:
                self._pause(now, f"{mine} connections are open")
                return
            self._balance.give_precedence(mine)
            if not self._accept(listener, now):
                return

    def accept_waiting(self, now: float) -> None:
        """Accept what is in the backlog, which nobody else will: the last worker is leaving."""
        for listener in self._listeners.values():
            while self._count() < self._most and self._accept(listener, now):
                pass

    def _accept(self, listener: Listener, now: float) -> bool:
        """One connection; False when there is none, or none can be had."""
        try:
            sock, address = listener.socket.accept()
        except OSError as error:
            if error.errno in _EXHAUSTED:
                self._pause(now, str(error))
            elif error.errno not in _GONE:
                self._log.error("Cannot accept on %s: %s", listener.socket, error)
                self._pause(now, str(error))
            return False
        try:
            listener.take(sock, address, now)
        except OSError:  # the client has left
            sock.close()
        self._changed()
        return True

    def _pause(self, now: float, why: str) -> None:
        if self._epoll is None or self._paused_until is not None:
            return
        self._log.warning("Not accepting connections for %g s: %s", _PAUSE, why)
        for fd in self._listeners:
            self._epoll.unregister(fd)
        self._paused_until = now + _PAUSE
