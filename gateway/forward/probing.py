"""One health probe: a connection of its own, for HTTP one request on it, all within one time limit.

The way is that of requests (addresses asked for and checked, TLS as the service has it), but for the pool: a probe
shows that the instance takes a new connection, and neither waits for nor ends those of requests. The limit is absolute,
so that an answer that comes a byte at a time does not stretch it. Redirects are not followed: their status counts.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace

from gateway.config.model import ActiveHealth, Service
from gateway.config.texts import status_ranges
from gateway.errors import (
    AddressRefused,
    AnswerTooLarge,
    BadAnswer,
    ConnectRefused,
    ConnectTimeout,
    NameUnresolved,
    PoolExhausted,
    TlsFailed,
    UpstreamFailure,
)
from gateway.state.operations import health
from gateway.state.operations.health import Finding

from .answers import Head
from .bodies import ChunkDecoder
from .connection import Connection
from .dial import Instance
from .sessions import Sessions

MOST = 64 * 1024  # bytes of a body that are searched for `body`
_CODES: dict[type[UpstreamFailure], int] = {
    ConnectRefused: health.REFUSED,
    ConnectTimeout: health.TIMED_OUT,
    TlsFailed: health.TLS,
    NameUnresolved: health.NAME,
    AddressRefused: health.ADDRESS,
    BadAnswer: health.BAD_ANSWER,
    AnswerTooLarge: health.BAD_ANSWER,
}  # constant
_GOOD = Finding(health.GOOD)


class Probing:
    """Callable as `gateway.watch.prober.Probe`. sessions: those of the worker's requests."""

    def __init__(self, sessions: Sessions, now: Callable[[], float] = time.monotonic) -> None:
        self._sessions = sessions
        self._now = now

    def __call__(self, instance: Instance, service: Service, settings: ActiveHealth) -> Finding | None:
        """What the probe found; None: the gateway had no socket for it."""
        deadline = self._now() + settings.timeout
        timeouts = replace(service.timeouts, connect=settings.timeout, dns=settings.timeout)
        try:
            adapter = self._sessions.of(instance, service).adapter
            connection = adapter.connect(timeouts, deadline)
            try:
                if settings.type == "tcp":
                    return _GOOD
                return self._ask(connection, settings, adapter.authority, deadline)
            finally:
                connection.close()
        except PoolExhausted:
            return None
        except UpstreamFailure as failure:
            return Finding(_CODES.get(type(failure), health.RESET))
        except TimeoutError:
            return Finding(health.TIMED_OUT)
        except OSError:
            return Finding(health.RESET)

    def _ask(self, connection: Connection, settings: ActiveHealth, authority: str, limit: float) -> Finding:
        lines = (
            f"GET {settings.path} HTTP/1.1", f"Host: {settings.host or authority}", "User-Agent: gateway-health",
            "Accept: */*", "Connection: close", "", "",
        )  # fmt: skip
        connection.send("\r\n".join(lines).encode("latin-1"), limit)
        head = connection.head(limit)
        expected = status_ranges(",".join(map(str, settings.expect)))
        if not any(first <= head.status <= last for first, last in expected):
            return Finding(health.STATUS, head.status)
        if settings.body is not None and not self._holds(connection, head, settings.body.encode(), limit):
            return Finding(health.BODY)
        return _GOOD

    def _holds(self, connection: Connection, head: Head, wanted: bytes, limit: float) -> bool:
        """Whether the beginning of the body holds `wanted`. Read no further than that needs."""
        decoder = ChunkDecoder() if head.chunked else None
        most = min(MOST, MOST if head.length is None or head.chunked else head.length)
        data, content = connection.buffer, b""
        while True:
            content = (content + (decoder.feed(data) if decoder else data))[:most]
            if wanted in content:
                return True
            if len(content) >= most or (decoder is not None and decoder.done):
                return False
            data = connection.receive(limit)
            if not data:
                return False
