"""A real gateway in a process group of its own: gunicorn with the repository's gunicorn.conf.py, on free ports.

    with GatewayProcess({"services": {...}, "routes": [...]}, workers=2) as gateway:
        gateway.get("/echo/x").status
        gateway.reload({...})

A mapping is completed with listeners on `external_port` and `internal_port`, a state folder and `workers`, where it
does not say otherwise. A text is written as it is; it finds the ports in ${EXTERNAL_PORT} and ${INTERNAL_PORT}, and
relative paths are relative to `folder`. Leaving the block stops the gateway and kills whatever of it is left.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import yaml

from tests.support.wire import PortReservation, Reply, eventually, request

__all__ = ["BARE", "REAL", "ROOT", "GatewayProcess", "PortReservation", "Reply", "eventually", "request"]

ROOT = Path(__file__).resolve().parents[2]
REAL = (sys.executable, "-m", "gunicorn", "gateway.wsgi:app")
BARE = (sys.executable, "-m", "gunicorn", "tests.support.bare:app")  # the same master and workers without a pipeline


def _handles(pids: Iterable[int]) -> list[int]:
    """File descriptors that stand for these processes, whoever has their numbers later."""
    found = []
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            found.append(os.pidfd_open(pid))
    return found


class GatewayProcess:
    """See the module's text. `arguments` go behind gunicorn's command line; `env` is laid over the environment."""

    def __init__(
        self,
        config: Mapping[str, Any] | str,
        *,
        workers: int = 1,
        env: Mapping[str, str] | None = None,
        folder: Path | None = None,
        cwd: Path = ROOT,
        arguments: Iterable[str] = (),
        command: Iterable[str] = REAL,
    ) -> None:
        self._temporary = None if folder else tempfile.TemporaryDirectory(prefix="gateway-test-")
        self.folder = folder or Path(self._temporary.name)  # type: ignore[union-attr]
        self.config_path = self.folder / "gateway.yaml"
        self.log_path = self.folder / "gateway.log"
        self._reservations = [PortReservation(), PortReservation()]
        self.external_port, self.internal_port = (one.port for one in self._reservations)
        self._workers = workers
        self._command = [*command, *arguments]
        self._cwd = cwd
        self._env = dict(env or {})
        self.process: subprocess.Popen[bytes] | None = None
        self.write(config)

    # --- the configuration ---
    def write(self, config: Mapping[str, Any] | str) -> None:
        """Replace the configuration file in one step; the gateway looks at it at its next start or SIGHUP."""
        text = config if isinstance(config, str) else yaml.safe_dump(self._complete(config), sort_keys=False)
        staged = self.config_path.with_suffix(".new")
        staged.write_text(text)
        staged.replace(self.config_path)

    def _complete(self, config: Mapping[str, Any]) -> dict[str, Any]:
        whole: dict[str, Any] = {"version": 1, **config}
        planes = {"external": self.external_port, "internal": self.internal_port}
        given = whole.get("listeners") or {}
        whole["listeners"] = {
            plane: given.get(plane, {"bind": [f"127.0.0.1:{port}"]}) for plane, port in planes.items()
        }
        whole["server"] = {"workers": self._workers, **(whole.get("server") or {})}
        whole["state"] = {"path": str(self.folder / "state"), "max_size": "16MiB", **(whole.get("state") or {})}
        return whole

    # --- its life ---
    def start(self, *, wait: bool = True, timeout: float = 20.0) -> Self:
        """Start gunicorn; with `wait`, return once /readyz (or any answer, without an internal listener) is there."""
        env = {key: value for key, value in os.environ.items() if not key.startswith(("GATEWAY_", "GUNICORN"))}
        env |= {
            "GATEWAY_CONFIG": str(self.config_path),
            "EXTERNAL_PORT": str(self.external_port),
            "INTERNAL_PORT": str(self.internal_port),
            "PYTHONUNBUFFERED": "1",
            **self._env,
        }
        with self.log_path.open("ab") as log:
            self.process = subprocess.Popen(
                self._command, cwd=self._cwd, env=env, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                start_new_session=True,
            )  # fmt: skip
        if wait:
            self.wait_ready(timeout)
        return self

    def wait_ready(self, timeout: float = 20.0) -> None:
        """Wait for readiness; AssertionError with the log when the gateway ends before, or stays unready."""

        def ready() -> bool:
            code = self._running().poll()
            if code is not None:
                raise AssertionError(f"the gateway exited with {code}:\n{self.log_text}")
            return self.is_ready()

        try:
            eventually(ready, timeout, what="the gateway is ready")
        except AssertionError as error:
            raise AssertionError(f"{error}\n{self.log_text}") from None

    def is_ready(self) -> bool:
        try:
            if self.has_internal:
                return request(self.internal_port, "GET", "/readyz", timeout=2.0).status == 200
            return request(self.external_port, "GET", "/", timeout=2.0).status > 0
        except (OSError, http.client.HTTPException):
            return False

    @property
    def has_internal(self) -> bool:
        """Whether the file as written has an internal listener (a text is taken to have one when it names the port)."""
        text = self.config_path.read_text() if self.config_path.exists() else ""
        return "INTERNAL_PORT" in text or str(self.internal_port) in text

    def hup(self) -> None:
        self.signal(signal.SIGHUP)

    def reload(self, config: Mapping[str, Any] | str | None = None, *, timeout: float = 10.0) -> int:
        """Write `config` (None: leave the file), SIGHUP, wait until it takes every new connection; its generation."""
        before = self.readyz["last_reload"]
        if config is not None:
            self.write(config)
        self.hup()

        def reloaded() -> bool:
            report = self.readyz["last_reload"]
            if report == before:
                return False
            if not report["ok"]:
                raise RuntimeError(f"the reload was refused: {report['errors']}")
            return True

        eventually(reloaded, timeout, what="the reload")
        return self.generation

    @property
    def readyz(self) -> dict[str, Any]:
        reply = request(self.internal_port, "GET", "/readyz")
        assert b'"last_reload"' in reply.body, reply
        return dict(reply.json())

    @property
    def generation(self) -> int:
        return int(self.readyz["generation"])

    def signal(self, number: int) -> None:
        self._running().send_signal(number)

    def wait_exit(self, timeout: float = 20.0) -> int:
        """The master's exit status once it has ended."""
        try:
            return self._running().wait(timeout)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"still running after {timeout} s:\n{self.log_text}") from None

    def stop(self, timeout: float = 10.0) -> int | None:
        """SIGTERM, then SIGKILL for all that is left; the master's exit status, None if it was never started."""
        process, code = self.process, None
        if process is not None:
            workers = _handles(self.worker_pids)  # each may have a session, so a process group, of its own
            if process.poll() is None:
                process.terminate()
                try:
                    process.wait(timeout)
                except subprocess.TimeoutExpired:
                    process.kill()
            code = process.wait()
            with contextlib.suppress(ProcessLookupError):  # nothing of it is left, as it should be
                os.killpg(process.pid, signal.SIGKILL)
            for worker in workers:
                with contextlib.suppress(ProcessLookupError):
                    signal.pidfd_send_signal(worker, signal.SIGKILL)
                os.close(worker)
        for reservation in self._reservations:
            reservation.release()
        if self._temporary is not None:
            self._temporary.cleanup()
        return code

    def __enter__(self) -> Self:
        try:
            return self.start()
        except BaseException:
            self.stop()
            raise

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if error is not None:
            print(f"--- log of the gateway ---\n{self.log_text}", file=sys.stderr)
        self.stop()

    def _running(self) -> subprocess.Popen[bytes]:
        if self.process is None:
            raise RuntimeError("the gateway was not started")
        return self.process

    # --- what it is made of ---
    @property
    def pid(self) -> int:
        """The master."""
        return self._running().pid

    @property
    def worker_pids(self) -> list[int]:
        """Every child of the master, oldest first: the workers, draining ones included."""
        found = []
        for entry in Path("/proc").iterdir():
            if entry.name.isdigit():
                try:
                    fields = (entry / "stat").read_text().rpartition(")")[2].split()
                except OSError:
                    continue  # it ended meanwhile
                if int(fields[1]) == self.pid and fields[0] != "Z":
                    found.append((int(fields[19]), int(entry.name)))
        return [pid for _, pid in sorted(found)]

    # --- talking to it ---
    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.external_port}"

    @property
    def internal_url(self) -> str:
        return f"http://127.0.0.1:{self.internal_port}"

    def request(self, method: str, target: str, *, internal: bool = False, **options: Any) -> Reply:
        return request(self.internal_port if internal else self.external_port, method, target, **options)

    def get(self, target: str, **options: Any) -> Reply:
        return self.request("GET", target, **options)

    def register(self, service: str, instance: str, address: str, **more: Any) -> Reply:
        """POST /register on the internal listener."""
        body = json.dumps({"service": service, "id": instance, "addr": address, **more}).encode()
        headers = {"Content-Type": "application/json"}
        return self.request("POST", "/register", internal=True, headers=headers, body=body)

    # --- what it said ---
    @property
    def log_text(self) -> str:
        """Standard output and standard error, together."""
        return self.log_path.read_text(errors="replace") if self.log_path.exists() else ""

    @property
    def lines(self) -> list[str]:
        return self.log_text.splitlines()

    @property
    def events(self) -> list[dict[str, Any]]:
        """The log lines that are JSON objects."""
        found = []
        for line in self.lines:
            try:
                value = json.loads(line)
            except ValueError:
                continue
            if isinstance(value, dict):
                found.append(value)
        return found

    def wait_line(self, part: str, timeout: float = 10.0) -> str:
        """The first log line that contains `part`."""
        return str(eventually(lambda: next((line for line in self.lines if part in line), ""), timeout, what=part))

    def wait_event(self, event: str, timeout: float = 10.0, **fields: Any) -> dict[str, Any]:
        """The first JSON log line with this `event` and these fields."""

        def found() -> dict[str, Any] | None:
            for entry in self.events:
                if entry.get("event") == event and all(entry.get(key) == value for key, value in fields.items()):
                    return entry
            return None

        return dict(eventually(found, timeout, what=f"event {event} {fields or ''}"))
