from __future__ import annotations

import random
from collections import Counter

import pytest

from gateway.clock import FakeClock
from gateway.exchange import Exchange
from gateway.upstream.balancers.round_robin import RoundRobin
from gateway.upstream.slow_start import ramped
from tests.unit.upstream.support import counting, instances

EXCHANGE = Exchange({"REQUEST_METHOD": "GET"}, "external")


@pytest.mark.parametrize("passed", [0.0, 2.5, 5.0, 7.5, 10.0])
def test_the_share_of_an_instance_that_came_grows_in_a_line(passed: float) -> None:
    clock, among = FakeClock(), instances(1, 1, 1)
    settled, new = among[:2], among[2]
    choose = ramped(
        RoundRobin(counting()).prepare(among),
        RoundRobin(counting()).prepare(settled),
        {new.key: clock.monotonic()},
        10.0,
        now=clock.monotonic,
        chance=random.Random(7).random,
    )
    clock.advance(passed)
    found = Counter(choose(EXCHANGE).id for _ in range(6000))
    assert found["c"] == pytest.approx(2000 * passed / 10, abs=120)
    assert found["a"] == pytest.approx(found["b"], abs=120)
