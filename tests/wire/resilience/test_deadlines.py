"""`timeouts.request` bounds all attempts together, and each backend is told what is left of it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support.faults import HANG, OK, FaultBackend, answer
from tests.support.process import Reply
from tests.support.servers import WORKER, Gateway
from tests.support.timing import ends_after

from .support import instances, reason

pytestmark = [pytest.mark.xdist_group("resilience-deadlines")]

HEADER = "X-Gateway-Deadline-Ms"
REQUEST = 2.0  # seconds
RETRIES = {"attempts": 3, "when": ["timeout", 503], "budget": "100%", "min_per_second": 1000, "backoff": "1ms"}


@pytest.fixture(scope="module")
def gateway(abc: list[FaultBackend]) -> Iterator[Gateway]:
    timeouts = {"request": f"{REQUEST}s", "upstream": "1500ms"}
    both = ["external", "internal"]
    config = {
        "services": {
            "echo": {"instances": instances(abc), "breaker": None, "retries": RETRIES, "timeouts": timeouts},
        },
        "routes": [
            {"id": "echo", "path": "/echo/*", "service": "echo", "listeners": both},
            {"id": "quick", "path": "/quick/*", "service": "echo", "timeouts": {"request": "500ms"}},
        ],
    }
    with WORKER.serve(config, workers=2) as started:
        yield started


def told(fresh: list[FaultBackend]) -> list[int]:
    """What each attempt was told, in order; each exactly once and an integer."""
    seen = sorted((one for backend in fresh for one in backend.seen()), key=lambda one: one.at)
    values = [one.values(HEADER) for one in seen]
    assert all(len(found) == 1 and found[0].isdecimal() for found in values), values
    return [int(found[0]) for found in values]


def get(gateway: Gateway, target: str = "/echo/x", value: str | None = None, **options: bool) -> Reply:
    return gateway.get(target, headers={} if value is None else {HEADER: value}, **options)


@pytest.mark.parametrize("internal", [False, True], ids=["external", "internal"])
def test_a_backend_is_told_what_is_left(gateway: Gateway, fresh: list[FaultBackend], internal: bool):
    assert get(gateway, internal=internal).status == 200
    (left,) = told(fresh)
    assert 0.75 * REQUEST * 1000 < left <= REQUEST * 1000


def test_a_route_s_own_time_counts(gateway: Gateway, fresh: list[FaultBackend]):
    assert get(gateway, "/quick/x").status == 200
    (left,) = told(fresh)
    assert 100 < left <= 500


def test_each_attempt_is_told_less(gateway: Gateway, fresh: list[FaultBackend]):
    for backend in fresh:
        backend.behave(answer(503, after=0.3))
    assert get(gateway).status == 503
    first, second, third = told(fresh)
    assert first <= REQUEST * 1000
    assert first - 300 >= second
    assert second - 300 >= third > 0


@pytest.mark.parametrize("spelling", [HEADER, HEADER.lower(), "X_Gateway_Deadline_Ms", "X.Gateway.Deadline.Ms"])
@pytest.mark.parametrize("value", ["1", "999999999", "soon"])
def test_a_client_s_own_is_replaced(gateway: Gateway, fresh: list[FaultBackend], spelling: str, value: str):
    assert gateway.get("/echo/x", headers={spelling: value}).status == 200
    (left,) = told(fresh)
    assert 0.75 * REQUEST * 1000 < left <= REQUEST * 1000
    (seen,) = (one for backend in fresh for one in backend.seen())
    folded = [name.lower().replace("_", "-").replace(".", "-") for name, _ in seen.headers]
    assert folded.count(HEADER.lower()) == 1


def test_a_service_s_own_shortens(gateway: Gateway, fresh: list[FaultBackend]):
    for backend in fresh:
        backend.behave(HANG)
    with ends_after(0.6):
        refused = get(gateway, value="600", internal=True)
    assert (refused.status, reason(refused)) == (504, "deadline_exceeded")
    assert 300 < told(fresh)[0] <= 600


@pytest.mark.parametrize("value", ["999999999", "2001", "99999999999999999999999"])
def test_a_service_s_own_never_lengthens(gateway: Gateway, fresh: list[FaultBackend], value: str):
    assert get(gateway, value=value, internal=True).status == 200
    (left,) = told(fresh)
    assert 0.75 * REQUEST * 1000 < left <= REQUEST * 1000


@pytest.mark.parametrize("value", ["soon", "", "-5", "1.5", "²"])
def test_what_is_no_number_says_nothing(gateway: Gateway, fresh: list[FaultBackend], value: str):
    with gateway.connect(internal=True) as wire:
        wire.send(f"GET /echo/x HTTP/1.1\r\nHost: localhost\r\n{HEADER}: {value}\r\n\r\n")
        assert wire.answer().status == 200
    (left,) = told(fresh)
    assert 0.75 * REQUEST * 1000 < left <= REQUEST * 1000


def test_all_attempts_together_end_in_time(gateway: Gateway, fresh: list[FaultBackend]):
    for backend in fresh:
        backend.behave(HANG)
    with ends_after(REQUEST):
        refused = get(gateway)
    assert (refused.status, reason(refused)) == (504, "deadline_exceeded")
    assert len(told(fresh)) == 2  # the first had 1500 ms


def test_slow_answers_that_are_tried_again_end_in_time(gateway: Gateway, fresh: list[FaultBackend]):
    for backend in fresh:
        backend.behave(answer(503, after=0.9))
    with ends_after(REQUEST):
        refused = get(gateway)
    assert refused.status == 504
    assert len(told(fresh)) == 3


def test_a_short_time_ends_on_time(gateway: Gateway, fresh: list[FaultBackend]):
    for backend in fresh:
        backend.behave(HANG)
    with ends_after(0.5):
        assert get(gateway, "/quick/x").status == 504
    for backend in fresh:
        backend.behave(OK)
    assert get(gateway, "/quick/x").status == 200
