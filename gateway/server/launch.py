"""From gunicorn's command line to a master that serves: what gunicorn.conf.py consists of.

    globals().update(launch.settings())

gunicorn executes that file once, at the start; a reload does not come here again.
"""

from __future__ import annotations

import signal
import sys
import time
from collections.abc import Iterable
from functools import partial
from pathlib import Path
from typing import Any, Final, NoReturn

import structlog

from gateway.admin.reserved import nothing_is_reserved
from gateway.config.examine import EX_CONFIG, examine
from gateway.config.model import Config, Listener
from gateway.config.problems import ConfigErrors
from gateway.server import hooks, listeners, logger, shared, tls
from gateway.server import settings as gunicorn_settings
from gateway.server.examination import Examination, Outcome
from gateway.server.master import GatewayArbiter
from gateway.server.preload import preload
from gateway.server.roster import Generation, Roster
from gateway.state.engines import StateError

EX_FAILURE: Final = 1


def settings() -> dict[str, Any]:
    """gunicorn's settings by the configuration file. Invalid: every error on stderr, and the process exits with 78."""
    hang_ups = HangUps()
    preload()
    path = gunicorn_settings.config_path()
    outcome = Examination(str(path), partial(_examined, path, None)).run()
    if outcome.config is None:
        _refuse((str(problem) for problem in outcome.problems), EX_CONFIG)
    logger.configure(outcome.config.logging)
    launch = Launch(path, outcome.config, hang_ups)
    return {
        **launch.ours,
        "on_starting": launch.on_starting,
        "pre_fork": hooks.pre_fork,
        "post_fork": hooks.post_fork,
        "post_worker_init": hooks.post_worker_init,
        "worker_exit": hooks.worker_exit,
    }


class HangUps:
    """Remembers a SIGHUP that comes while the gateway starts: it would kill a process without a handler."""

    def __init__(self) -> None:
        self._seen = False
        signal.signal(signal.SIGHUP, self._see)

    def _see(self, *_: Any) -> None:
        self._seen = True

    def __call__(self) -> bool:
        return self._seen


class Launch:
    """A start under way: the configuration is valid, nothing is bound or forked yet."""

    def __init__(self, path: Path, config: Config, hang_ups: HangUps) -> None:
        self.path = path
        self.config = config
        self.hang_ups = hang_ups
        self.stock = gunicorn_settings.stock_worker()
        self.ours = gunicorn_settings.of(config, stock=self.stock)

    def on_starting(self, server: Any) -> None:
        """gunicorn's hook: the arbiter becomes ours, unless something stands in the way."""
        log = structlog.get_logger("gateway.master")
        for problem in self.config.warnings:
            log.warning("configuration_warning", **logger.fields(problem))
        conflicts = gunicorn_settings.conflicts(server.cfg, self.ours, self.path)
        if self.stock and any(listener and listener.tls for listener in self._listeners()):
            conflicts.append("gunicorn's own worker cannot speak TLS on one of two listeners: leave GATEWAY_WORKER out")
        if conflicts:
            self._give_up(server, conflicts, EX_CONFIG)
        obstacles = listeners.obstacles(self.config, notice=lambda text: log.warning("listener_in_use", message=text))
        if obstacles:
            self._give_up(server, [f"{one}; bind another in {self.path}" for one in obstacles], EX_FAILURE)
        try:
            made = shared.prepare(self.config)
        except StateError as error:
            self._give_up(server, [str(error)], EX_FAILURE)
        try:
            contexts = tls.contexts(self.config)
        except ValueError as error:  # a file changed since it was examined
            self._give_up(server, [str(error)], EX_CONFIG)
        shared.raise_file_limit()
        now = time.monotonic()
        first = Generation(1, self.config, server.cfg, server.num_workers, time.time(), contexts)
        keep = gunicorn_settings.overridden(server.cfg, self.ours)
        GatewayArbiter.adopt(
            server,
            Roster(made.page, first, now),
            made,
            path=self.path,
            examine=partial(_examined, self.path),
            tailor=partial(gunicorn_settings.tailor, keep=keep, stock=self.stock),
            hung_up=self.hang_ups,
        )

    def _listeners(self) -> tuple[Listener | None, Listener | None]:
        return self.config.listeners.external, self.config.listeners.internal

    def _give_up(self, server: Any, reasons: Iterable[str], status: int) -> NoReturn:
        if server.pidfile is not None:
            server.pidfile.unlink()
        _refuse(reasons, status)


def _examined(path: Path, current: Config | None) -> Outcome:
    try:
        return Outcome(config=examine(path, current, also=(nothing_is_reserved,)))
    except ConfigErrors as errors:
        return Outcome(problems=errors.problems)


def _refuse(reasons: Iterable[str], status: int) -> NoReturn:
    for reason in reasons:
        print(f"gateway: {reason}", file=sys.stderr)  # noqa: T201  # there is no log yet, and an operator is looking
    sys.stderr.flush()
    sys.exit(status)
