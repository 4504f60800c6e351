"""HTTP load from processes of its own, every answer checked, every request on record.

    with Load(port, [Call("get", "/echo/x")], connections=32) as load:
        ...
    report = load.report
    assert not report.failures

A closed loop: each connection sends one call after the other, in turn, the next when the answer to the last is whole;
with `rate` no sooner than that allows. Nothing is ever sent twice. A call has failed when its answer is another than
expected, is broken off, or does not come within `timeout`, and also when the connection ends under it without the
server having announced that in the answer before: a client could not know better. What ends between two calls of a
paced connection is no failure.
"""

from __future__ import annotations

import heapq
import os
import pickle
import select
import socket
import subprocess
import sys
import threading
import time
from collections import Counter, deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import IO, Any, NamedTuple, Self

from tests.support.process import ROOT
from tests.support.scenario_backend import told

_LOOK = 0.05  # seconds between two looks at the timeouts


@dataclass(frozen=True, slots=True)
class Call:
    """A request and its answer. name: for the report. answer: the whole body; None: what a ScenarioBackend tells of
    the request; b"*": any."""

    name: str
    target: str
    method: str = "GET"
    body: bytes = b""
    headers: tuple[str, ...] = ()
    status: int = 200
    answer: bytes | None = None

    def request(self, *, keep: bool) -> bytes:
        lines = [f"{self.method} {self.target} HTTP/1.1", "Host: gateway.test", *self.headers]
        if self.body or self.method in ("POST", "PUT", "PATCH"):
            lines.append(f"Content-Length: {len(self.body)}")
        if not keep:
            lines.append("Connection: close")
        return "\r\n".join([*lines, "", ""]).encode() + self.body

    def expected(self) -> bytes:
        return told(self.method, self.target, self.body) if self.answer is None else self.answer


class Record(NamedTuple):
    """began: monotonic seconds, when the call was due. latency: until its answer was whole, or until it failed.
    status: 0 when none came. error: None when all was as expected. port: the client's own, of the connection."""

    name: str
    began: float
    latency: float
    status: int
    error: str | None
    port: int

    @property
    def ended(self) -> float:
        return self.began + self.latency


class Report:
    """What became of all calls."""

    def __init__(self, records: Iterable[Record], connections: int) -> None:
        self.records = sorted(records, key=lambda record: record.began)
        self.connections = connections  # how many were opened
        self.failures = [record for record in self.records if record.error is not None]
        self._latencies = sorted(record.latency for record in self.records if record.error is None)

    @property
    def seconds(self) -> float:
        return max(record.ended for record in self.records) - self.records[0].began if self.records else 0.0

    @property
    def rate(self) -> float:
        """Calls a second."""
        return len(self.records) / self.seconds if self.seconds else 0.0

    @property
    def errors(self) -> Counter[str]:
        return Counter(f"{record.name}: {record.error}" for record in self.failures)

    def latency(self, share: float) -> float:
        """The seconds within which this share of the good calls was answered; 1.0 for the slowest."""
        if not self._latencies:
            return float("nan")
        return self._latencies[min(int(len(self._latencies) * share), len(self._latencies) - 1)]

    def only(self, name: str) -> Report:
        return Report([record for record in self.records if record.name == name], 0)

    def __str__(self) -> str:
        return (
            f"{len(self.records):,} requests ({self.rate:,.0f}/s), {len(self.failures)} failed, "
            f"p50 {self.latency(0.5) * 1000:.1f} ms, p99 {self.latency(0.99) * 1000:.1f} ms, "
            f"max {self.latency(1.0) * 1000:.0f} ms"
        )


class Load:
    """See the module's text. `with` starts and stops it; `report` is there afterwards.

    connections: spread over `processes`. rate: calls a second of all connections, None for as many as go. keep: reuse
    connections. limit: seconds after which it ends by itself.
    """

    def __init__(
        self,
        port: int,
        calls: Sequence[Call],
        *,
        connections: int = 32,
        rate: float | None = None,
        keep: bool = True,
        timeout: float = 10.0,
        limit: float = 300.0,
        processes: int = 1,
    ) -> None:
        self._jobs = [
            _Job(
                port, tuple(calls), connections // processes + (number < connections % processes),
                None if rate is None else rate / processes, keep, timeout, limit,
            )
            for number in range(processes)
        ]  # fmt: skip
        self._children: list[subprocess.Popen[bytes]] = []
        self._report: Report | None = None

    def start(self) -> Self:
        for job in self._jobs:
            command = [sys.executable, "-c", "from tests.support import load; load.main()"]
            child = subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
            self._children.append(child)
            _send(child.stdin, job)
        for child in self._children:
            assert child.stdout is not None
            assert pickle.load(child.stdout) == "started"
        return self

    def add(self, *calls: Call) -> None:
        """Send these, too, from now on."""
        for child in self._children:
            _send(child.stdin, calls)

    def stop(self) -> Report:
        """Let every call come to its end, begin no other; the report."""
        if self._report is None:
            records: list[Record] = []
            opened = 0
            for child in self._children:
                _send(child.stdin, None)
            for child in self._children:
                assert child.stdout is not None
                found, count = pickle.load(child.stdout)
                records += found
                opened += count
            self.kill()
            self._report = Report(records, opened)
        return self._report

    @property
    def report(self) -> Report:
        assert self._report is not None, "it is still running"
        return self._report

    def kill(self) -> None:
        for child in self._children:
            child.kill()
            with child:  # closes its pipes and waits
                pass
        self._children.clear()

    def __enter__(self) -> Self:
        try:
            return self.start()
        except BaseException:
            self.kill()
            raise

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if error is None:
            self.stop()
        self.kill()


