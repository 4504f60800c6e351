"""SIGTERM under load: what is in flight ends well and in time, the exit status is 0, and nothing is left."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import pytest

from tests.support.load import Call, Load
from tests.support.process import GatewayProcess
from tests.support.scenario_backend import BackendProcess
from tests.support.transfer import Download
from tests.support.wire import eventually

from .conftest import Figures
from .scale import MIB, SCALE

GRACE = 5.0
CALLS = [
    Call("get", "/echo/get"),
    Call("post", "/echo/post", "POST", b"x" * 2_000),
    Call("slow", "/echo/slow?sleep=1"),
]


def gateway_to(backend: BackendProcess) -> GatewayProcess:
    return GatewayProcess(
        {
            "server": {"graceful_timeout": f"{GRACE}s"},
            "logging": {"sample": "0%"},
            "services": {"echo": {"instances": [{"id": "one", "url": backend.url}]}},
            "routes": [{"id": "echo", "path": "/echo/*", "service": "echo"}],
        },
        workers=2,
    )


def left_of(group: int) -> list[int]:
    """Processes of a process group."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                fields = (entry / "stat").read_text().rpartition(")")[2].split()
            except OSError:
                continue
            if int(fields[2]) == group:
                found.append(int(entry.name))
    return found


@pytest.mark.load
def test_a_stop_under_load_lets_everything_in_flight_end_well(backends, figures: Figures) -> None:
    (backend,) = backends("echo")
    with gateway_to(backend) as gateway:
        with Load(gateway.external_port, CALLS, connections=32) as load:
            time.sleep(SCALE.seconds / 2)
            download = Download(gateway.external_port, "/echo/download", 10 * MIB, seconds=2.5)
            time.sleep(0.3)
            stopped = time.monotonic()
            gateway.signal(signal.SIGTERM)
            status = gateway.wait_exit(GRACE + 5)
            took = time.monotonic() - stopped
            left = left_of(gateway.pid)
        download.result()
        report = load.report
        in_flight = [record for record in report.records if record.began < stopped <= record.ended]
        lost = [record for record in report.failures if record.began < stopped]
        figures(
            f"stop under load: exit {status} after {took:.2f} s; {len(in_flight)} requests and a download in flight, "
            f"{len(lost)} lost; {len([r for r in report.records if r.began >= stopped and not r.error])} that came "
            f"later were served, too"
        )
        assert status == 0
        assert took <= GRACE + 1
        assert left == []
        assert lost == []
        assert len(in_flight) >= 5
        assert "Traceback" not in gateway.log_text
        gateway.start()  # ports and state folder are free again
        assert gateway.get("/echo/x").status == 200


@pytest.mark.load
def test_a_stop_during_the_drain_of_a_reload_ends_all_generations(backends, figures: Figures) -> None:
    (backend,) = backends("echo")
    with gateway_to(backend) as gateway:
        short = Download(gateway.external_port, "/echo/short", 10 * MIB, seconds=4)
        too_long = Download(gateway.external_port, "/echo/long", 10 * MIB, seconds=60)
        eventually(lambda: short.moved and too_long.moved)
        gateway.reload()
        gateway.reload()
        third = Download(gateway.external_port, "/echo/third", 10 * MIB, seconds=2)
        eventually(lambda: third.moved)
        workers = gateway.worker_pids
        assert len(workers) > 2
        stopped = time.monotonic()
        gateway.signal(signal.SIGTERM)
        status = gateway.wait_exit(GRACE + 8)
        took = time.monotonic() - stopped
        left = left_of(gateway.pid)
        short.result()
        third.result()
        with pytest.raises((AssertionError, OSError)):
            too_long.result(1)
    figures(f"stop during a drain: {len(workers)} workers of 2 or 3 generations, exit {status} after {took:.2f} s")
    assert status == 0
    assert GRACE - 0.5 <= took <= GRACE + 3
    assert left == []
    assert not any(os.path.exists(f"/proc/{pid}") for pid in workers)
