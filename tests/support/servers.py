"""One gateway behind each of the servers that may carry it, so that one suite of behaviours holds for all of them.

    with WORKER.serve({"services": {...}, "routes": [...]}) as gateway:
        gateway.get("/echo/x").status

`worker` is gunicorn with our worker class, `gthread` gunicorn with its own (chosen where epoll is missing), and
`in_process` Werkzeug's test client around the application, with the memory engine. `Promise` tells what not all of them
promise, and why: the one place for it.
"""

from __future__ import annotations

import contextlib
import http.client
import io
import json
import os
import signal
import socket
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Any, Self, TypeVar
from unittest.mock import patch

import structlog
from werkzeug.test import Client, EnvironBuilder

from gateway.config.load import load
from gateway.state import stores
from gateway.telemetry.writer import LineWriter
from gateway.wsgi import Application

from .process import GatewayProcess, Reply, eventually
from .worker import Wire

T = TypeVar("T")


class Promise(Enum):
    """What some servers promise and others do not. The value says why the others do not."""

    SOCKET = "Werkzeug's test client calls the application: there is no connection to break off or to send bytes on"
    PROCESSES = "one process without a master has no reload, no signals, no other workers and no durable state"
    HEADER_LINES = "PEP 3333 joins repeated fields and folds names; only our worker passes the lines on"
    CLIENT_DEADLINES = "gunicorn's gthread waits for a client as long as the client likes"
    BOTH_WAYS = "gunicorn's gthread cannot tell what comes first: it reads 64 KiB of a body, then looks at the answer"
    OWN_THREADS = "gunicorn's gthread has one pool of threads for all listeners, and requests wait for one for ever"
    OWN_REFUSALS = "gunicorn's gthread answers what it refuses itself (malformed heads, limits) with a page of its own"
    DRAINS = "gunicorn's gthread closes idle connections at once when it leaves: nobody can ask it any more"
    CUTS_OFF = "gunicorn's gthread is killed when its time is over, and cannot tell any more what that cuts off"


@dataclass(frozen=True)
class Server:
    """A way to serve. lacks: what it does not promise."""

    name: str
    kind: Callable[..., Gateway]
    lacks: frozenset[Promise] = frozenset()

    def serve(self, config: Mapping[str, Any], *, workers: int = 2, **options: Any) -> Gateway:
        """A gateway with that configuration, to be used as a context manager. options: of `GatewayProcess`."""
        return self.kind(config, server=self, workers=workers, **options)

    def promises(self, *promises: Promise) -> bool:
        return self.lacks.isdisjoint(promises)

    def __repr__(self) -> str:
        return self.name


class Gateway(GatewayProcess):
    """A gateway under gunicorn."""

    def __init__(self, config: Mapping[str, Any] | str, *, server: Server, **options: Any) -> None:
        self.server = server
        self.workers = options["workers"]
        if server is GTHREAD:
            options["env"] = {**options.get("env", {}), "GATEWAY_WORKER": "gthread"}
        super().__init__(config, **options)

    def connect(self, *, internal: bool = False) -> Wire:
        """A connection to send bytes on."""
        return Wire(socket.create_connection(("127.0.0.1", self._port(internal)), timeout=10))

    def _port(self, internal: bool) -> int:
        return self.internal_port if internal else self.external_port

    def is_ready(self) -> bool:
        """Wherever the admin API is; without one: that a listener answers at all."""
        try:
            planes = [True, False] if self.has_internal else [False]
            statuses = (self.get("/readyz", internal=plane, timeout=2.0).status for plane in planes)
            return next((status for status in statuses if status != 404), 200) == 200
        except (OSError, http.client.HTTPException):
            return False

    def call(self, method: str, target: str, document: Any = None, *, internal: bool = True, **options: Any) -> Reply:
        """A call of the admin API; document: what is sent as JSON."""
        if document is not None:
            options["body"] = json.dumps(document).encode()
            options["headers"] = {"Content-Type": "application/json", **options.get("headers", {})}
        return self.request(method, target, internal=internal, **options)

    def access_line(self, request_id: str | None) -> dict[str, Any]:
        """What the access log tells of the request with this id."""
        return self.wait_event("request", request_id=request_id)

    def worker_of(self, wire: Wire) -> int:
        """The worker that has accepted a connection (by its inode); 0 while none has."""
        ends = [f"0100007F:{port:04X}" for _, port in (wire.sock.getpeername(), wire.sock.getsockname())]
        lines = (line.split() for line in Path("/proc/net/tcp").read_text().splitlines())
        inode = next((line[9] for line in lines if line[1:3] == ends), "0")
        for pid in self.worker_pids:
            for fd in Path(f"/proc/{pid}/fd").iterdir():
                with contextlib.suppress(OSError):  # closed meanwhile
                    if os.readlink(fd) == f"socket:[{inode}]":
                        return pid
        return 0

    def connect_to_each_worker(self, rounds: int = 2) -> list[Wire]:
        """Connections, one to each worker a round: the others are stopped while one accepts."""
        eventually(lambda: len(self.worker_pids) == self.workers, what="the end of those that make way")
        workers = self.worker_pids
        wires: list[Wire] = []
        for pid in workers * rounds:  # not all of a worker's at once, which it would take for too many
            others = [other for other in workers if other != pid]
            for other in others:
                os.kill(other, signal.SIGSTOP)
            try:
                wire = self.connect()
                wires.append(wire)
                eventually(lambda: self.worker_of(wire) == pid, what="its accepting")  # noqa: B023
            finally:
                for other in others:
                    os.kill(other, signal.SIGCONT)
        return wires

    def kill_workers(self) -> None:
        """SIGKILL all of them, and wait until others serve in their place."""
        before = set(self.worker_pids)
        for pid in before:
            with contextlib.suppress(ProcessLookupError):  # it was making way, and has just ended
                os.kill(pid, signal.SIGKILL)
        eventually(lambda: len(self.worker_pids) == self.workers and not before & {*self.worker_pids}, what="workers")
        self.wait_ready()


