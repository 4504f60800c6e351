"""The worker process: gunicorn's threaded worker with the serving replaced.

The main thread accepts, keeps the deadlines and gives the sign of life; the threads of each plane's group serve. See
`plan.py` for what the master tells a worker, `groups.py` for how threads and connections meet.
"""

from __future__ import annotations

import contextlib
import os
import select
from time import monotonic
from typing import Any, Final

from gunicorn.http.wsgi import base_environ
from gunicorn.workers.gthread import ThreadWorker

from gateway.exchange import Plane
from gateway.server import pinning
from gateway.server.acceptor import Acceptor, Listener
from gateway.server.balance import Balance
from gateway.server.groups import ThreadGroup
from gateway.server.linger import Lingerer
from gateway.server.plan import WorkerPlan, from_gunicorn
from gateway.server.service import Service

# How long a stopping worker keeps idle connections for requests that are on their way already (as gunicorn does).
STOP_LINGER: Final = 2.0

_FOREVER = float("inf")
_TICK = 0.25  # seconds between two looks at the deadlines
_SHORTEST_TICK = 0.02
_LEAVING_TICK = 0.05
_SIGN_OF_LIFE = 1.0
_EVENTS = 64


class GatewayWorker(ThreadWorker):  # type: ignore[misc]
    """gunicorn's `worker_class`. `plan` is set by the master's post_fork; without one, gunicorn's settings decide.

    Of gunicorn's own settings for a worker, HTTP/2, the PROXY protocol, `max_requests`, `pre_request`, `post_request`
    and the access log have no effect here.
    """

    plan: WorkerPlan | None = None

    @classmethod
    def check_config(cls, cfg: Any, log: Any) -> None:
        """Nothing to warn of: connections that are kept alive take no thread here."""

    def init_process(self) -> None:
        plan = self.plan = self.plan or from_gunicorn(self.cfg)
        if plan.cpu is not None:
            try:
                pinning.pin(plan.cpu)
            except OSError as error:
                self.log.warning("Worker %d is not pinned to CPU %d: %s", plan.slot, plan.cpu, error.strerror)
        pinning.take_turns()
        pinning.own_share(self.ppid)
        super(ThreadWorker, self).init_process()  # ThreadWorker's own makes a pool and a poller that are not used

    # --- signals, in the main thread; the interpreter's wake-up pipe ends the wait
    def handle_exit(self, sig: int, frame: Any) -> None:
        """SIGTERM: leave, with everything that is under way finished."""
        self.alive = False

    def handle_quit(self, sig: int, frame: Any) -> None:
        """SIGQUIT, SIGINT: leave at once."""
        super(ThreadWorker, self).handle_quit(sig, frame)

    # --- life
    def run(self) -> None:
        assert self.plan is not None  # noqa: S101
        serving = Serving(self.plan, self)
        try:
            serving.open()
            while self.alive and self.is_parent_alive():
                serving.turn()
            self.alive = False
            serving.leave()
        finally:
            serving.close()


def _nothing() -> None:
    """For an application that keeps no records."""


