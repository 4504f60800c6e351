"""A real gunicorn with the gateway's worker class and a test application, and a client that speaks in raw bytes."""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import socket
import ssl
import struct
import subprocess
import sys
import tempfile
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from tests.support.process import ROOT, PortReservation, eventually

CONFIGURATION = """
import json, mmap, os
from gateway.config.model import ListenerTls
from gateway.server import tls
from gateway.server.http1 import HeadLimits
from gateway.server.plan import WorkerPlan

given = json.loads(os.environ["TEST_WORKER"])
bind, workers = given["bind"], given["workers"]
worker_class = given["worker_class"]
timeout, graceful_timeout = 20, int(given["plan"].get("graceful_timeout", 4)) + 1
control_socket_disable, loglevel, threads = True, "info", 4
folder = given["folder"]
with open(f"{folder}/counts", "a+b") as shared:
    shared.truncate(4096)
    # 0: slots used; 1 + slot: its connections; 256 + slot: it makes way for another; 384 + slot: it has booted
    counts = memoryview(mmap.mmap(shared.fileno(), 4096)).cast("q")

def pre_fork(server, worker):
    worker.slot = counts[0]
    counts[0] += 1

def post_fork(server, worker):
    if not given["plan"]:
        return
    plan = dict(given["plan"])
    plan["head_limits"] = HeadLimits(**plan.get("head_limits", {}))
    plan["planes"] = dict(enumerate(given["planes"]))
    plan["tls"] = {plane: tls.server_context(ListenerTls(**files)) for plane, files in given["tls"].items()}
    def tell(connections):
        counts[1 + worker.slot] = connections
    worker.plan = WorkerPlan(
        **plan, slot=worker.slot, connections=tell,
        others=lambda: [counts[1 + slot] for slot in range(counts[0]) if slot != worker.slot and counts[384 + slot]],
        reloading=lambda: bool(counts[256 + worker.slot]) and not os.path.exists(f"{folder}/stopping"),
    )

def post_worker_init(worker):
    counts[384 + worker.slot] = 1

def child_exit(server, worker):
    counts[1 + worker.slot] = counts[384 + worker.slot] = 0

def on_reload(server):
    for slot in range(counts[0]):
        counts[256 + slot] = 1
"""

# Short enough for tests that wait for them, long enough for a busy machine.
PLAN: dict[str, Any] = {
    "threads": 6,
    "internal_threads": 3,
    "keepalive": 3.0,
    "graceful_timeout": 20.0,
    "reload_drain": 60.0,
    "request_head_timeout": 0.5,
    "client_idle": 1.0,
    "backlog_wait": 1.5,
    "head_limits": {"line": 1000, "count": 20, "size": 2000},
    "max_request_body": 100_000,
}


