"""A backend of raw sockets that a test scripts and then asks what arrived, byte for byte.

    with FakeBackend(behaviours.echo) as backend:
        ...  # send requests to backend.url
        assert backend.requests[0].target == "/a?b=c"

A behaviour is `behaviour(call)`: it is called when the first byte of a request is there, reads as much of the request
as it wants, sends what it wants, and may end the connection. When it returns with the connection open, the rest of the
request is read and the connection waits for the next one. `tests/support/behaviours.py` holds the ready-made ones.
"""

from __future__ import annotations

import contextlib
import socket
import ssl
import threading
from collections.abc import Callable, Iterator

from .call import Call, Ended, Received

Behaviour = Callable[[Call], object]


class FakeBackend:
    """A listening socket on a free loopback port and a thread for each connection; closing it ends all of them.

    requests: what arrived, in order of heads. connections: how many were accepted. greeting: a behaviour that is called
    when a connection was accepted, before anything was read.
    """

    def __init__(
        self,
        behaviour: Behaviour,
        *,
        name: str = "backend",
        greeting: Behaviour | None = None,
        tls: ssl.SSLContext | None = None,
        port: int = 0,
        host: str = "127.0.0.1",
    ) -> None:
        self.behaviour = behaviour
        self.name = name
        self.greeting = greeting
        self.tls = tls
        self.requests: list[Received] = []
        self.connections = 0
        self._closing = threading.Event()
        self._changed = threading.Condition()  # guards requests, connections, _sockets, _threads
        self._sockets: set[socket.socket] = set()
        self._threads: set[threading.Thread] = set()
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        self._listener = socket.create_server((host, port), backlog=512, family=family)
        self.host = host
        self.port: int = self._listener.getsockname()[1]
        self.address = f"[{host}]:{self.port}" if ":" in host else f"{host}:{self.port}"
        self.url = f"{'https' if tls else 'http'}://{self.address}"

    def __enter__(self) -> FakeBackend:
        self._start(self._accept)
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Refuse new connections, break off those there are, and wait for the threads."""
        self._closing.set()
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self.drop_connections()
        with self._changed:
            threads = list(self._threads)
        for thread in threads:
            thread.join(10)
            assert not thread.is_alive(), f"{thread.name} hangs"

    def drop_connections(self) -> None:
        """End every open connection with FIN, as a backend does whose keep-alive time is over."""
        with self._changed:
            for sock in self._sockets:
                with contextlib.suppress(OSError):
                    sock.shutdown(socket.SHUT_RDWR)

    @property
    def open_connections(self) -> int:
        with self._changed:
            return len(self._sockets)

    def wait_until(self, condition: Callable[[], object], timeout: float = 10.0) -> None:
        """Wait until `condition()` is true; it is asked whenever a request or connection comes or ends."""
        with self._changed:
            assert self._changed.wait_for(condition, timeout), f"not within {timeout} s; there is {self.requests}"

    def wait_for_requests(self, count: int, timeout: float = 10.0) -> list[Received]:
        """Wait until `count` requests came to their end, whole or broken off."""
        self.wait_until(lambda: sum(one.ended is not None for one in self.requests) >= count, timeout)
        return list(self.requests)

    # --- inside
    def _start(self, target: Callable[..., None], *args: object) -> None:
        thread = threading.Thread(target=target, args=args, name=f"{self.name}-{target.__name__}", daemon=True)
        with self._changed:
            self._threads.add(thread)
            thread.start()  # under the lock: whoever closes joins only what was started

    def _wake(self) -> None:
        with self._changed:
            self._changed.notify_all()

    def _note(self, request: Received) -> None:
        with self._changed:
            self.requests.append(request)
            self._changed.notify_all()

    def _accept(self) -> None:
        while not self._closing.is_set():
            try:
                sock, _ = self._listener.accept()
            except OSError:
                break
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            with self._changed:
                number = self.connections
                self.connections += 1
                self._sockets.add(sock)
                self._changed.notify_all()
            self._start(self._connection, sock, number)

    def _connection(self, plain: socket.socket, number: int) -> None:
        sock = plain
        try:
            if self.tls is not None:
                sock = self.tls.wrap_socket(plain, server_side=True, do_handshake_on_connect=False)
                with self._changed:
                    self._sockets.discard(plain)
                    self._sockets.add(sock)
                sock.do_handshake()
            self._serve(sock, number)
        except (OSError, Ended, ValueError):
            pass  # the client left, or sent what this backend cannot read: `ended` tells
        finally:
            sock.close()
            plain.close()
            with self._changed:
                self._sockets -= {plain, sock}
                self._threads.discard(threading.current_thread())
                self._changed.notify_all()

    def _serve(self, sock: socket.socket, connection: int) -> None:
        if self.greeting is not None:
            call = Call(self, sock, connection, 0, b"")
            self.greeting(call)
            if not call.open:
                return
        buffer = b""
        number = 0
        while not self._closing.is_set():
            if not buffer and not (buffer := sock.recv(262144)):
                return
            call = Call(self, sock, connection, number, buffer)
            try:
                self.behaviour(call)
                if not call.open:
                    return
                if not call.request().keeps_connection:
                    return
            finally:
                call.give_up()
            buffer = call.buffer
            number += 1


@contextlib.contextmanager
def refusing_address() -> Iterator[tuple[str, int]]:
    """An address that refuses connections while the block runs: bound, so that nobody else gets it, not listening."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        yield sock.getsockname()


@contextlib.contextmanager
def silent_address() -> Iterator[tuple[str, int]]:
    """An address whose connects neither succeed nor fail: a listener with a full backlog, so Linux drops the SYN."""
    with contextlib.ExitStack() as stack:
        listener = stack.enter_context(socket.socket())
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        for _ in range(4):
            sock = stack.enter_context(socket.socket())
            sock.setblocking(False)
            sock.connect_ex(listener.getsockname())
        yield listener.getsockname()
