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
import hashlib
import socket
import ssl
import struct
import threading
import time
from collections.abc import Callable, Iterable, Iterator

KEEP = 4 * 1024 * 1024  # bytes of a body that are kept; of the rest only length and digest


class Received:
    """One request as it arrived. `body` is without chunk framing, `raw_body` with it.

    complete: the body ended as its framing says. ended: None while it is being read, then "whole", "eof", "reset", or
    "unread" when the behaviour ended the connection without reading the rest.
    connection, number: the how-manieth connection of the backend, the how-manieth request on it; both from 0.
    """

    def __init__(self, connection: int, number: int, head: bytes) -> None:
        self.connection = connection
        self.number = number
        self.head = head
        lines = head.decode("latin-1").split("\r\n")[:-2]
        self.request_line = lines[0]
        self.method, self.target, self.version = [*lines[0].split(" "), "", "", ""][:3]
        self.headers = [(name, value.strip(" \t")) for name, _, value in (line.partition(":") for line in lines[1:])]
        self.trailers: list[str] = []
        self.body = b""
        self.raw_body = b""
        self.length = 0
        self.ended: str | None = None
        self.at = time.monotonic()
        self._digest = hashlib.sha256()

    @property
    def complete(self) -> bool:
        return self.ended == "whole"

    @property
    def path(self) -> str:
        return self.target.partition("?")[0]

    @property
    def sha256(self) -> str:
        return self._digest.hexdigest()

    @property
    def keeps_connection(self) -> bool:
        options = ",".join(self.values("Connection")).lower()
        return "close" not in options and (self.version == "HTTP/1.1" or "keep-alive" in options)

    def values(self, name: str) -> list[str]:
        """Every value of a header field, in order; the name's case does not matter, other spellings do."""
        return [value for key, value in self.headers if key.lower() == name.lower()]

    def value(self, name: str) -> str | None:
        """The one value of a header field; None when it did not come, an AssertionError when it came twice."""
        values = self.values(name)
        assert len(values) < 2, f"{name} came {len(values)} times"
        return values[0] if values else None

    def add(self, data: bytes, raw: bytes) -> None:
        self.length += len(data)
        self._digest.update(data)
        if len(self.raw_body) < KEEP:
            self.body += data
            self.raw_body += raw

    def __repr__(self) -> str:
        return f"Received({self.request_line!r}, {self.length} bytes, {self.ended}, connection={self.connection})"


class Ended(Exception):
    """The client ended the connection, or the backend is closing: a behaviour lets it pass."""


class Call:
    """One request in the hands of a behaviour."""

    def __init__(self, backend: FakeBackend, sock: socket.socket, connection: int, number: int, buffer: bytes) -> None:
        self.backend = backend
        self.sock = sock
        self.connection = connection
        self.number = number
        self.buffer = buffer
        self.open = True
        self._request: Received | None = None

    # --- reading
    def head(self) -> Received:
        """The request as far as its head tells, read if it was not yet."""
        if self._request is None:
            while b"\r\n\r\n" not in self.buffer:
                self._fill()
            head, _, self.buffer = self.buffer.partition(b"\r\n\r\n")
            self._request = Received(self.connection, self.number, head + b"\r\n\r\n")
            self.backend._note(self._request)
            if "100-continue" in (self._request.value("Expect") or ""):
                self.send(b"HTTP/1.1 100 Continue\r\n\r\n")
        return self._request

    def request(self) -> Received:
        """The whole request, body included."""
        request = self.head()
        if request.ended is None:
            try:
                for data, raw in self._pieces(request):
                    request.add(data, raw)
                request.ended = "whole"
            except ConnectionError:
                request.ended = "reset"
                raise
            finally:
                request.ended = request.ended or "eof"
                self.backend._wake()
        return request

    def some(self, count: int) -> Received:
        """The head and at least `count` bytes behind it, as they are on the wire and left unparsed."""
        request = self.head()
        while len(self.buffer) < count:
            self._fill()
        return request

    def _pieces(self, request: Received) -> Iterator[tuple[bytes, bytes]]:
        if request.values("Transfer-Encoding") == ["chunked"]:
            while True:
                line = self._line()
                size = int(line.split(b";")[0], 16)
                if size == 0:
                    break
                data = self._exactly(size)
                yield data, line + b"\r\n" + data + self._exactly(2)
            while (trailer := self._line()) != b"":
                request.trailers.append(trailer.decode("latin-1"))
            yield b"", b"0\r\n\r\n"
        else:
            left = int(request.value("Content-Length") or 0)
            while left:
                if not self.buffer:
                    self._fill()
                data, self.buffer = self.buffer[:left], self.buffer[left:]
                left -= len(data)
                yield data, data

    def _fill(self) -> None:
        data = self.sock.recv(262144)
        if not data:
            raise Ended
        self.buffer += data

    def _line(self) -> bytes:
        while b"\r\n" not in self.buffer:
            self._fill()
        line, _, self.buffer = self.buffer.partition(b"\r\n")
        return line

    def _exactly(self, count: int) -> bytes:
        while len(self.buffer) < count:
            self._fill()
        data, self.buffer = self.buffer[:count], self.buffer[count:]
        return data

    def give_up(self) -> None:
        """Note that nobody reads the rest of the request, if it was not read."""
        if self._request is not None and self._request.ended is None:
            self._request.ended = "unread"
            self.backend._wake()

    # --- answering
    def send(self, data: bytes) -> None:
        self.sock.sendall(data)

    def answer(self, status: int, headers: Iterable[tuple[str, str]] = (), body: bytes = b"") -> None:
        """A whole answer with Content-Length, without a body where HTTP allows none."""
        bare = self.head().method == "HEAD" or status in (204, 304)
        lines = [f"HTTP/1.1 {status} Scripted", *(f"{name}: {value}" for name, value in headers)]
        if status != 204:
            lines.append(f"Content-Length: {len(body)}")
        self.send(("\r\n".join(lines) + "\r\n\r\n").encode("latin-1") + (b"" if bare else body))

    def close(self) -> None:
        """End with FIN. What the client sends afterwards is answered with RST, which may overtake the answer."""
        self.open = False
        with contextlib.suppress(OSError):
            self.sock.shutdown(socket.SHUT_RDWR)

    def linger(self) -> None:
        """End with FIN, then read on while the client sends, as a careful server does after an early answer."""
        with contextlib.suppress(OSError):
            self.sock.shutdown(socket.SHUT_WR)
        self.until_ended()

    def reset(self) -> None:
        """End with RST."""
        self.open = False
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.sock.close()

    def pause(self, seconds: float) -> None:
        """Do nothing for so long; Ended when the backend is closed meanwhile."""
        if self.backend._closing.wait(seconds):
            raise Ended

    def until_ended(self, timeout: float = 30.0) -> bool:
        """Wait until the client ended the connection; False when it did not within `timeout` seconds."""
        self.sock.settimeout(timeout)
        try:
            while self.sock.recv(65536):
                pass
        except TimeoutError:
            return False
        except OSError:
            pass
        self.open = False
        return True


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
        for thread in list(self._threads):
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
        thread.start()

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
