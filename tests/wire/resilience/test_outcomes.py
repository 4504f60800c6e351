"""What becomes of each fault when there is one try: for the client, for the breaker, and in the access log."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support.faults import GARBAGE, HANG, REFUSE, Fault, FaultBackend, answer, drip, reset, truncated
from tests.support.servers import WORKER, Gateway
from tests.wire.scenarios.scale import SCALE

from .support import ROUTES, breaker, of_service, reason

pytestmark = pytest.mark.xdist_group("resilience-outcomes")

FAILURES = 5

# fault: status; the refusal's reasons, one of them, in the access log; whether the client gets a whole answer
OUTCOMES: dict[str, tuple[Fault, int, set[str | None], bool]] = {
    "refused": (REFUSE, 502, {"connect_refused"}, True),
    "reset-accept": (reset("accept"), 502, {"upstream_reset", "connect_refused"}, True),  # RST may overtake the connect
    "reset-head": (reset("head"), 502, {"upstream_reset"}, True),
    "reset-body": (reset("body"), 502, {"upstream_reset"}, True),
    "reset-answer-head": (reset("answer_head"), 502, {"upstream_reset"}, True),
    "reset-answer-body": (reset("answer_body"), 200, {"upstream_reset"}, False),
    "hang": (HANG, 504, {"upstream_timeout"}, True),
    "truncated-length": (truncated("length"), 200, {"upstream_reset"}, False),
    "truncated-chunked": (truncated("chunked"), 200, {"upstream_reset"}, False),
    "garbage": (GARBAGE, 502, {"bad_answer"}, True),
    "status-500": (answer(500), 500, {None}, True),
    "status-503": (answer(503), 503, {None}, True),
}
HARMLESS: dict[str, tuple[Fault, int]] = {
    "late": (answer(200, after=0.2), 200),
    "drip": (drip(20_000, 0.3), 200),
    "large": (answer(200, size=500_000), 200),
    "status-404": (answer(404), 404),
    "status-499": (answer(499), 499),
}


@pytest.fixture(scope="module", params=SCALE.workers)
def workers(request: pytest.FixtureRequest) -> int:
    return int(request.param)


@pytest.fixture(scope="module")
def gateway(workers: int) -> Iterator[Gateway]:
    settings = {
        "retries": {"attempts": 1},
        "breaker": {"failures": FAILURES, "open_for": "60s"},
        "timeouts": {"upstream": "400ms", "request": "5s"},
    }
    services = dict.fromkeys([*OUTCOMES, *HARMLESS, "recovers"], settings)
    with WORKER.serve({"services": services, "routes": ROUTES}, workers=workers) as started:
        yield started


@pytest.mark.parametrize("name", OUTCOMES)
def test_a_fault_is_told_counts_and_opens_the_breaker(gateway: Gateway, fresh: list[FaultBackend], name: str):
    fault, status, reasons, whole = OUTCOMES[name]
    backend = fresh[0]
    backend.behave(fault)
    gateway.register(name, "one", backend.url)
    for number in range(1, FAILURES + 1):
        with gateway.connect() as wire:
            told = wire.get(f"/{name}/x")
        assert (told.status, told.complete) == (status, whole)
        if whole and None not in reasons:
            assert told.json()["reason"] in reasons
            assert told.json()["instance"] == "one"
        line = gateway.access_line(told.value("X-Request-ID"))
        assert line["reason"] in reasons
        assert (line["status"], line["service"], line["instance"], line["attempts"]) == (status, name, "one", 1)
        assert breaker(gateway, name, "one")["failures"] == number
    gateway.wait_event("breaker_opened", service=name, instance="one")
    counted = backend.tally()
    refused = gateway.get(f"/{name}/x")
    assert (refused.status, reason(refused)) == (503, "circuit_open")
    assert 50 < int(refused.header("Retry-After") or 0) <= 60
    assert backend.tally() == counted
    assert of_service(gateway, name)["one"]["requests"] == FAILURES
    assert of_service(gateway, name)["one"]["in_flight"] == 0
    if fault not in (REFUSE, reset("accept")):
        assert counted.total == FAILURES


@pytest.mark.parametrize("name", HARMLESS)
def test_what_is_no_fault_leaves_the_breaker_alone(gateway: Gateway, fresh: list[FaultBackend], name: str):
    fault, status = HARMLESS[name]
    backend = fresh[0]
    backend.behave(fault)
    gateway.register(name, "one", backend.url)
    for _ in range(FAILURES + 1):
        with gateway.connect() as wire:
            told = wire.get(f"/{name}/x")
        assert (told.status, told.complete) == (status, True)
        line = gateway.access_line(told.value("X-Request-ID"))
        assert (line["status"], line["reason"], line["attempts"]) == (status, None, 1)
    assert breaker(gateway, name, "one")["failures"] == 0
    assert backend.total == FAILURES + 1


def test_failures_in_a_row_begin_anew_with_a_success(gateway: Gateway, fresh: list[FaultBackend]):
    backend = fresh[0]
    backend.behave(*[answer(503)] * (FAILURES - 1), answer(200), *[answer(503)] * FAILURES, answer(200))
    gateway.register("recovers", "one", backend.url)
    statuses = [gateway.get("/recovers/x").status for _ in range(2 * FAILURES)]
    assert statuses == [*[503] * (FAILURES - 1), 200, *[503] * FAILURES]
    assert breaker(gateway, "recovers", "one")["state"] == "open"
