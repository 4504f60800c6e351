"""What happens in a worker between the fork and its first request, as hooks of gunicorn."""

from __future__ import annotations

import gc
import os
import signal
import sys
from typing import Any

import structlog
from gunicorn.arbiter import Arbiter

from gateway import plugin
from gateway.config.model import Config
from gateway.server import logger, pinning
from gateway.server.http1 import HeadLimits
from gateway.server.listeners import binds
from gateway.server.plan import WorkerPlan
from gateway.server.roster import Post
from gateway.server.shared import Shared
from gateway.state.control import Runtime
from gateway.state.engines import StateError

_ENDS = (signal.SIGTERM, signal.SIGINT, signal.SIGQUIT)
_MASTER_ONLY = (signal.SIGHUP, signal.SIGUSR2, signal.SIGTTIN, signal.SIGTTOU)


def pre_fork(server: Any, worker: Any) -> None:
    """In the master: the worker has its place before it exists."""
    server.appoint(worker)


def post_fork(server: Any, worker: Any) -> None:
    """In the worker, first thing: signals that concern it, and what it is to do."""
    gc.freeze()  # a collection that walked what the master made would copy all of that memory
    for number in _ENDS:
        signal.signal(number, signal.SIG_DFL)  # it has nothing yet that it could lose
    for number in (*_MASTER_ONLY, signal.SIGUSR1, signal.SIGWINCH):
        signal.signal(number, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_SETMASK, ())
    post: Post = worker.post
    logger.configure(post.generation.config.logging)
    worker.runtime = Runtime(
        page=server.shared.page,
        slot=post.slot,
        generation=post.generation.number,
        segment_fd=server.shared.segment_fd,
        origin=server.path,
        contexts=post.generation.contexts.upstream,
    )
    worker.plan = plan(post, server.shared, workers=post.generation.size)


def post_worker_init(worker: Any) -> None:
    """In the worker, with its handlers in place: build what serves, then tell the master, or what keeps it from that.

    What the configuration or the state is at fault for is told in a line and ends the worker; all else it raises.
    """
    for number in _MASTER_ONLY:
        signal.signal(number, signal.SIG_IGN)  # `pkill -HUP` hits the workers too
    cell = worker.post.cell
    try:
        worker.wsgi.start(worker.post.generation.config, worker.runtime)
    except (plugin.Unresolved, StateError) as error:
        path = getattr(error, "path", "")
        cell.fail(path, str(error))
        cause = error.__cause__ if isinstance(error, plugin.Unresolved) else None  # the traceback of a user's module
        log = structlog.get_logger("gateway.worker")
        log.error("start_failed", path=path, message=str(error), **({"exc_info": cause} if cause else {}))
        sys.exit(Arbiter.WORKER_BOOT_ERROR)
    except Exception as error:
        cell.fail("", f"{type(error).__name__}; the log holds the traceback")
        raise
    # What was built lives as long as the worker: full collections must not walk 10,000 routes again and again.
    gc.collect()
    gc.freeze()
    cell.ready = True


def worker_exit(server: Any, worker: Any) -> None:
    """In the worker, last thing."""
    application = getattr(worker, "wsgi", None)
    if worker.pid == os.getpid() and application is not None:
        application.stop()


def plan(post: Post, shared: Shared, *, workers: int) -> WorkerPlan:
    """What the worker at this post is to do, by its generation's configuration."""
    config: Config = post.generation.config
    server = config.server
    page = shared.page
    cell = post.cell

    def told(connections: int) -> None:
        cell.connections = connections

    def closed() -> None:
        cell.closed = True

    def others() -> list[int]:
        return [
            one.connections
            for slot, one in page.occupied()
            if slot != post.slot and one.ready and not one.leaving and one.generation == post.generation.number
        ]

    return WorkerPlan(
        threads=server.threads,
        internal_threads=server.internal_threads,
        planes=dict(enumerate(plane for plane, _ in binds(config))),
        tls=dict(post.generation.contexts.listeners),
        keepalive=server.keepalive,
        graceful_timeout=server.graceful_timeout,
        reload_drain=server.reload_drain,
        request_head_timeout=server.request_head_timeout,
        client_idle=server.client_idle,
        backlog_wait=server.backlog_wait,
        head_limits=HeadLimits(
            line=server.max_request_line,
            count=server.max_request_headers.count,
            size=server.max_request_headers.size,
        ),
        max_request_body=server.max_request_body,
        cpu=pinning.cpu_for(post.seat, workers, server.pin_cpus),
        slot=post.slot,
        connections=told,
        others=others,
        handover=shared.handover,
        closed=closed,
        reloading=lambda: cell.draining and not page.stopping,
    )
