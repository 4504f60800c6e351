"""The process of a `faults.FaultBackend`: a `FakeBackend` whose behaviour is looked up for each request.

Commands are lines of JSON on standard input, each answered by one on standard output; the end of input ends it.
"""

from __future__ import annotations

import argparse
import json
import os
import select
import socket
import sys
import threading
import time
from array import array
from collections import deque
from collections.abc import Callable
from itertools import cycle
from typing import Any

from tests.support import behaviours
from tests.support.backend import FakeBackend
from tests.support.call import Call, Ended, Received
from tests.support.faults import OK, Fault

KEPT = 1000  # requests that are remembered
_LOOK = 0.02  # seconds between two looks at what a hanging request waits for
_PIECES = 20  # a second, of a body that drips


class _Counts:
    """What arrived, whether the backend refused in between or not."""

    def __init__(self) -> None:
        self._lock = threading.Lock()  # guards all of it
        self._recent: deque[Received] = deque(maxlen=KEPT)
        self._times = array("d")
        self._in_flight = self._most = self._connections = 0

    def accepted(self) -> None:
        with self._lock:
            self._connections += 1

    def arrived(self, request: Received) -> None:
        with self._lock:
            self._recent.append(request)
            self._times.append(request.at)
            self._in_flight += 1
            self._most = max(self._most, self._in_flight)

    def ended(self) -> None:
        with self._lock:
            self._in_flight -= 1

    def forget(self) -> None:
        with self._lock:
            self._recent.clear()
            self._times = array("d")
            self._most = self._in_flight
            self._connections = 0

    def tally(self) -> dict[str, int]:
        with self._lock:
            return {
                "total": len(self._times),
                "in_flight": self._in_flight,
                "most_in_flight": self._most,
                "connections": self._connections,
            }

    def times(self) -> list[float]:
        with self._lock:
            return list(self._times)

    def seen(self) -> list[dict[str, Any]]:
        with self._lock:
            recent = list(self._recent)
        names = ("at", "method", "target", "headers", "length", "sha256", "ended", "connection")
        return [{name: getattr(one, name) for name in names} for one in recent]


class _Backend(FakeBackend):
    """Counted instead of kept for ever."""

    counts: _Counts

    def _note(self, request: Received) -> None:
        self.counts.arrived(request)


class _Visit:
    """A request from its head on; `over` once, just before the last byte of its answer or when it broke off."""

    def __init__(self, counts: _Counts) -> None:
        self._ended: Callable[[], None] | None = counts.ended

    def over(self) -> None:
        ended, self._ended = self._ended, None
        if ended is not None:
            ended()


