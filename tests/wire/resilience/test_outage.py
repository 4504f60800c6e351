"""Three instances under load; one hangs, one crashes and returns: who notices, and for how long."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import datetime
from typing import Any

import pytest

from tests.support.faults import HANG, OK, REFUSE, FaultBackend, answer
from tests.support.load import Call, Load, Record
from tests.support.servers import WORKER, Gateway
from tests.support.wire import eventually
from tests.wire.scenarios.conftest import Figures
from tests.wire.scenarios.scale import SCALE

from .support import ROUTES, instances, states

CONNECTIONS, RATE = 32, 400.0
HANGS, CRASHES, RETURNS, RETURNED = 1.5, 3.0, 7.0, 10.0  # seconds after the begin of the load
SERVICE = {"breaker": {"open_for": "1s"}, "timeouts": {"upstream": "500ms", "request": "3s"}}
SETTINGS: dict[str, Any] = {
    "defaults": SERVICE,
    "passive": {
        **SERVICE,
        "health": {"passive": {"failures": 2, "window": "5s", "retry_after": "1s"}},
        "retries": {"attempts": 3, "when": ["connect", "reset", "timeout", 502, 503, 504]},
    },
}
LEAVES = {"breaker_opened", "instance_unhealthy"}
RETURNS_AT = {"breaker_half_open", "instance_healthy"}


class Detection:
    """When each bad instance was known as such: from its breaker's opening, or its passive mark, to its next probe."""

    def __init__(self, gateway: Gateway) -> None:
        offset = time.monotonic() - time.time()
        self._spans: dict[str, list[list[float]]] = {"a": [], "b": []}
        for event in gateway.events:
            spans = self._spans.get(event.get("instance", ""))
            if spans is None or event["event"] not in LEAVES | RETURNS_AT:
                continue
            at = datetime.fromisoformat(event["time"]).timestamp() + offset
            if event["event"] in LEAVES:
                if not spans or spans[-1][1] < float("inf"):
                    spans.append([at, float("inf")])
            elif spans:
                spans[-1][1] = min(spans[-1][1], at)

    def first(self, instance: str) -> float:
        return self._spans[instance][0][0]

    def knows(self, instance: str, at: float) -> bool:
        """With a few milliseconds for the event on its way into the log."""
        return any(began + 0.02 <= at <= ended - 0.02 for began, ended in self._spans[instance])


@pytest.mark.load
@pytest.mark.parametrize(("name", "workers"), SCALE.outages)
def test_an_outage_costs_one_request_in_a_hundred_at_most(
    processes: Callable[..., list[FaultBackend]], figures: Figures, name: str, workers: int
):
    a, b, _ = backends = processes("a", "b", "c")
    for backend in backends:
        backend.behave(answer(after=0.003))
    service = {**SETTINGS[name], "instances": instances(backends)}
    config = {"logging": {"sample": "0%"}, "services": {"echo": service}, "routes": ROUTES}
    with WORKER.serve(config, workers=workers) as gateway:
        call = Call("get", "/echo/x", answer=b"*")
        with Load(gateway.external_port, [call], connections=CONNECTIONS, rate=RATE) as load:
            began = time.monotonic()

            def at(seconds: float) -> float:
                time.sleep(max(0.0, began + seconds - time.monotonic()))
                return time.monotonic()

            hangs = at(HANGS)
            a.behave(HANG)
            crashes = at(CRASHES)
            b.behave(REFUSE)
            returns = at(RETURNS)
            a.behave(OK)
            b.behave(OK)
            a.release()
            eventually(lambda: set(states(gateway, "echo").values()) == {"up"}, 10, what="all are back")
            back = time.monotonic()
            at(max(RETURNED, back - began + 1.0))
        report = load.report
        detection = Detection(gateway)
    found = {"a": detection.first("a") - hangs, "b": detection.first("b") - crashes}
    after = [one for one in report.records if one.began > detection.first("a")]
    lost = [one for one in after if one.error]

    def known(record: Record) -> bool:
        bad = [("a", hangs), ("b", crashes)]
        return all(record.ended < since or detection.knows(id, record.began) for id, since in bad)

    despite = [one for one in lost if known(one) and one.began < returns]
    again = {one.name: sum(back <= at < back + 1.0 for at in one.times()) for one in backends}
    figures(
        f"{name}, {workers} workers: {report}; found after {found['a']:.2f} s (hangs), {found['b']:.2f} s (crashed); "
        f"before that {len(report.failures) - len(lost)} failed, after it {len(lost)} of {len(after)}, "
        f"{len(despite)} while open; back {back - returns:.2f} s after the return, then {again}"
    )
    assert [one for one in report.records if one.error and one.began < hangs - 0.6] == []
    assert len(lost) <= 0.01 * len(after), report.errors
    assert despite == []
    assert [one for one in after if one.error and one.began > back] == []
    share = sum(again.values()) / 3
    assert all(0.7 * share < count < 1.3 * share for count in again.values())
