"""The least that a gateway's master and workers can serve: `gunicorn tests.support.bare:app` instead of gateway.wsgi.

For tests of processes, signals and reloads that a broken route must not fail. It answers every path with what its
worker is, and obeys: /sleep/SECONDS before the answer, /stream/SECONDS within it, and
`setup: tests.support.bare:NAME` for how its start goes wrong.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from gateway.config.model import Config
from gateway.plugin import Unresolved
from gateway.state.control import Runtime


def fails(*_: Any) -> None:
    """As `setup`: the worker's start raises."""
    raise RuntimeError("setup fails on purpose")


def cannot(*_: Any) -> None:
    """As `setup`: the worker's start tells what keeps it."""
    error = Unresolved("there is no licence")
    error.path = "setup"
    raise error


def hangs(*_: Any) -> None:
    """As `setup`: the worker's start takes a minute."""
    time.sleep(60)


def dies(*_: Any) -> None:
    """As `setup`: the worker kills itself."""
    os.kill(os.getpid(), 9)


class BareApplication:
    """A plain WSGI callable with the two calls that the server makes: start and stop."""

    config: Config
    runtime: Runtime

    def start(self, config: Config, runtime: Runtime) -> None:
        self.config, self.runtime = config, runtime
        if config.setup and config.setup.startswith("tests.support.bare:"):
            getattr(sys.modules[__name__], config.setup.partition(":")[2])()

    def stop(self) -> None:
        print("the application stopped", file=sys.stderr, flush=True)

    def __call__(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        page = self.runtime.page
        path = environ["PATH_INFO"]
        if path.startswith("/stream/"):
            start_response("200 OK", [("Content-Length", "8")])
            return self._stream(float(path.removeprefix("/stream/")))
        if path.startswith("/sleep/"):
            time.sleep(float(path.removeprefix("/sleep/")))
        told = {
            "pid": os.getpid(),
            "slot": self.runtime.slot,
            "routes": [route.id for route in self.config.routes],
            "generation": page.generation,
            "own_generation": self.runtime.generation,
            "last_reload": page.last_reload,
            "loaded_at": page.loaded_at,
            "plane": environ.get("gateway.plane"),
            "affinity": sorted(os.sched_getaffinity(0)),
            "workers": {
                slot: {"generation": cell.generation, "ready": cell.ready, "connections": cell.connections}
                for slot, cell in page.occupied()
            },
        }
        body = json.dumps(told).encode()
        starting = path == "/readyz" and not page.generation
        start_response(
            "503 Starting" if starting else "200 OK",
            [("Content-Type", "application/json"), ("Content-Length", str(len(body)))],
        )
        return [body]

    @staticmethod
    def _stream(seconds: float) -> Iterator[bytes]:
        yield b"begin"
        time.sleep(seconds)
        yield b"end"


app = BareApplication()
