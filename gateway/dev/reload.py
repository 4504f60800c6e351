"""`gateway run --reload`: SIGHUP when the configuration is edited, a restart when the code is. For development only."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

LOOK: Final = 0.5  # seconds between looks at the files
STOP_LIMIT: Final = 40.0

Stamp = dict[Path, tuple[int, int]]


def stamp(files: Iterable[Path]) -> Stamp:
    """Modification time and size of every file that is there."""
    found = {}
    for file in files:
        try:
            status = file.stat()
        except OSError:
            continue
        found[file] = (status.st_mtime_ns, status.st_size)
    return found


def configuration_of(file: Path) -> Callable[[], list[Path]]:
    """Lists the configuration and every other YAML file below its folder, which it may include."""
    return lambda: [file, *file.parent.rglob("*.yaml"), *file.parent.rglob("*.yml")]


def code_of(*folders: Path) -> Callable[[], list[Path]]:
    """Lists the Python files of the folders: of the gateway's package all, of others only the uppermost."""
    package = Path(__file__).resolve().parents[1]
    return lambda: [*package.rglob("*.py"), *(file for folder in folders for file in folder.glob("*.py"))]


class Supervisor:
    """Runs `command` until it ends or a signal comes; `look` once tells what an edit asks for."""

    def __init__(
        self,
        command: Sequence[str],
        env: Mapping[str, str],
        *,
        configuration: Callable[[], Iterable[Path]],
        code: Callable[[], Iterable[Path]],
    ) -> None:
        self._command = command
        self._env = env
        self._configuration, self._code = configuration, code
        self._seen = (stamp(configuration()), stamp(code()))
        self._child: subprocess.Popen[bytes] | None = None
        self._ending = False

    def look(self) -> str | None:
        """ "restart" after an edit of the code, "reload" after one of the configuration, None after none."""
        before, self._seen = self._seen, (stamp(self._configuration()), stamp(self._code()))
        if before[1] != self._seen[1]:
            return "restart"
        return "reload" if before[0] != self._seen[0] else None

    def run(self) -> int:
        """The exit status of the command. A command that fails is started again after the next edit."""
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGQUIT, signal.SIGHUP):
            signal.signal(number, self._forward)
        child = self._child = self._start()
        while True:
            time.sleep(LOOK)
            code = child.poll()
            if self._ending:
                if code is not None:
                    return code
                continue
            edit = self.look()
            if edit == "reload" and code is None:
                child.send_signal(signal.SIGHUP)
            elif edit:
                print("gateway: starting again after an edit", file=sys.stderr, flush=True)
                self._end(child)
                child = self._child = self._start()

    def _start(self) -> subprocess.Popen[bytes]:
        return subprocess.Popen(self._command, env=self._env, start_new_session=True)  # noqa: S603  # our own

    def _end(self, child: subprocess.Popen[bytes]) -> None:
        child.terminate()
        try:
            child.wait(STOP_LIMIT)
        except subprocess.TimeoutExpired:
            child.kill()
            child.wait()

    def _forward(self, number: int, *_: Any) -> None:
        self._ending = self._ending or number != signal.SIGHUP
        if self._child and self._child.poll() is None:
            self._child.send_signal(number)
