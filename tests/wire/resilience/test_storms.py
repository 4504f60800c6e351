"""When every backend fails, retries must not become the load that keeps them down."""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest

from tests.support.faults import FaultBackend, answer
from tests.support.load import Call, Load
from tests.support.servers import WORKER
from tests.wire.scenarios.conftest import Figures
from tests.wire.scenarios.scale import SCALE

from .support import ROUTES, instances

HEALTHY, STORM = 3.0, 5.0  # seconds
RATE = 240  # requests a second
CALL = Call("get", "/echo/x", answer=b"*")


@pytest.mark.load
@pytest.mark.parametrize("workers", SCALE.storms)
def test_a_storm_costs_a_quarter_more_at_most(
    processes: Callable[..., list[FaultBackend]], figures: Figures, workers: int
):
    backends = processes("a", "b", "c")
    service = {"instances": instances(backends), "breaker": None, "retries": {"attempts": 3}}
    with WORKER.serve(
        {"logging": {"sample": "0%"}, "services": {"echo": service}, "routes": ROUTES}, workers=workers
    ) as gateway:
        with Load(gateway.external_port, [CALL], connections=16, rate=RATE) as load:
            time.sleep(HEALTHY)
            for backend in backends:
                backend.behave(answer(503))
            began = time.monotonic()
            time.sleep(STORM)
            ended = time.monotonic()
        report = load.report
    asked = [one for one in report.records if began <= one.began < ended]
    tried = sum(began <= at < ended for backend in backends for at in backend.times())
    before = [one for one in report.records if one.ended < began - 0.1]
    rate = len(asked) / (ended - began)
    figures(
        f"{workers} workers, {rate:.0f} requests/s failing: {tried} attempts for {len(asked)}, {tried / len(asked):.3f}"
    )
    assert [one for one in before if one.error] == []
    assert rate >= 200
    assert tried > len(asked)  # something was tried again
    assert tried <= 1.25 * len(asked)
