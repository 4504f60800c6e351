"""A backend in a process of its own for load: every answer tells what arrived, so that the client can check it.

    with BackendProcess("a") as backend:
        ...  # requests to backend.url
        backend.received  # how many, by the peer's port

An answer is 200 and the text of `told`: method, target, length and CRC-32 of the body, with `X-Instance: a`. The query
asks for another: status=503 · sleep=SECONDS before it · size=BYTES of `pattern` as the body, evenly over
seconds=SECONDS · dribble=SECONDS between two bytes of the head · chunked=1 for the framing of a sized body.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import socket
import subprocess
import sys
import threading
import time
import zlib
from collections import Counter
from collections.abc import Iterator
from types import TracebackType
from typing import Self
from urllib.parse import parse_qs

from tests.support.process import ROOT
from tests.support.wire import eventually, request

COUNTS = "/-/counts"
_BLOCK = random.Random(2).randbytes(256 * 1024)
_STEP = 0.05  # seconds between two pieces of a body that is spread over time


def told(method: str, target: str, body: bytes = b"", *, length: int | None = None, crc: int | None = None) -> bytes:
    """What an answer says about a request."""
    size = len(body) if length is None else length
    return f"{method} {target} {size} {zlib.crc32(body) if crc is None else crc:08x}\n".encode()


def pattern(size: int) -> Iterator[memoryview]:
    """`size` bytes that do not compress, in pieces."""
    block = memoryview(_BLOCK)
    for start in range(0, size, len(block)):
        yield block[: size - start]


def pattern_crc(size: int) -> int:
    crc = 0
    for piece in pattern(size):
        crc = zlib.crc32(piece, crc)
    return crc


class BackendProcess:
    """Started by `with`; it ends with the block, or with this process."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.port = 0
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        command = [sys.executable, "-m", "tests.support.scenario_backend", "--name", self.name]
        self._process = subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        assert self._process.stdout is not None
        self.port = int(self._process.stdout.readline())
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if self._process is not None:
            self._process.kill()
            with self._process:  # closes its pipes and waits
                pass

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def received(self) -> Counter[int]:
        """Requests whose head arrived, by the port that they came from."""
        counts = request(self.port, "GET", COUNTS).json()
        return Counter({int(port): count for port, count in counts.items()})

    @property
    def total(self) -> int:
        return self.received.total()

    def wait_for(self, count: int, timeout: float = 10.0) -> None:
        eventually(lambda: self.total >= count, timeout, what=f"{count} requests at {self.name}")


# --- the process ---
class _Server:
    """A thread for each connection. `_counts` needs no lock: each connection has its own key."""

    def __init__(self, name: str) -> None:
        self._instance = f"X-Instance: {name}\r\n".encode()
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=1024)
        self._counts: dict[int, int] = {}
        self.port: int = self._listener.getsockname()[1]

    def run(self) -> None:
        while True:
            sock, (_, port) = self._listener.accept()
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            threading.Thread(target=self._connection, args=(sock, port), daemon=True).start()

    def _connection(self, sock: socket.socket, port: int) -> None:
        buffer = b""
        with sock:
            try:
                while True:
                    while (end := buffer.find(b"\r\n\r\n")) < 0:
                        data = sock.recv(65536)
                        if not data:
                            return
                        buffer += data
                    buffer = self._answer(sock, port, buffer[:end].decode("latin-1"), buffer[end + 4 :])
            except OSError:
                return  # the client left

    def _answer(self, sock: socket.socket, port: int, head: str, buffer: bytes) -> bytes:
        """Read the body, answer; what came behind the request."""
        start, *lines = head.split("\r\n")
        method, target, _ = start.split(" ")
        if target == COUNTS:
            body = json.dumps(dict(self._counts)).encode()  # a copy: other threads add to it
            sock.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body))
            return buffer
        self._counts[port] = self._counts.get(port, 0) + 1
        length, crc = 0, 0
        for data in _body(sock, lines, buffer):
            if isinstance(data, Rest):
                buffer = bytes(data)
                break
            length += len(data)
            crc = zlib.crc32(data, crc)
        body = told(method, target, length=length, crc=crc)
        status = 200
        query = target.partition("?")[2]
        if query:
            asked = {key: values[0] for key, values in parse_qs(query).items()}
            time.sleep(float(asked.get("sleep", 0)))
            if "size" in asked:
                self._stream(sock, int(asked["size"]), float(asked.get("seconds", 0)), "chunked" in asked)
                return buffer
            status = int(asked.get("status", 200))
            if "dribble" in asked:
                for byte in b"HTTP/1.1 200 Dribbled\r\nX-Long: %b\r\n\r\n" % (b"x" * 500):
                    sock.sendall(bytes([byte]))
                    time.sleep(float(asked["dribble"]))
        sock.sendall(b"HTTP/1.1 %d Told\r\n%bContent-Length: %d\r\n\r\n%b" % (status, self._instance, len(body), body))
        return buffer

    def _stream(self, sock: socket.socket, size: int, seconds: float, chunked: bool) -> None:
        framing = b"Transfer-Encoding: chunked" if chunked else b"Content-Length: %d" % size
        sock.sendall(b"HTTP/1.1 200 Streamed\r\n%b%b\r\n\r\n" % (self._instance, framing))
        began, sent = time.monotonic(), 0
        for block in pattern(size):
            for piece in _split(block, int(size / seconds * _STEP) + 1 if seconds else len(block)):
                sent += len(piece)
                sock.sendall(b"%x\r\n%b\r\n" % (len(piece), piece) if chunked else piece)
                time.sleep(max(0.0, began + seconds * sent / size - time.monotonic()))
        if chunked:
            sock.sendall(b"0\r\n\r\n")


class Rest(bytes):
    """What came behind the body."""


def _split(block: memoryview, size: int) -> Iterator[memoryview]:
    for start in range(0, len(block), size):
        yield block[start : start + size]


def _body(sock: socket.socket, lines: list[str], buffer: bytes) -> Iterator[bytes]:
    """The pieces of a request's body, then the Rest. ConnectionError when it is broken off."""
    length = 0
    for line in lines:
        name, _, value = line.partition(":")
        if name.lower() == "content-length":
            length = int(value)
        elif name.lower() == "transfer-encoding":
            length = -1

    def more() -> bytes:
        data = sock.recv(262144)
        if not data:
            raise ConnectionError
        return data

    while length > 0:
        buffer = buffer or more()
        piece, buffer = buffer[:length], buffer[length:]
        length -= len(piece)
        yield piece
    while length < 0:
        while b"\r\n" not in buffer:
            buffer += more()
        line, _, buffer = buffer.partition(b"\r\n")
        size = int(line, 16)
        while len(buffer) < size + 2:
            buffer += more()
        if not size:
            buffer = buffer[2:]
            break
        yield buffer[:size]
        buffer = buffer[size + 2 :]
    yield Rest(buffer)


def _end_with_stdin() -> None:
    while os.read(0, 4096):
        pass
    os._exit(0)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--name", required=True)
    server = _Server(parser.parse_args().name)
    threading.Thread(target=_end_with_stdin, daemon=True).start()
    print(server.port, flush=True)
    server.run()


if __name__ == "__main__":
    main()
