"""The master: gunicorn's arbiter with a reload that validates first, never blocks, and never takes the service down.

SIGHUP: the configuration is examined in a child process (`examination`). Refused: every reason is logged and told on
the control page, and nothing else happens. Accepted: a new generation of workers starts beside the serving one and
takes over when all of it is ready (`roster`). The main loop does one step at a time and returns to its signals: workers
are reaped and replaced while others drain for minutes, and further SIGHUPs are answered; those that come faster than a
reload takes are answered by one more reload.
"""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Self

import structlog
from gunicorn.arbiter import Arbiter
from gunicorn.errors import HaltServer

from gateway.config.model import Config
from gateway.config.problems import Problem
from gateway.server import logger, tls
from gateway.server.examination import Examination, Outcome
from gateway.server.roster import BOOT_LIMIT, STEADY, Generation, NoSlot, Post, Roster
from gateway.server.shared import Shared

SOON = 0.02  # seconds between looks while something is about to become ready or due
QUICK = 2.0  # seconds that a quick stop leaves the workers
OVERTAKE = 2.0  # seconds after which workers that do not become ready hold a further SIGHUP up no more


class GatewayArbiter(Arbiter):  # type: ignore[misc]
    """`adopt` makes one of gunicorn's arbiter, before it binds and forks. Every worker that it forks has a `post`."""

    roster: Roster
    shared: Shared
    path: Path
    examine: Callable[[Config], Outcome]
    tailor: Callable[[Any, Config], Any]
    _hung_up: Callable[[], bool]
    _log: Any
    _examination: Examination | None
    _reload_wanted: bool
    _stopping: bool
    _post: Post  # for the worker that is being forked

    @classmethod
    def adopt(
        cls,
        arbiter: Any,
        roster: Roster,
        shared: Shared,
        *,
        path: Path,
        examine: Callable[[Config], Outcome],
        tailor: Callable[[Any, Config], Any],
        hung_up: Callable[[], bool],
    ) -> Self:
        """Turn `arbiter` into this class: gunicorn has no setting for it, `on_starting` is the first hook that has it.

        path: the configuration file. examine: what is there now, to take the place of the given configuration, called
        in a child process. tailor: a copy of gunicorn's settings with those that the given configuration decides.
        hung_up: whether a SIGHUP came before the arbiter had its handlers.
        """
        arbiter.__class__ = cls
        self: Self = arbiter
        self.WORKERS = {}
        self.roster, self.shared = roster, shared
        self.path, self.examine, self.tailor, self._hung_up = path, examine, tailor, hung_up
        self._log = structlog.get_logger("gateway.master")
        self._examination = None
        self._reload_wanted = False
        self._stopping = False
        return self

    # --- signals ---
    def init_signals(self) -> None:
        super().init_signals()
        if self._hung_up():
            self.SIG_QUEUE.put_nowait(signal.SIGHUP)

    def wait_for_signals(self, timeout: float = 1.0) -> list[int]:
        found: list[int] = super().wait_for_signals(SOON if self.roster.waits() else timeout)
        return found

    def handle_hup(self) -> None:
        self._stats["reloads"] += 1
        self.log.reopen_files()
        self._reload_wanted = True
        self._start_examination()

    def reload(self) -> None:
        """gunicorn's own name for it, which its control interface calls."""
        self.handle_hup()

    def handle_usr2(self) -> None:
        """A second master beside this one could not have the state folder."""
        self._log.error("signal_refused", signal="SIGUSR2", message="restart the gateway to run a new version of it")

    # --- a reload, step by step ---
    def _start_examination(self) -> None:
        """Begin the reload that is wanted, unless one is under way that has not had its time yet."""
        roster = self.roster
        if not self._reload_wanted or self._examination or self._stopping:
            return
        if roster.unsettled and time.monotonic() < roster.unsettled_since + OVERTAKE:
            return
        self._reload_wanted = False
        serving = roster.current.config
        examination = Examination(str(self.path), lambda: self.examine(serving))
        try:
            examination.start()
        except OSError as error:
            self._refuse(f"no process to examine it in: {error}")
        else:
            self._examination = examination

    def _examined(self, outcome: Outcome) -> None:
        self._examination = None
        if self._stopping:
            return
        if outcome.config is None:
            self._refused(outcome.problems)
            return
        for one in outcome.config.warnings:
            self._log.warning("configuration_warning", **logger.fields(one))
        try:
            cfg = self.tailor(self.roster.current.cfg, outcome.config)
            contexts = tls.contexts(outcome.config)
        except ValueError as error:  # a file changed since it was examined
            self._refuse(str(error))
            return
        except Exception as error:  # whatever it is: here it would end the master, and with it those that serve
            self._log.exception("reload_failed")
            self._refuse(f"gunicorn does not take its settings: {error}")
            return
        generation = Generation(
            number=self.roster.next_number,
            config=outcome.config,
            cfg=cfg,
            size=cfg.workers,
            accepted_at=time.time(),
            contexts=contexts,
        )
        self._log.info("reload_accepted", generation=generation.number, workers=generation.size)
        self._make_way(self.roster.propose(generation, time.monotonic()))

    def _refuse(self, why: str, path: str = "") -> None:
        self._refused([Problem(file=str(self.path), path=path, why=why)])

    def _refused(self, problems: Sequence[Problem]) -> None:
        """The reload is off; one line for each reason."""
        for one in problems:
            self._log.error("reload_refused", **logger.fields(one))
        self.roster.page.report(ok=False, at=time.time(), problems=problems)

    def _settle(self, now: float) -> None:
        """Go on with what has become ready."""
        roster = self.roster
        before = roster.take_over(now)
        current = roster.current
        if before is not None:
            self.cfg = self.app.cfg = current.cfg
            self.timeout = current.cfg.timeout
            self.num_workers = current.size
            logger.configure(current.config.logging)
            self.log.setup(current.cfg)
            self._make_way(before)
        if roster.put_in_force(now):
            if current.number > 1:
                roster.page.report(ok=True, at=current.accepted_at)
            self._log.info("serving", generation=current.number, workers=current.size)

    def _make_way(self, posts: Sequence[Post]) -> None:
        """Tell workers to finish what they have, because others serve."""
        self._dismiss(posts, self.roster.current.config.server.reload_drain, drain=True)

    def _dismiss(self, posts: Sequence[Post], seconds: float, *, drain: bool) -> None:
        for post in posts:
            post.leave_by = time.monotonic() + (seconds if post.ready else 0)  # it has no request, and may be stuck
            post.cell.leave(drain=drain)
            self.kill_worker(post.pid, signal.SIGTERM)

    # --- workers ---
    def manage_workers(self) -> None:
        """One look at everything that is due. Called by gunicorn after every signal and at least every second."""
        roster = self.roster
        now = time.monotonic()
        if self._examination and self._examination.overdue(now):
            self._examination.kill(overrun=True)
        self._settle(now)
        roster.current.size = self.num_workers
        self._dismiss(roster.surplus(), self.cfg.graceful_timeout, drain=False)
        while not self._stopping:
            generation = roster.missing(now)
            if generation is None:
                break
            self._fork(generation, now)
        for post in roster.overdue(now):
            self._log.error(
                "worker_killed", pid=post.pid, reason="did not start in time" if post.stays else "did not end"
            )
            self.kill_worker(post.pid, signal.SIGKILL)
        self._start_examination()

    def _fork(self, generation: Generation, now: float) -> None:
        try:
            post = self._post = self.roster.appoint(generation, self.worker_age + 1, now)
        except NoSlot as error:
            self._log.error("worker_not_started", message=str(error), retry_in=generation.failed(now))
            return
        former_cfg, self.cfg = self.cfg, generation.cfg  # what the base class makes the worker with
        # A signal that reaches the child before it has handlers of its own would be lost in its copy of our queue;
        # hooks.post_fork lets them through.
        mask = signal.pthread_sigmask(signal.SIG_BLOCK, self.SIGNALS)
        try:
            post.pid = self.spawn_worker()
        except OSError as error:
            self.roster.discharge(post, now)
            self._log.error("worker_not_started", message=str(error), retry_in=generation.failed(now))
        finally:
            self.cfg = former_cfg
            signal.pthread_sigmask(signal.SIG_SETMASK, mask)

    def appoint(self, worker: Any) -> None:
        """gunicorn's pre_fork: the worker that is about to be forked has the post prepared for it."""
        worker.post = self._post

    def kill_worker(self, pid: int, sig: int) -> None:
        """Send a signal; what it does is seen when the worker is reaped."""
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, sig)

    def reap_workers(self) -> None:
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if not pid:
                return
            if self._examination and pid == self._examination.pid:
                self._examined(self._examination.finish(status))
                continue
            worker = self.WORKERS.pop(pid, None)
            if worker is not None:
                self._reaped(worker, status)

    def _reaped(self, worker: Any, status: int) -> None:
        post: Post = worker.post
        now = time.monotonic()
        code = os.waitstatus_to_exitcode(status)
        expected = self._stopping or not post.stays
        note = self._log.info if code == 0 or expected else self._log.error
        how = logger.how_it_ended(code)
        note("worker_ended", pid=worker.pid, generation=post.generation.number, slot=post.slot, how=how)
        was_ready = post.ready
        self.roster.discharge(post, now)
        worker.tmp.close()
        self.cfg.child_exit(self, worker)
        if not expected and not was_ready:
            self._failed_to_start(post, code)
        elif not expected and code and now < post.since + STEADY:
            post.generation.failed(now)

    def _failed_to_start(self, post: Post, code: int) -> None:
        roster, generation = self.roster, post.generation
        path, why = post.cell.failure or ("", _cause(post, code))
        if generation is roster.candidate:
            self._refuse(f"its workers do not start: {why}", path)
            self._make_way(roster.withdraw())
        elif roster.page.generation == 0 and code > 0:
            raise HaltServer(f"a worker could not start: {path}{path and ': '}{why}", code)
        else:
            self._log.error(
                "worker_start_failed",
                generation=generation.number,
                path=path,
                message=why,
                retry_in=generation.failed(time.monotonic()),
            )

    # --- the end ---
    def stop(self, graceful: bool = True) -> None:
        """Stop every worker, those that drain included; returns when none is left."""
        self._stopping = True
        self.roster.page.stop()
        if self._examination:
            self._examination.kill()
        seconds = self.cfg.graceful_timeout if graceful else QUICK
        for post in self.roster:
            post.leave_by = time.monotonic() + seconds
            post.cell.leave(drain=False)
        super().stop(graceful)


def _cause(post: Post, code: int) -> str:
    """Why a worker did not start that has told nothing, by its exit code."""
    how = logger.how_it_ended(code)
    if code < 0 and time.monotonic() > post.since + BOOT_LIMIT:
        return f"the first was not ready within {BOOT_LIMIT:g} s"
    return f"the first was ended by {how}" if code < 0 else f"the first ended with {how}; the log holds the reason"
