"""One try, failures: 5, many workers: exactly so many requests are lost, exactly so many probes look again."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.support.faults import HANG, OK, REFUSE, Fault, FaultBackend, answer, reset
from tests.support.servers import WORKER, Gateway, at_once
from tests.support.wire import eventually

from .support import ROUTES, instances, of_service, reason, states

pytestmark = pytest.mark.xdist_group("resilience-exactness")

FAILURES = 5
PROBES = 3
OPEN_FOR = 1.0
DEAD: dict[str, Fault] = {"refusing": REFUSE, "resetting": reset("head"), "failing": answer(500)}


@pytest.fixture(scope="module", params=[2, 4])
def workers(request: pytest.FixtureRequest) -> int:
    return int(request.param)


@pytest.fixture(scope="module")
def gateway(workers: int, abc: list[FaultBackend]) -> Iterator[Gateway]:
    one_try = {"retries": {"attempts": 1}, "instances": instances(abc)}
    lasting = {**one_try, "breaker": {"failures": FAILURES, "open_for": "60s"}}
    returning = {
        **one_try,
        "breaker": {"failures": FAILURES, "open_for": f"{OPEN_FOR}s", "half_open_probes": PROBES},
        "timeouts": {"upstream": "20s"},
    }
    services = {
        **{f"{name}{suffix}": lasting for name in DEAD for suffix in ("", "-at-once")},
        "probed": returning,
        "alone": {**returning, "instances": instances(abc[:1])},
        "reopens": {**returning, "instances": instances(abc[:1])},
    }
    with WORKER.serve({"services": services, "routes": ROUTES}, workers=workers) as started:
        yield started


@pytest.mark.parametrize("service", DEAD)
def test_one_after_the_other_exactly_five_requests_reach_a_dead_instance(
    gateway: Gateway, fresh: list[FaultBackend], service: str
):
    fresh[1].behave(DEAD[service])
    statuses = Counter(gateway.get(f"/{service}/x").status for _ in range(60))
    assert statuses[200] == 60 - FAILURES
    assert of_service(gateway, service)["b"]["requests"] == FAILURES
    assert states(gateway, service) == {"a": "up", "b": "open", "c": "up"}
    if service != "refusing":
        assert fresh[1].total == FAILURES
    assert fresh[0].total + fresh[2].total == 60 - FAILURES


@pytest.mark.parametrize("service", DEAD)
def test_at_once_at_most_five_and_those_in_flight(gateway: Gateway, fresh: list[FaultBackend], service: str):
    threads = 16
    fresh[1].behave(DEAD[service])
    answers = at_once(threads * 15, lambda _: gateway.get(f"/{service}-at-once/x"), threads=threads)
    lost = sum(one.status != 200 for one in answers)
    assert FAILURES <= lost <= FAILURES + threads - 1
    assert of_service(gateway, f"{service}-at-once")["b"]["requests"] == lost


def opened(gateway: Gateway, service: str, backend: FaultBackend) -> None:
    backend.behave(answer(500))
    eventually(
        lambda: gateway.get(f"/{service}/x") and states(gateway, service)[backend.name] == "open", what="it is open"
    )
    backend.behave(HANG)
    backend.forget()
    eventually(lambda: states(gateway, service)[backend.name] == "half_open", what="the end of open_for", every=0.01)


def test_after_open_for_exactly_the_probes_reach_a_hanging_instance(gateway: Gateway, fresh: list[FaultBackend]):
    backend = fresh[0]
    opened(gateway, "alone", backend)
    with ThreadPoolExecutor(24) as pool:
        answers = [pool.submit(gateway.get, "/alone/x", timeout=30) for _ in range(24)]
        eventually(lambda: sum(one.done() for one in answers) == 24 - PROBES, what="the others are refused")
        assert {reason(one.result()) for one in answers if one.done()} == {"circuit_open"}
        tally = backend.tally()
        assert (tally.total, tally.in_flight) == (PROBES, PROBES)
        backend.behave(OK)
        backend.release()
        assert Counter(one.result().status for one in answers) == {503: 24 - PROBES, 200: PROBES}
    assert states(gateway, "alone") == {"a": "up"}


def test_others_serve_while_the_probes_hang(gateway: Gateway, fresh: list[FaultBackend]):
    opened(gateway, "probed", fresh[0])
    with ThreadPoolExecutor(12) as pool:
        answers = [pool.submit(gateway.get, "/probed/x", timeout=30) for _ in range(60)]
        eventually(lambda: sum(one.done() for one in answers) == 60 - PROBES, what="the others are served")
        assert {one.result().status for one in answers if one.done()} == {200}
        assert fresh[0].tally().most_in_flight == fresh[0].total == PROBES
        fresh[0].behave(OK)
        fresh[0].release()
        assert {one.result().status for one in answers} == {200}
    assert set(states(gateway, "probed").values()) == {"up"}


def test_one_failing_probe_ends_all_of_them(gateway: Gateway, fresh: list[FaultBackend]):
    backend = fresh[0]
    opened(gateway, "reopens", backend)
    with ThreadPoolExecutor(2) as pool:
        held = [pool.submit(gateway.get, "/reopens/x", timeout=30) for _ in range(2)]
        backend.wait_for(total=2)
        backend.behave(answer(500))
        assert gateway.get("/reopens/x").status == 500
        assert reason(gateway.get("/reopens/x")) == "circuit_open"
        backend.release()
        assert {one.result().status for one in held} == {200}
    # What the other probes say belongs to the phase before.
    assert states(gateway, "reopens")["a"] in ("open", "half_open")