def run(port: int, calls: Sequence[Call], seconds: float, **options: Any) -> Report:
    """A load for so long."""
    with Load(port, calls, **options) as load:
        time.sleep(seconds)
    return load.report


# --- the process ---
@dataclass(frozen=True, slots=True)
class _Job:
    port: int
    calls: tuple[Call, ...]
    connections: int
    rate: float | None
    keep: bool
    timeout: float
    limit: float


def _send(pipe: IO[bytes] | None, value: object) -> None:
    assert pipe is not None
    pickle.dump(value, pipe)
    pipe.flush()


class _Broken(Exception):
    """The connection ended before the answer did; the text tells how."""


class _Line:
    """One connection slot: a call at a time, over one socket after another."""

    __slots__ = ("began", "buffer", "call", "decoded", "due", "left", "need", "sock", "status", "unsent")

    def __init__(self, due: float) -> None:
        self.due = due  # when the next call may begin
        self.call: _Ready | None = None
        self.sock: socket.socket | None = None
        self.began = 0.0
        self.unsent: bytes | memoryview = b""
        self._expect()

    def _expect(self) -> None:
        self.buffer = b""
        self.status = 0
        self.need = -1  # bytes of the whole answer, -1: its head is not whole, -2: chunked

    def begin(self, call: _Ready, now: float) -> None:
        self.call, self.began, self.unsent = call, now, call.request
        self._expect()

    def answered(self, data: bytes) -> bytes | None:
        """Take what came; the head and the body once both are whole. ValueError: it is none to understand."""
        self.buffer += data
        if self.need == -1:
            end = self.buffer.find(b"\r\n\r\n")
            if end < 0:
                return None
            head = self.buffer[:end].lower()
            self.status = int(head[9:12])
            at = head.find(b"\r\ncontent-length:")
            if at >= 0:
                self.need = end + 4 + int(head[at + 17 :].partition(b"\r")[0])
            elif b"\r\ntransfer-encoding: chunked" in head:
                self.need = -2
            else:
                raise ValueError("an answer without framing")
        if self.need == -2:
            return self._chunked()
        if len(self.buffer) < self.need:
            return None
        if len(self.buffer) > self.need:
            raise ValueError("more than the answer came")
        return self.buffer.partition(b"\r\n\r\n")[2]

    def _chunked(self) -> bytes | None:
        at = self.buffer.index(b"\r\n\r\n") + 4
        body = b""
        while (end := self.buffer.find(b"\r\n", at)) >= 0:
            size = int(self.buffer[at:end], 16)
            if len(self.buffer) < end + 2 + size + 2:
                return None
            body += self.buffer[end + 2 : end + 2 + size]
            at = end + 2 + size + 2
            if not size:
                return body
        return None

    @property
    def closing(self) -> bool:
        """The server says that it ends the connection."""
        return b"\r\nconnection: close" in self.buffer.partition(b"\r\n\r\n")[0].lower()


class _Ready(NamedTuple):
    name: str
    request: bytes
    status: int
    answer: bytes