class InProcess(Gateway):
    """A gateway without a server: the test client is in the place of sockets, `gateway.plane` in that of listeners."""

    def _complete(self, config: Mapping[str, Any]) -> dict[str, Any]:
        return {**super()._complete(config), "state": {"engine": "memory"}}

    def start(self, *, wait: bool = True, timeout: float = 20.0) -> Self:
        self._before = structlog.get_config(), getattr(stores, "current", None)  # the gateway sets them for its process
        self._log = os.open(self.log_path, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        self.application = Application()
        with patch("gateway.build.LineWriter", lambda: LineWriter(self._log, interval=0.02)):
            self.application.start(load(self.config_path, {**os.environ, **self._env}))
        return self

    def stop(self, timeout: float = 10.0) -> int | None:
        if hasattr(self, "_log"):
            self.application.stop()
            settings, stores.current = self._before
            structlog.configure(**settings)
            os.close(self._log)
            del self._log
        return super().stop(timeout)

    def request(
        self,
        method: str,
        target: str,
        *,
        internal: bool = False,
        headers: Mapping[str, str] | None = None,
        body: bytes | Iterable[bytes] | None = None,
        timeout: float = 10.0,
    ) -> Reply:
        environ: dict[str, Any] = {"gateway.plane": "internal" if internal else "external"}
        for name, value in (headers or {}).items():
            if name.lower() == "content-length":  # the test client believes the body alone
                environ["CONTENT_LENGTH"] = value
        if body is not None and not isinstance(body, bytes):
            # As from a server that has taken the chunks apart.
            environ |= {"HTTP_TRANSFER_ENCODING": "chunked", "wsgi.input": io.BytesIO(b"".join(body))}
            body = None
        builder = EnvironBuilder(
            target,
            method=method,
            headers=dict(headers or {}),
            input_stream=None if body is None else io.BytesIO(body),
            base_url=f"http://127.0.0.1:{self._port(internal)}",
            environ_base={"REMOTE_ADDR": "127.0.0.1"},
            environ_overrides=environ,
        )
        answer = Client(self.application, use_cookies=False).open(builder, buffered=True)
        return Reply(answer.status_code, list(answer.headers), answer.get_data())


def at_once(count: int, call: Callable[[int], T], *, threads: int = 16) -> list[T]:
    """`call(0)`, `call(1)` … in so many threads; what they return, in order."""
    with ThreadPoolExecutor(threads) as pool:
        return list(pool.map(call, range(count)))


_OURS = frozenset(Promise) - {Promise.SOCKET, Promise.PROCESSES}
WORKER = Server("worker", Gateway)
GTHREAD = Server("gthread", Gateway, _OURS)
IN_PROCESS = Server("in_process", InProcess, frozenset(Promise))
SERVERS = (WORKER, GTHREAD, IN_PROCESS)
