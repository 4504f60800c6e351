"""Health is the node's: one worker probes for all, what it finds outlives it, and an operator has the last word."""

from __future__ import annotations

import itertools
import os
import signal
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import pytest

from tests.support import behaviours
from tests.support.backend import Call, FakeBackend
from tests.support.process import eventually
from tests.support.servers import Gateway, Promise, Server

INTERVAL = 0.5
SLACK = 0.3  # seconds; for a machine that has other things to do
ACTIVE = {"interval": f"{INTERVAL}s", "timeout": "300ms", "healthy_after": 2, "unhealthy_after": 2}


class Backend(FakeBackend):
    """Well or ill as the test likes; probes: when each came, and from whom."""

    def __init__(self) -> None:
        self.well = True
        self.probes: list[float] = []
        self.gate = threading.Event()
        super().__init__(self._answer)

    def _answer(self, call: Call) -> None:
        request = call.request()
        if request.target == "/health":
            self.probes.append(time.monotonic())
            call.answer(200 if self.well else 503, (), b"")
        elif request.target.endswith("/held"):
            self.gate.wait(20)
            call.answer(200, (), b"held")
        else:
            call.answer(200, (), b"x")

    def probed_since(self, moment: float) -> list[float]:
        return [at for at in self.probes if at >= moment]


def config(services: dict[str, Any]) -> dict[str, Any]:
    return {"services": services, "routes": [{"id": "r", "path": "/{name}/*", "service": "{name}"}]}


def probed(*backends: FakeBackend, **active: Any) -> dict[str, Any]:
    instances = [{"id": f"i{at}", "url": one.url} for at, one in enumerate(backends)]
    return {"instances": instances, "health": {"active": {**ACTIVE, **active}}}


@pytest.fixture
def backend() -> Iterator[Backend]:
    with Backend() as started:
        yield started
        started.gate.set()


def shown(gateway: Gateway, service: str = "echo") -> list[dict[str, Any]]:
    return list(gateway.call("GET", f"/api/v1/services/{service}").json()["instances"])


def becomes(gateway: Gateway, state: str, service: str = "echo", at: int = 0) -> dict[str, Any]:
    """The instance, once it is in that state."""

    def there() -> dict[str, Any] | None:
        one = shown(gateway, service)[at]
        return one if one["state"] == state else None

    return dict(eventually(there, 10, what=state))


def steer(gateway: Gateway, action: str, instance: str = "i0", service: str = "echo") -> dict[str, Any]:
    reply = gateway.call("POST", f"/api/v1/services/{service}/instances/{instance}/{action}")
    assert reply.status == 200, reply
    return dict(reply.json())


def gap_is_kept(times: list[float], longest: float) -> bool:
    return all(after - before <= longest for before, after in itertools.pairwise(times))


# --- probing --------------------------------------------------------------------------------------------------------
@pytest.mark.worker_alone
def test_an_instance_is_probed_before_any_request_leaves_and_returns(server: Server, backend: Backend):
    with server.serve(config({"echo": probed(backend)})) as gateway:
        backend.wait_until(lambda: len(backend.probes) >= 2)
        assert shown(gateway)[0]["state"] == "up"
        backend.well = False
        assert becomes(gateway, "unhealthy")["reason"].endswith("probes failed: status 503")
        metrics = gateway.get("/metrics", internal=True).body
        assert b'gateway_instance_healthy{instance="i0",service="echo"} 0' in metrics
        backend.well = True
        assert becomes(gateway, "up")["reason"] is None
        assert {request.target for request in backend.requests} == {"/health"}


def test_an_instance_that_registers_later_is_probed_within_an_interval(server: Server, backend: Backend):
    with server.serve(config({"echo": probed()})) as gateway:
        began = time.monotonic()
        gateway.call("POST", "/register", {"service": "echo", "id": "late", "addr": backend.url})
        backend.wait_until(lambda: backend.probes)
        assert backend.probes[0] - began <= INTERVAL + SLACK


@pytest.mark.worker_alone
def test_a_tcp_probe_sees_a_listener_come_and_go(server: Server):
    with ExitStack() as stack:
        backend = stack.enter_context(FakeBackend(behaviours.hang))
        gateway = stack.enter_context(server.serve(config({"echo": probed(backend, type="tcp")})))
        backend.wait_until(lambda: backend.connections >= 2)
        assert shown(gateway)[0]["state"] == "up"
        backend.close()
        assert becomes(gateway, "unhealthy")["reason"].endswith("probes failed: refused")
        stack.enter_context(FakeBackend(behaviours.hang, port=backend.port))
        becomes(gateway, "up")


