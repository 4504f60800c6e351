"""A backend in a process of its own that fails as it is told, and counts what reached it.

    with FaultBackend("a") as backend:
        backend.behave(answer(503), answer(503), OK)   # a step for each request; the last one stays
        ...  # requests to backend.url
        assert backend.tally().total == 3
        backend.behave(REFUSE)                         # the process is gone, to whoever connects
        backend.flap(0.5, OK, REFUSE)                  # in turn, each for half a second

Faults are injected at the backend itself and not in a proxy in front of it (toxiproxy, envoy's fault filter): what the
gateway meets is what was asked for, and what the backend counts is what the gateway sent. The process: fault_server.py.
"""

from __future__ import annotations

import dataclasses
import json
import subprocess
import sys
import threading
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Literal, Self

from tests.support.process import ROOT
from tests.support.wire import PortReservation, eventually

Stage = Literal["accept", "head", "body", "answer_head", "answer_body"]


@dataclass(frozen=True, slots=True)
class Fault:
    """How one request is treated; made by what follows."""

    kind: str
    stage: str = ""
    status: int = 200
    seconds: float = 0.0
    size: int = 0


def answer(status: int = 200, *, after: float = 0.0, size: int = 0) -> Fault:
    """A whole answer, so many seconds after the request: `X-Instance` and JSON (instance, method, target, headers,
    length and sha256 of the body); with `size` so many bytes instead."""
    return Fault("answer", status=status, seconds=after, size=size)


def reset(stage: Stage) -> Fault:
    """RST as soon as the connection stands, after the request's head or body, or within the answer's head or body."""
    return Fault("reset", stage=stage)


def drip(size: int, seconds: float) -> Fault:
    """200 at once, then a body of so many bytes over so many seconds."""
    return Fault("drip", size=size, seconds=seconds)


def truncated(framing: Literal["length", "chunked"], size: int = 1000) -> Fault:
    """200 and so many bytes of a longer body, then FIN: less than Content-Length says, or without the last chunk."""
    return Fault("truncated", stage=framing, size=size)


OK = answer()
HANG = Fault("hang")  # no answer, until `release` (then it is OK's) or until the client leaves
GARBAGE = Fault("garbage")  # bytes that are no HTTP
REFUSE = Fault("refuse")  # nobody listens, and what was connected is broken off


@dataclass(frozen=True, slots=True)
class Tally:
    """total: requests whose head arrived. in_flight: of these, still without an end of their answer; most_in_flight: at
    once. connections: accepted. A whole answer counts as ended just before its last byte is sent, so that a client who
    has it never finds it in flight; one that is broken off, soon after."""

    total: int
    in_flight: int
    most_in_flight: int
    connections: int


@dataclass(frozen=True, slots=True)
class Seen:
    """A request that arrived. at: monotonic seconds, the same clock in every process. ended: see `call.Received`."""

    at: float
    method: str
    target: str
    headers: list[list[str]]
    length: int
    sha256: str
    ended: str | None
    connection: int

    def values(self, name: str) -> list[str]:
        return [value for key, value in self.headers if key.lower() == name.lower()]


class FaultBackend:
    """Started by `with`; it ends with the block, or with this process. Safe in several threads."""

    def __init__(self, name: str) -> None:
        self.name = name
        self._reservation = PortReservation()  # it stays ours while nobody listens
        self.port = self._reservation.port
        self.url = f"http://127.0.0.1:{self.port}"
        self._lock = threading.Lock()  # guards the pipes: one command and its answer at a time
        self._process: subprocess.Popen[str] | None = None

    def __enter__(self) -> Self:
        command = [sys.executable, "-m", "tests.support.fault_server", "--name", self.name, "--port", str(self.port)]
        self._process = subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.tally()  # answered once it listens
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if self._process is not None:
            self._process.kill()
            with self._process:  # closes its pipes and waits
                pass
        self._reservation.release()

    # --- what it does ---
    def behave(self, *steps: Fault) -> None:
        """From now on: a step for each request, over all connections; the last one stays. REFUSE only alone."""
        assert steps and (len(steps) == 1 or REFUSE not in steps)
        self._command("behave", steps=[dataclasses.asdict(step) for step in steps])

    def flap(self, period: float, *faults: Fault) -> None:
        """From now on: these in turn, each for so many seconds."""
        self._command("flap", period=period, steps=[dataclasses.asdict(fault) for fault in faults])

    def release(self) -> None:
        """Let all that hang now answer."""
        self._command("release")

    def drop(self) -> None:
        """End every connection that is open, as a backend does that restarts: no pooled one is left."""
        self._command("drop")

    # --- what it saw ---
    def tally(self) -> Tally:
        return Tally(**self._command("tally"))

    @property
    def total(self) -> int:
        return self.tally().total

    def forget(self) -> None:
        """Count from zero; what is in flight stays so."""
        self._command("forget")

    def times(self) -> list[float]:
        """When each request arrived: monotonic seconds."""
        return list(self._command("times"))

    def seen(self) -> list[Seen]:
        """The last thousand requests, in order of arrival."""
        return [Seen(**one) for one in self._command("seen")]

    def wait_for(self, *, total: int = 0, in_flight: int | None = None, timeout: float = 10.0) -> Tally:
        """Wait until at least so many came, and exactly so many are in flight."""

        def there() -> Tally | None:
            tally = self.tally()
            return tally if tally.total >= total and in_flight in (None, tally.in_flight) else None

        found: Tally = eventually(there, timeout, what=f"{total} requests at {self.name}, {in_flight} in flight")
        return found

    def _command(self, do: str, **arguments: Any) -> Any:
        process = self._process
        assert process is not None and process.stdin is not None and process.stdout is not None
        with self._lock:
            process.stdin.write(json.dumps({"do": do, **arguments}) + "\n")
            process.stdin.flush()
            line = process.stdout.readline()
        assert line, f"the backend {self.name} has ended"
        return json.loads(line)

    def __repr__(self) -> str:
        return f"FaultBackend({self.name!r}, {self.url})"