class Serving:
    """Everything that a running worker has: listeners, groups of threads, deadlines. Used by the main thread alone."""

    def __init__(self, plan: WorkerPlan, worker: GatewayWorker) -> None:
        self._plan = plan
        self._worker = worker
        self._lingerer = Lingerer()
        self._groups: dict[Plane, ThreadGroup] = {}
        self._epoll = select.epoll()
        self._wake_up = worker.PIPE[0]
        environ = {**base_environ(worker.cfg), "wsgi.multithread": True}
        listeners = [
            Listener(listener, self._group(plan.planes.get(index, "external")), environ, index)
            for index, listener in enumerate(worker.sockets)
        ]
        self._balance = Balance(plan.others)
        self._acceptor = Acceptor(
            listeners,
            self._balance,
            most=plan.max_connections,
            count=self.connections,
            changed=self._tell,
            log=worker.log,
            handover=plan.handover,
        )
        shortest = min(plan.backlog_wait, plan.request_head_timeout, plan.keepalive or plan.request_head_timeout)
        self._tick = max(_SHORTEST_TICK, min(_TICK, shortest / 8))  # how late a deadline may be noticed
        self._next_look = 0.0
        self._next_sign = 0.0

    def _group(self, plane: Plane) -> ThreadGroup:
        if plane not in self._groups:
            service = Service(
                self._plan,
                plane,
                application=self._worker.wsgi,
                log=self._worker.log,
                lingerer=self._lingerer,
                changed=self._tell,
            )
            self._groups[plane] = ThreadGroup(service)
        return self._groups[plane]

    def connections(self) -> int:
        """Open client connections."""
        return sum([len(group.service.connections) for group in self._groups.values()])

    def _tell(self) -> None:
        self._plan.connections(self.connections())

    def open(self) -> None:
        """Start the threads, then accept."""
        self._lingerer.start()
        for group in self._groups.values():
            group.start()
        self._epoll.register(self._wake_up, select.EPOLLIN)
        self._acceptor.start(self._epoll)

    def turn(self, wait: float = _FOREVER, idle_until: float = _FOREVER) -> None:
        """Wait for something to do, at most `wait` seconds, and do it."""
        for fd, _ in self._epoll.poll(min(wait, self._tick), _EVENTS):
            if fd == self._wake_up:
                with contextlib.suppress(BlockingIOError):
                    os.read(fd, 4096)
            else:
                self._acceptor.ready(fd, monotonic())
        now = monotonic()
        if now >= self._next_look:
            self._next_look = now + self._tick
            self._acceptor.resume(now)
            self._tell()  # once more: of two threads that tell at once, the one that counted first may come last
            if self._worker.alive:
                self._shed(now)
            for group in self._groups.values():
                group.refuse_overdue(now)
                group.sweep(now, idle_until)
        if now >= self._next_sign:
            self._next_sign = now + _SIGN_OF_LIFE
            self._worker.notify()

    def _shed(self, now: float) -> None:
        """Let go of some connections while this worker has more than its share."""
        excess = self._balance.excess(self.connections(), now)
        if excess is not None and self._plan.keepalive:
            fullest = max(self._groups.values(), key=lambda group: len(group.service.connections))
            fullest.service.closing = excess

    def leave(self) -> None:
        """Finish what is under way: accept no more, answer what still comes with `Connection: close`.

        On a reload connections go to the workers that serve now, as soon as no request is answered on them. Those that
        cannot (TLS) stay until their time is over or the client closes them, for only then no request can be on its
        way; on a stop they get STOP_LINGER. A stop may come during the drain of a reload. On a stop the internal
        listener stays open as long as there are external connections: the backends of their requests may call in, and
        /readyz says why nobody else should. Without a master it closes, too: another gateway may want to bind it.
        """
        plan = self._plan
        self._acceptor.stop()
        reloading = plan.reloading()
        for group in self._groups.values():
            group.service.closing = _FOREVER
            group.service.parked = -1
            if reloading and group.service.context is None:
                group.service.handover = plan.handover  # from here on requests go to the next generation
            group.hand_over()
        plan.closed()
        self._worker.log.info("Leaving when %d open connections are done", self.connections())
        until = monotonic() + plan.reload_drain
        idle_until = _FOREVER
        stopping = False
        while True:
            orphaned = self._worker.ppid != os.getppid()
            if not stopping and (orphaned or not plan.reloading()):
                stopping = True
                now = monotonic()
                for group in self._groups.values():
                    group.service.handover = None
                self._acceptor.accept_waiting(now)
                self._acceptor.close("external")
                self._acceptor.start(self._epoll)
                idle_until, until = now + STOP_LINGER, now + plan.graceful_timeout
            external = self._groups.get("external")
            if stopping and (orphaned or external is None or not external.service.connections):
                self._acceptor.close("internal")
            for group in self._groups.values():
                group.hand_over()
            if not self.connections() and not len(self._lingerer):
                return
            if monotonic() >= until:
                self._worker.log.warning("Leaving with %d connections open, their time is over", self.connections())
                return
            self.turn(_LEAVING_TICK, idle_until)

    def close(self) -> None:
        """End all threads that can be ended. What is still open is reset: a cut answer must not look whole.

        Before that the application records the requests that are cut off, for their threads may wait for a backend.
        """
        for group in self._groups.values():
            group.stop(patience=_LEAVING_TICK)
        try:
            getattr(self._worker.wsgi, "cut", _nothing)()
        except Exception:
            self._worker.log.exception("The application failed to record what is cut off")
        for group in self._groups.values():
            group.abort()
        self._lingerer.stop()
        for listener in self._worker.sockets:
            listener.close()
        self._epoll.close()