class FaultServer:
    def __init__(self, name: str, port: int) -> None:
        self._name = name
        self._port = port
        self.counts = _Counts()
        self._lock = threading.Lock()  # guards _steps, _gate
        self._steps: deque[Fault] = deque([OK])
        self._gate = threading.Event()  # set: those that hang because of it answer
        self._flapping: tuple[threading.Event, threading.Thread] | None = None
        self._backend: _Backend | None = None  # None: refusing; owned by the commands, or by the flapping thread
        self._switch([OK])

    # --- commands ---
    def behave(self, steps: list[Fault]) -> None:
        self._stop_flapping()
        self._switch(steps)

    def flap(self, steps: list[Fault], period: float) -> None:
        self._stop_flapping()
        stop = threading.Event()
        self._switch(steps[:1])  # at once, so that whoever asked finds it so
        thread = threading.Thread(target=self._flap, args=(stop, steps, period), daemon=True)
        self._flapping = stop, thread
        thread.start()

    def release(self) -> None:
        with self._lock:
            gate, self._gate = self._gate, threading.Event()
        gate.set()

    def drop(self) -> None:
        if self._backend is not None:
            self._backend.drop_connections()

    def _stop_flapping(self) -> None:
        if self._flapping is not None:
            stop, thread = self._flapping
            stop.set()
            thread.join()
            self._flapping = None

    def _flap(self, stop: threading.Event, steps: list[Fault], period: float) -> None:
        turns = cycle(steps)
        next(turns)  # it has its turn
        due = time.monotonic() + period
        while not stop.wait(due - time.monotonic()):
            self._switch([next(turns)])
            due += period

    def _switch(self, steps: list[Fault]) -> None:
        with self._lock:
            self._steps = deque(steps)
        if steps[0].kind == "refuse":
            if self._backend is not None:
                self._backend.close()
                self._backend = None
        elif self._backend is None:
            self._backend = _Backend(self._behave, name=self._name, greeting=self._greet, port=self._port)
            self._backend.counts = self.counts
            self._backend.__enter__()

    # --- connections ---
    def _next(self) -> Fault:
        with self._lock:
            return self._steps.popleft() if len(self._steps) > 1 else self._steps[0]

    def _resets_connections(self) -> bool:
        with self._lock:
            return self._steps[0].stage == "accept"

    def _greet(self, call: Call) -> None:
        self.counts.accepted()
        if self._resets_connections():
            self._next()
            call.reset()

    def _behave(self, call: Call) -> None:
        if self._resets_connections():  # a connection from before
            self._next()
            call.reset()
            return
        call.head()
        visit = _Visit(self.counts)
        try:
            fault = self._next()
            getattr(self, f"_{fault.kind}")(call, fault, visit)
        finally:
            visit.over()

    # --- faults: methods named by kind ---
    def _answer(self, call: Call, fault: Fault, visit: _Visit) -> None:
        request = call.request()
        if fault.seconds:
            _wait(call, threading.Event(), fault.seconds)
        body = b"x" * fault.size or json.dumps(self._told(request)).encode()
        visit.over()
        call.answer(fault.status, [("Content-Type", "application/json"), ("X-Instance", self._name)], body)

    def _hang(self, call: Call, fault: Fault, visit: _Visit) -> None:
        with self._lock:
            gate = self._gate
        call.request()
        _wait(call, gate, 600.0)
        self._answer(call, OK, visit)

    def _reset(self, call: Call, fault: Fault, visit: _Visit) -> None:
        if fault.stage == "accept":
            call.reset()
        else:
            behaviours.reset_after(fault.stage)(call)

    def _drip(self, call: Call, fault: Fault, visit: _Visit) -> None:
        call.request()
        call.send(
            b"HTTP/1.1 200 OK\r\nX-Instance: %b\r\nContent-Length: %d\r\n\r\n" % (self._name.encode(), fault.size)
        )
        count = max(1, min(fault.size, int(fault.seconds * _PIECES)))
        for number in range(count):
            _wait(call, threading.Event(), fault.seconds / count)
            if number == count - 1:
                visit.over()
            call.send(b"x" * (fault.size * (number + 1) // count - fault.size * number // count))

    def _truncated(self, call: Call, fault: Fault, visit: _Visit) -> None:
        if fault.stage == "length":
            behaviours.truncated(2 * fault.size + 1, b"x" * fault.size)(call)
            return
        call.request()
        call.send(
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n%x\r\n%b\r\n" % (fault.size, b"x" * fault.size)
        )
        call.close()

    def _garbage(self, call: Call, fault: Fault, visit: _Visit) -> None:
        behaviours.garbage(call)

    def _refuse(self, call: Call, fault: Fault, visit: _Visit) -> None:
        call.reset()  # it was on its way while the listening socket closed

    def _told(self, request: Received) -> dict[str, Any]:
        return {
            "instance": self._name,
            "method": request.method,
            "target": request.target,
            "headers": request.headers,
            "length": request.length,
            "sha256": request.sha256,
        }


def _wait(call: Call, gate: threading.Event, seconds: float) -> None:
    """Until the gate opens or the time is over; Ended when the client leaves or the backend is closed before."""
    poll = select.poll()
    poll.register(call.sock, select.POLLIN)
    until = time.monotonic() + seconds
    while not gate.is_set() and (left := until - time.monotonic()) > 0:
        if poll.poll(min(left, _LOOK) * 1000):
            if not call.sock.recv(1, socket.MSG_PEEK):
                raise Ended
            gate.wait(min(left, _LOOK))  # it sent its next request ahead
        call.pause(0)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--name", required=True)
    parser.add_argument("--port", type=int, required=True)
    arguments = parser.parse_args()
    server = FaultServer(arguments.name, arguments.port)
    commands: dict[str, Callable[..., Any]] = {
        "behave": server.behave,
        "flap": server.flap,
        "release": server.release,
        "drop": server.drop,
        "tally": server.counts.tally,
        "times": server.counts.times,
        "seen": server.counts.seen,
        "forget": server.counts.forget,
    }
    for line in sys.stdin:
        command = json.loads(line)
        do = commands[command.pop("do")]
        if "steps" in command:
            command["steps"] = [Fault(**step) for step in command["steps"]]
        print(json.dumps(do(**command)), flush=True)
    os._exit(0)  # whoever wanted to know is gone


if __name__ == "__main__":
    main()
