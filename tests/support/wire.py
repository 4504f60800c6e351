"""Small things for tests over real sockets: ports that nobody else takes, one request, waiting for a condition."""

from __future__ import annotations

import http.client
import json
import random
import socket
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any


class PortReservation:
    """A TCP port below the ephemeral range that no other test process takes while this is held.

    An abstract unix socket named after the port is the lock: the kernel drops it with its owner.
    """

    def __init__(self) -> None:
        for _ in range(1000):
            port = random.randrange(10_000, 30_000)
            lock = socket.socket(socket.AF_UNIX)
            try:
                lock.bind(f"\0gateway-test-port-{port}")
                with socket.socket() as probe:
                    probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                    probe.bind(("127.0.0.1", port))
            except OSError:
                lock.close()
                continue
            self.port, self._lock = port, lock
            return
        raise RuntimeError("no free port found")

    def release(self) -> None:
        self._lock.close()


@dataclass(frozen=True)
class Reply:
    """One HTTP answer, read whole. `headers` in order as sent."""

    status: int
    headers: list[tuple[str, str]]
    body: bytes

    def header(self, name: str) -> str | None:
        return next((value for key, value in self.headers if key.lower() == name.lower()), None)

    def json(self) -> Any:
        return json.loads(self.body)


def request(
    port: int,
    method: str,
    target: str,
    *,
    headers: Mapping[str, str] | None = None,
    body: bytes | Iterable[bytes] | None = None,
    timeout: float = 10.0,
) -> Reply:
    """One request on a connection of its own to 127.0.0.1:port. body: an iterable is sent in chunks."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=timeout)
    try:
        connection.request(method, target, body=body, headers=dict(headers or {}))
        response = connection.getresponse()
        return Reply(response.status, response.getheaders(), response.read())
    finally:
        connection.close()


def eventually(check: Callable[[], Any], timeout: float = 10.0, *, every: float = 0.02, what: str = "") -> Any:
    """What `check()` returns once it is true; AssertionError after `timeout` seconds."""
    until = time.monotonic() + timeout
    while True:
        found = check()
        if found:
            return found
        if time.monotonic() > until:
            raise AssertionError(f"not within {timeout} s: {what or getattr(check, '__name__', 'the condition')}")
        time.sleep(every)