class WorkerProcess:
    """plan: laid over PLAN; None: the worker makes its own of gunicorn's settings. planes: one listener for each."""

    def __init__(
        self,
        plan: dict[str, Any] | None = None,
        *,
        alone: bool = False,
        app: str = "tests.support.worker_app:app",
        planes: tuple[str, ...] = ("external",),
        tls: dict[str, dict[str, str]] | None = None,
        workers: int = 1,
        unix: bool = False,
        worker_class: str = "gateway.server.worker.GatewayWorker",
        host: str = "127.0.0.1",
        arguments: tuple[str, ...] = (),
    ) -> None:
        self._temporary = tempfile.TemporaryDirectory(prefix="worker-test-")
        self.folder = Path(self._temporary.name)
        self._reservations = [] if unix else [PortReservation() for _ in planes]
        self.ports = [reservation.port for reservation in self._reservations]
        self.path = str(self.folder / "socket")
        self._unix = unix
        self._app = app
        self._arguments = arguments
        self._given = {
            "bind": [f"unix:{self.path}"] if unix else [f"{host}:{port}" for port in self.ports],
            "plan": {} if alone else {**PLAN, **(plan or {})},
            "planes": planes,
            "tls": tls or {},
            "workers": workers,
            "worker_class": worker_class,
            "folder": str(self.folder),
        }
        self._log = self.folder / "log"
        self.process: subprocess.Popen[bytes]

    def __enter__(self) -> Self:
        configuration = self.folder / "configuration.py"
        configuration.write_text(CONFIGURATION)
        with self._log.open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "gunicorn", "-c", str(configuration), *self._arguments, self._app],
                cwd=ROOT, env={**os.environ, "TEST_WORKER": json.dumps(self._given)}, stdin=subprocess.DEVNULL,
                stdout=log, stderr=log, start_new_session=True,
            )  # fmt: skip
        try:
            eventually(self._booted, 20, what="gunicorn has booted its workers")
        except AssertionError as error:
            log = self.log
            self._stop()
            raise AssertionError(f"{error}\n{log}") from None
        return self

    def _booted(self) -> bool:
        assert self.process.poll() is None, self.log
        return (self.folder / "counts").exists() and sum(self._cells[384:]) == self._given["workers"]

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if error is not None:
            print(f"--- log ---\n{self.log}", file=sys.stderr)
        self._stop()

    def _stop(self) -> None:
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGQUIT)
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.process.wait(5)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()
        for reservation in self._reservations:
            reservation.release()
        self._temporary.cleanup()

    def stopping(self) -> None:
        """From now on a worker that leaves does so for good, not for a reload."""
        (self.folder / "stopping").touch()

    @property
    def counts(self) -> list[int]:
        """The connections of each slot, as the workers told them."""
        return list(self._cells[1 : 1 + self._cells[0]])

    @property
    def _cells(self) -> tuple[int, ...]:
        shared = (self.folder / "counts").read_bytes()
        return struct.unpack("=512q", shared.ljust(4096, b"\0"))

    @property
    def log(self) -> str:
        return self._log.read_text(errors="replace")

    @property
    def pids(self) -> list[int]:
        """The workers."""
        text = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text()
        return [int(pid) for pid in text.split()]

    def signal(self, number: int) -> None:
        self.process.send_signal(number)

    def connect_raw(self, plane: int = 0) -> socket.socket:
        if self._unix:
            sock = socket.socket(socket.AF_UNIX)
            try:
                sock.connect(self.path)
            except OSError:
                sock.close()
                raise
            return sock
        return socket.create_connection(("127.0.0.1", self.ports[plane]), timeout=10)

    def connect(self, plane: int = 0, *, context: ssl.SSLContext | None = None) -> Wire:
        sock = self.connect_raw(plane)
        sock.settimeout(10)
        if context is not None:
            sock = context.wrap_socket(sock, server_hostname="localhost")
        return Wire(sock)

    def get(self, target: str, plane: int = 0) -> Heard:
        """One request on a connection of its own."""
        with self.connect(plane) as wire:
            return wire.get(target, "Connection: close")

    def events(self, kind: str, plane: int = 0) -> list[list[str]]:
        """What the application noted, of one kind."""
        return [event[1:] for event in self.get("/events", plane).json() if event[0] == kind]

    def rss(self) -> int:
        """Anonymous resident bytes of the first worker."""
        for line in Path(f"/proc/{self.pids[0]}/status").read_text().splitlines():
            if line.startswith("RssAnon:"):
                return int(line.split()[1]) * 1024
        raise AssertionError("no RssAnon")


class Heard:
    """An answer as it came. complete: it ended as its framing says; otherwise it broke off."""

    def __init__(self, start: str, headers: list[tuple[str, str]], body: bytes, complete: bool, chunks: int) -> None:
        self.start = start
        self.status = int(start.split(" ")[1])
        self.headers = headers
        self.body = body
        self.complete = complete
        self.chunks = chunks

    def values(self, name: str) -> list[str]:
        return [value for key, value in self.headers if key.lower() == name.lower()]

    def value(self, name: str) -> str | None:
        values = self.values(name)
        assert len(values) < 2, values
        return values[0] if values else None

    def json(self) -> Any:
        return json.loads(self.body)

    def __repr__(self) -> str:
        return f"Heard({self.start!r}, {self.headers}, {self.body[:100]!r}, complete={self.complete})"


