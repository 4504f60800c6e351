"""What a worker is to do: the values and callbacks that the master hands it through `worker.plan`.

The master's `post_fork(server, worker)` sets `worker.plan` before the worker starts anything. A worker without a plan
makes one of gunicorn's own settings (`from_gunicorn`), so that
`gunicorn -k gateway.server.worker.GatewayWorker some:app` runs any WSGI application.
"""

from __future__ import annotations

import ssl
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

from gunicorn import sock as gunicorn_sock

from gateway.exchange import Plane
from gateway.server.handover import Handover
from gateway.server.http1 import HeadLimits


def _nobody() -> Sequence[int]:
    return ()


def _tell_nobody(_connections: int) -> None:
    """A worker that runs alone has nobody to tell."""


def _stopping() -> bool:
    return False


def _closed() -> None:
    """Nobody waits for it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerPlan:
    """Durations are seconds, sizes are bytes.

    threads, internal_threads: serving threads of the external and the internal listeners; a plane without a listener
        gets none.
    planes: index in `worker.sockets` (gunicorn's order of binds) -> plane; a listener that is not named is external.
    tls: the contexts (`gateway.server.tls.server_context`) of the planes that speak TLS.
    head_limits: request line and header section, 414 and 431.
    max_request_body: 413, unless the application sets `environ["wsgi.input"].limit` before it reads.
    max_connections: the worker stops accepting at that many; they wait in the kernel's backlog.
    cpu: the CPU to pin the process to, None for none. slot: the worker's number, 0..511; only for messages.

    connections(count): told whenever the number of open client connections changed; called from any thread, cheap.
    others(): the numbers of the other workers that accept (not of those that drain), for an even share of connections.
    closed(): told once, when the worker is leaving and accepts no more connections.
    handover: where idle connections go on a reload and come from; None: they stay until their time is over.
    reloading(): asked once the worker was told to leave: True while it makes way for a new one (requests in flight get
        `reload_drain`), False when the gateway stops (`graceful_timeout`). The answer may turn from True to False.
    """

    threads: int = 32
    internal_threads: int = 16
    planes: Mapping[int, Plane] = field(default_factory=lambda: MappingProxyType({}))
    tls: Mapping[Plane, ssl.SSLContext] = field(default_factory=lambda: MappingProxyType({}))
    keepalive: float = 75.0
    graceful_timeout: float = 30.0
    reload_drain: float = 600.0
    request_head_timeout: float = 10.0
    client_idle: float = 30.0
    backlog_wait: float = 5.0
    head_limits: HeadLimits = field(default_factory=HeadLimits)
    max_request_body: int = 100 * 1024**2
    max_connections: int = 10_000
    cpu: int | None = None
    slot: int = 0
    connections: Callable[[int], None] = _tell_nobody
    others: Callable[[], Sequence[int]] = _nobody
    closed: Callable[[], None] = _closed
    reloading: Callable[[], bool] = _stopping
    handover: Handover | None = None


def from_gunicorn(cfg: Any) -> WorkerPlan:
    """A plan of gunicorn's settings: every listener external, our defaults where gunicorn has no such setting."""
    defaults = HeadLimits()
    return WorkerPlan(
        threads=cfg.threads,
        keepalive=float(cfg.keepalive),
        graceful_timeout=float(cfg.graceful_timeout),
        head_limits=HeadLimits(
            line=cfg.limit_request_line or defaults.line, count=cfg.limit_request_fields, size=defaults.size
        ),
        max_connections=cfg.worker_connections,
        tls={"external": gunicorn_sock.ssl_context(cfg)} if cfg.is_ssl else {},
    )
