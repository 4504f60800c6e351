"""Idle connections change hands on a reload: the old generation gives them, the new one goes on with them.

A client, and above all an nginx, keeps connections open between requests. Closed by the old workers, a request that is
on its way would be lost; kept by them, it would be answered by the old configuration. So the descriptor itself moves
(SCM_RIGHTS, unix(7)): the client notices nothing, and what it sends meanwhile waits in the kernel's buffer.

A request that was received and not begun moves with its connection. So nothing that arrives after the old workers were
told to go is answered by the old configuration, however long they were busy with an answer on that connection.

All workers of all generations inherit one pair of sockets: whoever leaves writes, whoever serves reads. A connection
that nobody has taken yet waits in the queue. A connection in TLS does not move: its keys are in the process.
"""

from __future__ import annotations

import array
import socket
from typing import Final, NamedTuple

_RECEIVED: Final = 256 * 1024  # bytes; more than a request's head and one read may have
_QUEUE: Final = 1024 * 1024  # bytes asked of the kernel for connections that wait; a giver with no room tries again
_SIZE: Final = array.array("i").itemsize


class Moved(NamedTuple):
    """A connection, the index of the listener that it came through, and what was received of its next request."""

    sock: socket.socket
    listener: int
    received: bytes


class Handover:
    """Made by the master before the first fork. Each call is one system call and safe in every process and thread."""

    def __init__(self) -> None:
        self._giving, self._taking = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET | socket.SOCK_NONBLOCK)
        self._giving.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _QUEUE)

    def fileno(self) -> int:
        """Readable while connections wait to be taken."""
        return self._taking.fileno()

    def give(self, connection: Moved) -> bool:
        """Give a connection away; False: not now.

        The giver closes its own descriptor then, and does not shut the connection down.
        """
        descriptor = array.array("i", [connection.sock.fileno()])
        data = bytes([connection.listener]) + connection.received
        try:
            self._giving.sendmsg([data], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, descriptor)])
        except OSError:  # no room, or too many descriptors on their way
            return False
        return True

    def take(self) -> Moved | None:
        """A connection that somebody gave; None when none waits.

        OSError: no descriptor is left for it; the connection is lost, as it is for accept(2).
        """
        try:
            data, ancillary, _, _ = self._taking.recvmsg(
                1 + _RECEIVED, socket.CMSG_SPACE(_SIZE), socket.MSG_CMSG_CLOEXEC
            )
        except BlockingIOError:
            return None
        descriptors = array.array("i")
        for level, kind, content in ancillary:
            if (level, kind) == (socket.SOL_SOCKET, socket.SCM_RIGHTS):
                descriptors.frombytes(content[: len(content) - len(content) % _SIZE])
        if not descriptors:
            raise OSError("a connection was handed over, and no descriptor is left for it")
        return Moved(socket.socket(fileno=descriptors[0]), data[0], data[1:])

    def close(self) -> None:
        self._giving.close()
        self._taking.close()