class _Generator:
    """One thread, one epoll, all connections of a job."""

    def __init__(self, job: _Job) -> None:
        self._job = job
        self._address = ("127.0.0.1", job.port)
        self._calls: list[_Ready] = []
        self._turn = 0
        self._epoll = select.epoll()
        self._by_fd: dict[int, _Line] = {}
        self._pause = 0.0 if job.rate is None else job.connections / job.rate
        self._stopping = False
        self.commands: deque[Sequence[Call] | None] = deque()  # calls to add, None: stop; another thread appends
        self.records: list[Record] = []
        self.opened = 0
        self._add(job.calls)

    def _add(self, calls: Iterable[Call]) -> None:
        self._calls += [
            _Ready(call.name, call.request(keep=self._job.keep), call.status, call.expected()) for call in calls
        ]

    def run(self) -> None:
        now = time.monotonic()
        lines = [_Line(now + self._pause * number / self._job.connections) for number in range(self._job.connections)]
        self._waiting = [(line.due, number, line) for number, line in enumerate(lines)]
        heapq.heapify(self._waiting)
        self._number = len(lines)
        until, look = now + self._job.limit, now
        while not self._stopping or any(line.call for line in lines):
            now = time.monotonic()
            while self._waiting and self._waiting[0][0] <= now and not self._stopping:
                self._begin(heapq.heappop(self._waiting)[2], now)
            if now >= look:
                look = now + _LOOK
                self._look(lines, now)
                self._stopping = self._stopping or now >= until
            wait = look - now
            if self._waiting and not self._stopping:
                wait = min(wait, max(0.0, self._waiting[0][0] - now))
            for fd, events in self._epoll.poll(wait, 256):
                line = self._by_fd.get(fd)
                if line is not None:
                    self._ready(line, events)
        for line in lines:
            self._close(line)

    def _look(self, lines: list[_Line], now: float) -> None:
        while self.commands:
            command = self.commands.popleft()
            if command is None:
                self._stopping = True
            else:
                self._add(command)
        for line in lines:
            if line.call and now - line.began > self._job.timeout:
                self._end(line, f"no answer within {self._job.timeout:g} s")

    def _begin(self, line: _Line, now: float) -> None:
        call = self._calls[self._turn % len(self._calls)]
        self._turn += 1
        line.begin(call, line.due if self._pause else now)
        if line.sock is None:
            self._connect(line)
        else:
            self._send(line)

    def _connect(self, line: _Line) -> None:
        sock = line.sock = socket.socket()
        sock.setblocking(False)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.opened += 1
        self._by_fd[sock.fileno()] = line
        sock.connect_ex(self._address)  # what comes of it is told by the first send
        self._epoll.register(sock, select.EPOLLOUT | select.EPOLLIN)

    def _ready(self, line: _Line, events: int) -> None:
        if line.unsent and events & ~select.EPOLLIN:
            self._send(line)
        if events & ~select.EPOLLOUT and line.sock is not None:
            self._receive(line)

    def _send(self, line: _Line) -> None:
        assert line.sock is not None
        try:
            sent = line.sock.send(line.unsent)
        except BlockingIOError:
            return
        except OSError as error:
            self._end(line, type(error).__name__)
            return
        line.unsent = memoryview(line.unsent)[sent:]
        self._epoll.modify(line.sock, select.EPOLLIN | (select.EPOLLOUT if line.unsent else 0))

    def _receive(self, line: _Line) -> None:
        assert line.sock is not None
        try:
            data = line.sock.recv(65536)
        except BlockingIOError:
            return
        except OSError as error:
            self._end(line, f"{type(error).__name__} after {len(line.buffer)} bytes")
            return
        if not data:
            self._end(line, f"the connection ended after {len(line.buffer)} bytes of an answer")
            return
        if line.call is None:
            raise AssertionError(f"nobody asked for {data!r}")
        try:
            body = line.answered(data)
        except ValueError as error:
            self._end(line, f"{error}: {line.buffer[:200]!r}")
            return
        if body is None:
            return
        if line.status != line.call.status:
            self._end(line, f"status {line.status}: {body[:300].decode('latin-1')}")
        elif body != line.call.answer and line.call.answer != b"*":
            self._end(line, f"the body is {body[:200]!r} instead of {line.call.answer[:200]!r}")
        else:
            self._end(line, None)

    def _end(self, line: _Line, error: str | None) -> None:
        """The call is over, well or not; the next one is due."""
        now = time.monotonic()
        assert line.sock is not None
        if line.call is not None:
            port = line.sock.getsockname()[1]
            self.records.append(Record(line.call.name, line.began, now - line.began, line.status, error, port))
            line.due = max(now, line.due + self._pause) if self._pause else now
            self._number += 1
            heapq.heappush(self._waiting, (line.due, self._number, line))
            line.call = None
        if error is not None or not self._job.keep or line.closing:
            self._close(line)

    def _close(self, line: _Line) -> None:
        if line.sock is not None:
            self._by_fd.pop(line.sock.fileno(), None)
            line.sock.close()
            line.sock = None


def _listen(commands: deque[Sequence[Call] | None]) -> None:
    try:
        while True:
            commands.append(pickle.load(sys.stdin.buffer))
    except EOFError:
        os._exit(1)  # whoever wanted to know is gone


def main() -> None:
    generator = _Generator(pickle.load(sys.stdin.buffer))
    threading.Thread(target=_listen, args=(generator.commands,), daemon=True).start()
    _send(sys.stdout.buffer, "started")
    generator.run()
    _send(sys.stdout.buffer, (generator.records, generator.opened))
