"""One large body up or down, in constant memory, in a thread of its own."""

from __future__ import annotations

import socket
import threading
import time
import zlib
from typing import Self

from tests.support.scenario_backend import pattern, pattern_crc, told


class _Transfer:
    """Begun when it is made; `result` waits for its end. `moved`: bytes so far."""

    def __init__(self, port: int, timeout: float) -> None:
        self.moved = 0
        self.seconds = 0.0
        self._error: BaseException | None = None
        self._sock = socket.create_connection(("127.0.0.1", port), timeout=timeout)
        self._thread = threading.Thread(target=self._guarded, daemon=True)
        self._thread.start()

    def _guarded(self) -> None:
        began = time.monotonic()
        try:
            with self._sock:
                self._run()
        except BaseException as error:
            self._error = error
        self.seconds = time.monotonic() - began

    def _run(self) -> None:
        raise NotImplementedError

    def result(self, timeout: float = 300.0) -> Self:
        """Itself, when it went well; the AssertionError or OSError that it ended with."""
        self._thread.join(timeout)
        assert not self._thread.is_alive(), f"not over within {timeout} s, {self.moved:,} bytes moved"
        if self._error is not None:
            raise self._error
        return self

    @property
    def running(self) -> bool:
        return self._thread.is_alive()

    def _head(self) -> bytes:
        """The answer's head; what came behind it is left in `_rest`."""
        buffer = b""
        while b"\r\n\r\n" not in buffer:
            data = self._sock.recv(65536)
            assert data, f"the connection ended after {buffer!r}"
            buffer += data
        head, _, self._rest = buffer.partition(b"\r\n\r\n")
        return head


class Download(_Transfer):
    """`size` bytes of the backend's pattern, at once or spread over `seconds`; length and CRC-32 are checked."""

    def __init__(self, port: int, path: str, size: int, *, seconds: float = 0.0, timeout: float = 30.0) -> None:
        self._size = size
        self._target = f"{path}?size={size}&seconds={seconds:g}"
        super().__init__(port, timeout)

    def _run(self) -> None:
        self._sock.sendall(f"GET {self._target} HTTP/1.1\r\nHost: gateway.test\r\n\r\n".encode())
        head = self._head()
        assert head.startswith(b"HTTP/1.1 200 "), head
        assert f"content-length: {self._size}".encode() in head.lower(), head
        crc, data = 0, memoryview(self._rest)
        buffer = memoryview(bytearray(256 * 1024))
        while True:
            crc = zlib.crc32(data, crc)
            self.moved += len(data)
            if self.moved >= self._size:
                break
            received = self._sock.recv_into(buffer)
            assert received, f"broken off after {self.moved:,} of {self._size:,} bytes"
            data = buffer[:received]
        assert (self.moved, crc) == (self._size, pattern_crc(self._size))


class Upload(_Transfer):
    """`size` bytes of the pattern; the backend's word for what arrived is checked."""

    def __init__(self, port: int, path: str, size: int, *, timeout: float = 30.0) -> None:
        self._size = size
        self._path = path
        super().__init__(port, timeout)

    def _run(self) -> None:
        self._sock.sendall(
            f"POST {self._path} HTTP/1.1\r\nHost: gateway.test\r\nContent-Length: {self._size}\r\n\r\n".encode()
        )
        for piece in pattern(self._size):
            self._sock.sendall(piece)
            self.moved += len(piece)
        head = self._head()
        assert head.startswith(b"HTTP/1.1 200 "), head
        expected = told("POST", self._path, length=self._size, crc=pattern_crc(self._size))
        while len(self._rest) < len(expected) and (data := self._sock.recv(65536)):
            self._rest += data
        assert self._rest == expected
