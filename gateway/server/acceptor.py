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
from gateway.server.handover import Handover
from gateway.server.tls import TlsConnection

_BATCH: Final = 16  # connections in a row from one listener
_PAUSE: Final = 0.1  # seconds without accepting when there are too many connections or descriptors
_GONE = frozenset((errno.EAGAIN, errno.ECONNABORTED, errno.EPROTO, errno.EINTR))
_EXHAUSTED = frozenset((errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM))


class Listener:
    """One listening socket: its group, and the part of the environ that all its requests have in common.

    index: its place among the listening sockets, the same in every worker.
    """

    def __init__(self, listener: Any, group: ThreadGroup, environ: Mapping[str, Any], index: int = 0) -> None:
        self.socket = listener
        self.index = index
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

    def take(self, sock: socket.socket, address: Any, now: float, *, received: bytes | None = None) -> None:
        """Give an accepted connection to the group. received: of a request, on one that comes from another worker."""
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
        connection = kind(self.group.service, sock, base, peer, now)
        connection.listener = self.index
        if received is not None:
            connection.moved(received, now)
        self.group.add(connection)


def _plain(address: str) -> str:
    """An IPv4 client of a listener for both families, as it would be on one for IPv4."""
    return address[7:] if address.startswith("::ffff:") and "." in address else address


class Acceptor:
    """The listeners of a worker. Used by its main thread alone.

    count(): the worker's open connections. changed(): called when there is one more. handover: where connections of
    the generation before come from.
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
        handover: Handover | None = None,
    ) -> None:
        self._handover = handover
        self._by_index = {listener.index: listener for listener in listeners}
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
        for listener in self._listeners.values():
            listener.socket.setblocking(False)
        self._watch(epoll)

    def _watch(self, epoll: select.epoll) -> None:
        for fd in self._sources():
            epoll.register(fd, select.EPOLLIN)

    def _sources(self) -> list[int]:
        return [*self._listeners, *([] if self._handover is None else [self._handover.fileno()])]

    def stop(self) -> None:
        """Accept no more; what waits in the backlog is for the other workers."""
        if self._epoll is not None and self._paused_until is None:
            for fd in self._sources():
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
            self._watch(self._epoll)

    def ready(self, fd: int, now: float) -> None:
        """Accept from a listener, or from the handover, that has connections waiting."""
        listener = self._listeners.get(fd)
        for _ in range(_BATCH):
            mine = self._count()
            if mine >= self._most:
                self._pause(now, f"{mine} connections are open")
                return
            self._balance.give_precedence(mine)
            if not (self._take_over(now) if listener is None else self._accept(listener, now)):
                return

    def accept_waiting(self, now: float) -> None:
        """Accept what is in the backlog, which nobody else will: the last worker is leaving."""
        while self._take_over(now):
            pass
        for listener in self._listeners.values():
            while self._count() < self._most and self._accept(listener, now):
                pass

    def _take_over(self, now: float) -> bool:
        """One connection of the generation before; False when none waits."""
        if self._handover is None:
            return False
        try:
            moved = self._handover.take()
        except OSError as error:
            self._log.error("Cannot take a connection over: %s", error)
            return True
        if moved is None:
            return False
        sock = moved.sock
        listener = self._by_index.get(moved.listener)
        try:
            if listener is None:
                sock.close()
            else:
                listener.take(sock, sock.getpeername(), now, received=moved.received)
        except OSError:  # the client has left
            sock.close()
        self._changed()
        return True

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
        for fd in self._sources():
            self._epoll.unregister(fd)
        self._paused_until = now + _PAUSE
