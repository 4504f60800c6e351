"""A configuration examined in a child process: read, validated, its modules imported, within a bounded time.

The child inherits everything by fork and sends the validated values back. So the master never imports a user's
module nor waits for one that hangs, handles signals while a large file is parsed, and cannot be killed by what is read.
"""

from __future__ import annotations

import gc
import math
import os
import pickle
import signal
import time
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import IO, Any

from gateway.config.model import Config
from gateway.config.problems import Problem
from gateway.server import logger

LIMIT = 30.0  # seconds for all of it


@dataclass(frozen=True, slots=True)
class Outcome:
    """Either a configuration or at least one problem."""

    config: Config | None = None
    problems: Sequence[Problem] = ()


class _Pickler(pickle.Pickler):
    """Frozen mappings have no pickle of their own."""

    def reducer_override(self, value: Any) -> Any:
        return (_frozen, (dict(value),)) if type(value) is MappingProxyType else NotImplemented


def _frozen(values: dict[Any, Any]) -> MappingProxyType[Any, Any]:
    return MappingProxyType(values)


class Examination:
    """One run of `examine` in a child process. `file` is only for messages. Whoever reaps children calls `finish`."""

    def __init__(self, file: str, examine: Callable[[], Outcome], *, limit: float = LIMIT) -> None:
        self._file = file
        self._examine = examine
        self._limit = limit
        self._overrun = False
        self._result: IO[bytes] | None = None
        self.pid = 0
        self.deadline = 0.0

    def start(self) -> None:
        """Fork. OSError: no process to be had."""
        result = self._result = os.fdopen(os.memfd_create("examination"), "w+b")
        self.deadline = time.monotonic() + self._limit
        # Signals that arrive while the child still has the master's handlers would be lost in its copy of the queue.
        former = signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
        try:
            self.pid = os.fork()
            if not self.pid:
                self._child(result)
        except OSError:
            result.close()
            raise
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, former)

    def _child(self, result: IO[bytes]) -> None:
        """Never returns."""
        status = 1
        try:
            gc.freeze()  # a collection that walked what the master made would copy all of that memory
            for number in (signal.SIGTERM, signal.SIGINT, signal.SIGQUIT, signal.SIGCHLD):
                signal.signal(number, signal.SIG_DFL)
            for number in (
                signal.SIGHUP,
                signal.SIGUSR1,
                signal.SIGUSR2,
                signal.SIGWINCH,
                signal.SIGTTIN,
                signal.SIGTTOU,
            ):
                signal.signal(number, signal.SIG_IGN)
            signal.signal(signal.SIGALRM, signal.SIG_DFL)
            signal.alarm(math.ceil(self._limit) + 1)  # it must end also when the master is gone
            signal.pthread_sigmask(signal.SIG_SETMASK, ())
            _Pickler(result, pickle.HIGHEST_PROTOCOL).dump(self._examine())
            result.flush()
            status = 0
        except BaseException:  # whatever it was, it ends here: the child must not run on as a second master
            traceback.print_exc()
        finally:
            os._exit(status)

    def overdue(self, now: float) -> bool:
        return now > self.deadline

    def kill(self, *, overrun: bool = False) -> None:
        """End it; `finish` still has to be called once it is reaped."""
        self._overrun = self._overrun or overrun
        os.kill(self.pid, signal.SIGKILL)

    def finish(self, status: int) -> Outcome:
        """What came out, by the child's wait status."""
        result, self._result = self._result, None
        if result is None:
            raise RuntimeError("the examination was not started, or has been finished before")
        with result:
            if self._overrun:
                return self._failed(
                    f"examining it took more than {self._limit:g} s: a module that it names does not return"
                )
            code = os.waitstatus_to_exitcode(status)
            if code:
                how = logger.how_it_ended(code)
                return self._failed(f"the process that examined it ended with {how}; what it said is in the log")
            result.seek(0)
            outcome = pickle.load(result)  # noqa: S301  # written by our own child, into memory nobody else has
            return outcome if isinstance(outcome, Outcome) else self._failed("the examination has no result")

    def run(self) -> Outcome:
        """Start it and wait: for a process that has nothing else to do yet."""
        self.start()
        while True:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid:
                return self.finish(status)
            if self.overdue(time.monotonic()) and not self._overrun:
                self.kill(overrun=True)
            time.sleep(0.005)

    def _failed(self, why: str) -> Outcome:
        return Outcome(problems=(Problem(file=self._file, why=why),))
