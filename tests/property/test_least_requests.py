"""Least requests over any schedule of requests through several workers while instances come, leave and return."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.clock import FakeClock
from gateway.exchange import Exchange
from gateway.state.engines.memory import MemoryEngine
from gateway.state.operations.level import LIFT
from gateway.upstream.balancers.least_requests import LeastRequests
from tests.unit.upstream.balancers.support import FakeLoads
from tests.unit.upstream.support import counting, instances

EXCHANGE = Exchange({"REQUEST_METHOD": "GET"}, "external")
WORKERS = 3

steps = st.lists(
    st.one_of(
        st.tuples(st.just("requests"), st.integers(1, 30)),
        st.tuples(st.just("change"), st.integers(1, 31)),
        st.tuples(st.just("hear"), st.integers(0, WORKERS - 1)),  # one worker prepares; the others are late
    ),
    max_size=40,
)


@settings(deadline=None)
@given(st.lists(st.integers(1, 5), min_size=5, max_size=5), steps, st.integers(1, 31))
def test_whoever_comes_gets_its_share_once_all_workers_have_heard(
    weights: list[int], schedule: list[tuple[str, int]], last: int
) -> None:
    engine, loads, everyone = MemoryEngine(1 << 20, FakeClock()), FakeLoads(), instances(*weights)
    workers = [
        LeastRequests(counting(), loads, lambda key: engine.record(LIFT, f"level/{key}")) for _ in range(WORKERS)
    ]
    present = everyone[:1]
    choosers = [worker.prepare(present) for worker in workers]

    def hear(worker: int) -> None:
        choosers[worker] = workers[worker].prepare(present)

    def request(turn: int) -> str:
        found = choosers[turn % WORKERS](EXCHANGE).id
        loads.counts[found] = loads.counts.get(found, 0) + 1
        return found

    for step, number in [*schedule, ("change", last)]:
        if step == "change":
            present = [one for at, one in enumerate(everyone) if number >> at & 1]
            hear(0)
        elif step == "hear":
            hear(number)
        else:
            for turn in range(number):
                request(turn)
    for worker in range(WORKERS):
        hear(worker)
    level = {one.id: engine.record(LIFT, f"level/{one.key}").read()[1] for one in present}
    for turn in range(sum(weights)):
        found = request(turn)
        value = {one.id: (loads.counts.get(one.id, 0) + level[one.id]) / one.weight for one in present}
        one = next(one for one in present if one.id == found)
        assert value[found] - 1 / one.weight <= min(value.values()) + 1e-9  # it was the least before it was picked
    before = engine.version("registry")
    for worker in range(WORKERS):
        hear(worker)
    assert engine.version("registry") == before