class Wire:
    """A client's connection."""

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        self.buf = b""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.sock.close()

    def send(self, data: bytes | str) -> None:
        self.sock.sendall(data.encode("latin-1") if isinstance(data, str) else data)

    def get(self, target: str, *headers: str, method: str = "GET") -> Heard:
        self.send("\r\n".join([f"{method} {target} HTTP/1.1", "Host: h", *headers, "", ""]))
        return self.answer(head=method == "HEAD")

    def _more(self) -> bool:
        try:
            data = self.sock.recv(65536)
        except ConnectionResetError:
            return False
        self.buf += data
        return bool(data)

    def head(self) -> tuple[str, list[tuple[str, str]]]:
        while b"\r\n\r\n" not in self.buf:
            if not self._more():
                raise EOFError(f"no answer, only {self.buf!r}")
        head, _, self.buf = self.buf.partition(b"\r\n\r\n")
        start, *lines = head.decode("latin-1").split("\r\n")
        pairs = [line.partition(":") for line in lines]
        return start, [(name, value.strip()) for name, _, value in pairs]

    def answer(self, *, head: bool = False) -> Heard:
        """The next final answer. head: it answers a HEAD request."""
        start, headers = self.head()
        status = int(start.split(" ")[1])
        fields = {name.lower(): value for name, value in headers}
        if head or status in (204, 304) or status < 200:
            return Heard(start, headers, b"", True, 0)
        if "transfer-encoding" in fields:
            return self._chunked(start, headers)
        if "content-length" in fields:
            length = int(fields["content-length"])
            while len(self.buf) < length and self._more():
                pass
            body, self.buf = self.buf[:length], self.buf[length:]
            return Heard(start, headers, body, len(body) == length, 0)
        reset = self._until_end()
        body, self.buf = self.buf, b""
        return Heard(start, headers, body, not reset, 0)

    def _chunked(self, start: str, headers: list[tuple[str, str]]) -> Heard:
        body, chunks = b"", 0
        while True:
            while b"\r\n" not in self.buf:
                if not self._more():
                    return Heard(start, headers, body, False, chunks)
            line, _, self.buf = self.buf.partition(b"\r\n")
            size = int(line, 16)
            while len(self.buf) < size + 2:
                if not self._more():
                    return Heard(start, headers, body + self.buf, False, chunks)
            assert self.buf[size : size + 2] == b"\r\n"
            body, self.buf = body + self.buf[:size], self.buf[size + 2 :]
            if not size:
                return Heard(start, headers, body, True, chunks)
            chunks += 1

    def chunk(self) -> bytes:
        """The next chunk of an answer whose head was read; EOFError when it breaks off before."""
        while b"\r\n" not in self.buf:
            if not self._more():
                raise EOFError
        line, _, self.buf = self.buf.partition(b"\r\n")
        size = int(line, 16)
        while len(self.buf) < size + 2:
            if not self._more():
                raise EOFError
        data, self.buf = self.buf[:size], self.buf[size + 2 :]
        return data

    def _until_end(self) -> bool:
        """Read to the end: whether it was a reset."""
        while True:
            try:
                data = self.sock.recv(65536)
            except ConnectionResetError:
                return True
            if not data:
                return False
            self.buf += data

    def ended(self) -> str:
        """How the server ends the connection, which it does without another byte: "closed" or "reset"."""
        reset = self._until_end()
        assert not self.buf, self.buf
        return "reset" if reset else "closed"

    def silent(self, seconds: float) -> bool:
        """Nothing comes, not even an end, for that long."""
        return not self.buf and not select.select([self.sock], [], [], seconds)[0]
