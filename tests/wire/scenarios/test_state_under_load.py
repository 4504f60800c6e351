"""What shared state costs a request while the gateway is at 70 % of what it can do."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support import state_probe
from tests.support.load import Call, run
from tests.support.process import GatewayProcess

from .conftest import Figures
from .scale import SCALE

CALLS = [Call("get", "/echo/get")]
SHARE = 0.7
LIMIT = 2000.0  # microseconds, of p99.9


@pytest.mark.load
def test_hot_operations_take_two_milliseconds_at_most(tmp_path: Path, backends, figures: Figures) -> None:
    (backend,) = backends("echo")
    config = {
        "logging": {"sample": "0%"},
        "services": {"echo": {"instances": [{"id": "one", "url": backend.url}]}},
        "routes": [{"id": "echo", "path": "/echo/*", "service": "echo"}],
        "routing": {"function": "tests.support.state_probe:choose"},
    }
    with GatewayProcess(config, workers=2, env={"STATE_PROBE": str(tmp_path)}) as gateway:
        most = run(gateway.external_port, CALLS, SCALE.seconds, connections=32)
        before = state_probe.samples(tmp_path)
        report = run(gateway.external_port, CALLS, SCALE.seconds + 2, connections=32, rate=SHARE * most.rate)
        after = state_probe.samples(tmp_path)
    assert len(list(tmp_path.glob("*.samples"))) == 2
    tails = {}
    for name in state_probe.OPERATIONS:
        # Of each worker's file the first part was there before; of both together the slowest say it all the same.
        slow, fast = sorted(after[name]), sorted(before[name])
        assert len(slow) > len(fast)
        measured = _without(slow, fast)
        tails[name] = [measured[min(int(len(measured) * share), len(measured) - 1)] for share in (0.5, 0.99, 0.999, 1)]
    figures(
        f"at {report.rate:,.0f} of {most.rate:,.0f} requests/s, p50/p99/p99.9/max µs: "
        + ", ".join(f"{name} {'/'.join(f'{value:.1f}' for value in values)}" for name, values in tails.items())
    )
    assert most.failures == [] == report.failures
    for name, (_, _, p999, _) in tails.items():
        assert p999 <= LIMIT, name


def _without(values: list[float], others: list[float]) -> list[float]:
    """Sorted `values` without one of each of the sorted `others`, which it holds."""
    left, at = [], 0
    for value in values:
        if at < len(others) and others[at] == value:
            at += 1
        else:
            left.append(value)
    return left
