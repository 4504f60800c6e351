"""gunicorn's log in the gateway's shape: its lines go through structlog, like everybody else's."""

from __future__ import annotations

import logging
import signal
import time
from typing import Any

from gunicorn import glogging

from gateway.config import model
from gateway.config.problems import Problem
from gateway.telemetry import logs
from gateway.telemetry.writer import LineWriter


class Logger(glogging.Logger):  # type: ignore[misc]
    """gunicorn's error log without its own handlers and formats. The access log is the edge's."""

    def _set_handler(self, log: logging.Logger, output: Any, fmt: Any, stream: Any = None) -> None:
        handler = logs.StdlibHandler()
        handler._gunicorn = True  # type: ignore[attr-defined]  # the mark by which setup() finds it to replace it
        for former in [one for one in log.handlers if getattr(one, "_gunicorn", False)]:
            log.removeHandler(former)
        log.addHandler(handler)


def configure(settings: model.Logging) -> None:
    """Log to standard error, each line at once: for the master, and for a worker until it has its pipeline."""
    logs.configure(settings, LineWriter(2).write, time.time)


def fields(problem: Problem) -> dict[str, Any]:
    """A problem as fields of a log line."""
    return {"file": problem.file, "line": problem.line, "path": problem.path, "message": problem.message}


def how_it_ended(code: int) -> str:
    """A process's exit code (`os.waitstatus_to_exitcode`) in words: "status 3", or the signal, "SIGKILL"."""
    if code >= 0:
        return f"status {code}"
    try:
        return signal.Signals(-code).name
    except ValueError:  # a real-time signal
        return f"signal {-code}"
