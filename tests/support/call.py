"""One request in the hands of a `FakeBackend`: how it is read, recorded and answered, byte for byte."""

from __future__ import annotations

import contextlib
import hashlib
import socket
import struct
import time
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .backend import FakeBackend

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
        for _ in self.pieces():
            pass
        return self.head()

    def pieces(self) -> Iterator[bytes]:
        """The request's body as it comes, recorded as `request` does it; a chunk at once."""
        request = self.head()
        if request.ended is None:
            try:
                for data, raw in self._pieces(request):
                    request.add(data, raw)
                    if data:
                        yield data
                request.ended = "whole"
            except ConnectionError:
                request.ended = "reset"
                raise
            finally:
                request.ended = request.ended or "eof"
                self.backend._wake()

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