@pytest.mark.worker_alone
def test_instances_that_hang_do_not_delay_the_others(server: Server, backend: Backend):
    with ExitStack() as stack:
        hung = [stack.enter_context(FakeBackend(behaviours.hang)) for _ in range(8)]
        gateway = stack.enter_context(server.serve(config({"echo": probed(backend, *hung)})))
        becomes(gateway, "unhealthy", at=3)
        began = time.monotonic()
        backend.wait_until(lambda: len(backend.probed_since(began)) >= 4)
        assert gap_is_kept(backend.probed_since(began), INTERVAL * 1.1 + SLACK)
        assert Counter(one["state"] for one in shown(gateway)) == {"up": 1, "unhealthy": 8}
        assert {one["reason"].split(": ")[1] for one in shown(gateway)[1:]} == {"timed out"}


# --- one prober -----------------------------------------------------------------------------------------------------
@pytest.mark.worker_alone
def test_one_worker_probes_for_all(server: Server, backend: Backend):
    with server.serve(config({"echo": probed(backend)}), workers=4):
        backend.wait_until(lambda: backend.probes)
        began = time.monotonic()
        backend.wait_until(lambda: len(backend.probed_since(began)) >= 8)
        seen = backend.probed_since(began)
        assert (seen[7] - seen[0]) / 7 > INTERVAL * 0.85


@pytest.mark.worker_alone
@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGSTOP])
def test_when_the_probing_worker_dies_or_hangs_another_goes_on_within_two_intervals(
    server: Server, backend: Backend, how: signal.Signals
):
    """Which worker it is nobody tells: so each is ended once, and gets a successor."""
    with server.serve(config({"echo": probed(backend)}), workers=2) as gateway:
        backend.wait_until(lambda: len(backend.probes) >= 2)
        for pid in gateway.worker_pids:
            began = time.monotonic()
            os.kill(pid, how)
            try:
                backend.wait_until(lambda began=began: len(backend.probed_since(began)) >= 3)
            finally:
                if how is signal.SIGSTOP:
                    os.kill(pid, signal.SIGCONT)
            eventually(lambda: len(gateway.worker_pids) == 2, 10, what="two workers")
        assert gap_is_kept(backend.probes, 2 * INTERVAL + SLACK)


@pytest.mark.worker_alone
def test_a_reload_keeps_health_and_probes_with_its_own_settings(server: Server, backend: Backend):
    with server.serve(config({"echo": probed(backend)}), workers=2) as gateway:
        backend.well = False
        becomes(gateway, "unhealthy")
        steer(gateway, "drain")
        gateway.reload(config({"echo": probed(backend, path="/other")}))
        assert steer(gateway, "undrain")["state"] == "unhealthy"
        backend.wait_until(lambda: any(request.target == "/other" for request in backend.requests))
        time.sleep(INTERVAL)  # for what the old workers might still send
        count = len(backend.probes)
        becomes(gateway, "up")
        assert len(backend.probes) == count


@pytest.mark.worker_alone
def test_an_instance_at_another_address_starts_fresh(server: Server, backend: Backend):
    with server.serve(config({"echo": probed(backend)}), workers=2) as gateway, Backend() as other:
        backend.well = False
        becomes(gateway, "unhealthy")
        gateway.reload(config({"echo": probed(other)}))
        assert shown(gateway)[0]["state"] == "up"


# --- steering -------------------------------------------------------------------------------------------------------
@pytest.mark.needs(Promise.PROCESSES)
def test_a_drain_tells_what_is_left(server: Server, backend: Backend):
    with server.serve(config({"echo": probed(backend)})) as gateway:
        statuses: list[int] = []
        asking = threading.Thread(target=lambda: statuses.append(gateway.get("/echo/held").status))
        asking.start()
        eventually(lambda: shown(gateway)[0]["in_flight"] == 1, 10, what="in flight")
        found = steer(gateway, "drain")
        assert (found["state"], found["remaining"]) == ("draining", 1)
        backend.gate.set()
        asking.join(10)
        assert statuses == [200]
        eventually(lambda: shown(gateway)[0]["remaining"] == 0, 10, what="drained")
        assert steer(gateway, "undrain")["state"] == "up"
        gateway.wait_event(
            "audit", action="instance.drain", service="echo", instance="i0", who="127.0.0.1", with_token=False
        )
        gateway.wait_event("instance_draining", service="echo", instance="i0")


def test_steering_is_seen_by_all_workers_and_only_for_instances_that_are_there(server: Server, backend: Backend):
    with server.serve(config({"echo": probed(backend)})) as gateway:
        for action, state in [("disable", "disabled"), ("enable", "up"), ("drain", "draining"), ("undrain", "up")]:
            assert steer(gateway, action)["state"] == state
            assert {shown(gateway)[0]["state"] for _ in range(6)} == {state}
        for path in ("echo/instances/none/drain", "none/instances/i0/drain"):
            assert gateway.call("POST", f"/api/v1/services/{path}").status == 404
