"""`gateway demo`: two echo backends and the gateway, started together, stopped together."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

from gateway.config.load import load
from gateway.config.model import Listener
from gateway.config.problems import ConfigErrors

SERVICE: Final = "echo"
INSTANCES: Final = ("inst-1", "inst-2")
LOOK: Final = 0.2  # seconds between looks at the children and at signals
START_LIMIT: Final = 60.0  # seconds until both backends are registered
STOP_LIMIT: Final = 40.0  # seconds; the gateway's own limit (server.graceful_timeout) is usually shorter
TOGETHER: Final = 1.0  # seconds: a SIGTERM to a whole job comes twice, the second time from make, which passes it on
EX_CONFIG: Final = 78

_TRY = """
The gateway is ready: users come in on {external}, services and operators on {internal}. Try:

  curl {external}/echo/hello
  curl -X POST -d 'some text' '{external}/echo/upload?x=1'
  curl {internal}/services

Ctrl-C stops it.
"""


def run(file: Path, *, options: Sequence[str] = ()) -> int:
    """Start everything, tell what to try, wait, stop everything. `options` go to `gateway run`. The exit status."""
    try:
        config = load(file)
    except ConfigErrors as errors:
        print(errors, file=sys.stderr)
        return EX_CONFIG
    external, internal = _url(config.listeners.external), _url(config.listeners.internal)
    if external is None or internal is None:
        print(f"{file}: the demo needs a TCP bind on both listeners", file=sys.stderr)
        return EX_CONFIG
    signals = Signals()
    with contextlib.ExitStack() as started:
        command = [sys.executable, "-m", "gateway.cli", "run", str(file), *options]
        gateway = started.enter_context(child(command, signals))
        for instance in INSTANCES:
            echo = [sys.executable, "-m", "gateway.dev.echo", "--follow-stdin", "--service", SERVICE, "--id", instance]
            started.enter_context(child([*echo, "--register", internal], signals))
        until: float | None = time.monotonic() + START_LIMIT
        while gateway.poll() is None and not signals.count:
            if until is not None:
                if _registered(internal) >= len(INSTANCES):
                    print(_TRY.format(external=external, internal=internal), flush=True)
                    until = None
                elif time.monotonic() > until:
                    print("The backends are not registered; the log above should tell why.", file=sys.stderr)
                    until = None
            time.sleep(LOOK)
            signals.look()
    return 0 if signals.count else gateway.returncode


class Signals:
    """Counts what asks to end: the first stops everything in order, a second one later at once.

    When a terminal is closed, the kernel sends SIGHUP to the leader of its session alone. A shell passes it on to its
    jobs; make, where it leads (`xterm -e make run`), only waits for what it runs. So `look` looks at the terminal.
    """

    def __init__(self) -> None:
        self.count = 0
        self._since = 0.0  # monotonic seconds of the first
        self._terminal = select.poll()
        if os.isatty(0):
            self._terminal.register(0, 0)  # its end is told unasked
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, self._take)

    def look(self) -> None:
        if not self.count and self._terminal.poll(0):
            self._take()

    def _take(self, *_: Any) -> None:
        now = time.monotonic()
        if not self.count:
            self._since = now
        if not self.count or now - self._since > TOGETHER:
            self.count += 1


@contextlib.contextmanager
def child(command: Sequence[str], signals: Signals) -> Iterator[subprocess.Popen[bytes]]:
    """A process in a session of its own, so that a Ctrl-C reaches it once, through us. Stopped at the end of the block.

    Its standard input ends with this process, however that ends.
    """
    with subprocess.Popen(command, stdin=subprocess.PIPE, start_new_session=True) as process:  # noqa: S603  # our own
        try:
            yield process
        finally:
            process.terminate()
            until = time.monotonic() + STOP_LIMIT
            while process.poll() is None and signals.count < 2 and time.monotonic() < until:
                time.sleep(LOOK)
            with contextlib.suppress(ProcessLookupError):  # nothing of it is left
                os.killpg(process.pid, signal.SIGKILL)


def _registered(internal: str) -> int:
    """How many instances the service has, by the gateway's own account."""
    connection = http.client.HTTPConnection(urlsplit(internal).netloc, timeout=2.0)
    try:
        connection.request("GET", "/services")
        services = json.loads(connection.getresponse().read())["services"]
        return sum(len(service["instances"]) for service in services if service["name"] == SERVICE)
    except (OSError, http.client.HTTPException, ValueError, KeyError, TypeError):
        return 0
    finally:
        connection.close()


def _url(listener: Listener | None) -> str | None:
    """Where to reach a listener from this machine; None when it has no TCP bind."""
    for bind in listener.bind if listener else ():
        host, _, port = bind.rpartition(":")
        if not bind.startswith("unix:"):
            local = {"0.0.0.0": "127.0.0.1", "": "127.0.0.1", "[::]": "[::1]"}.get(host, host)  # noqa: S104
            return f"http://{local}:{port}"
    return None
