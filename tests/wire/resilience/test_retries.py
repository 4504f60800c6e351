"""Another try at another instance: when, when not, and what of the request is sent again."""

from __future__ import annotations

import hashlib
import random
from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any

import pytest

from tests.support.faults import HANG, OK, REFUSE, Fault, FaultBackend, Seen, Stage, answer, reset, truncated
from tests.support.process import Reply
from tests.support.servers import WORKER, Gateway
from tests.wire.scenarios.scale import SCALE

from .support import ROUTES, instances, reason

pytestmark = [pytest.mark.xdist_group("resilience-retries")]

KEPT = 64 * 1024  # bytes of a body that can be sent again
AMPLE = {"budget": "100%", "min_per_second": 1000, "backoff": "1ms"}
RETRIED: dict[str, Fault] = {
    "refused": REFUSE,
    "reset-accept": reset("accept"),
    "reset-head": reset("head"),
    "reset-body": reset("body"),
    "reset-answer-head": reset("answer_head"),
    "502": answer(502),
    "503": answer(503),
    "504": answer(504),
}


@pytest.fixture(scope="module", params=SCALE.workers)
def workers(request: pytest.FixtureRequest) -> int:
    return int(request.param)


@pytest.fixture(scope="module")
def gateway(workers: int, abc: list[FaultBackend]) -> Iterator[Gateway]:
    common = {"breaker": None, "timeouts": {"upstream": "500ms", "request": "5s"}}

    def service(count: int, **retries: Any) -> dict[str, Any]:
        return {**common, "instances": instances(abc[:count]), "retries": {**AMPLE, **retries}}

    services = {
        "two": service(2, attempts=2),
        "three": service(3, attempts=3),
        "short": service(3, attempts=2),
        "alone": service(1, attempts=2),
        "once": service(2, attempts=1),
        "selected": service(2, attempts=2, when=["connect", 500], methods=["POST"]),
        "patient": service(2, attempts=2, when=["timeout"]),
    }
    with WORKER.serve({"services": services, "routes": ROUTES}, workers=workers) as started:
        yield started


def ask(gateway: Gateway, target: str, *, method: str = "GET", times: int = 6, **options: Any) -> list[Reply]:
    return [gateway.request(method, target, **options) for _ in range(times)]


def by_request(backends: list[FaultBackend]) -> dict[str, list[tuple[str, Seen]]]:
    """(instance, what it saw) of each request, by its id, in order of arrival."""
    found: dict[str, list[tuple[str, Seen]]] = {}
    for seen, name in sorted(((one, backend.name) for backend in backends for one in backend.seen()), key=_at):
        found.setdefault(seen.values("X-Request-ID")[0], []).append((name, seen))
    return found


def _at(pair: tuple[Seen, str]) -> float:
    return pair[0].at


# --- when -----------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("service", ["two", "three"])
@pytest.mark.parametrize("fault", RETRIED)
def test_a_get_is_tried_again_at_another_instance(
    gateway: Gateway, fresh: list[FaultBackend], fault: str, service: str
):
    fresh[0].behave(RETRIED[fault])
    answers = ask(gateway, f"/{service}/x", times=8)
    assert [one.status for one in answers] == [200] * 8
    assert "a" not in {one.header("X-Instance") for one in answers}
    attempts = Counter(gateway.access_line(one.header("X-Request-ID"))["attempts"] for one in answers)
    assert 2 in attempts
    assert max(attempts) == 2
    for tries in by_request(fresh).values():
        assert [name for name, _ in tries].count("a") <= 1
        assert len({seen.values("X-Request-ID")[0] for _, seen in tries}) == 1


@pytest.mark.parametrize(("service", "most"), [("short", 2), ("three", 3)])
def test_never_the_same_instance_while_another_is_to_be_had(
    gateway: Gateway, fresh: list[FaultBackend], service: str, most: int
):
    for backend in fresh:
        backend.behave(answer(503))
    assert {one.status for one in ask(gateway, f"/{service}/x", times=12)} == {503}
    tries = by_request(fresh)
    assert len(tries) == 12
    for request in tries.values():
        assert len(request) == len({name for name, _ in request}) == most


def test_two_dead_ones_of_three_cost_nobody_an_answer(gateway: Gateway, fresh: list[FaultBackend]):
    fresh[0].behave(REFUSE)
    fresh[1].behave(reset("body"))
    answers = ask(gateway, "/three/x", times=12)
    assert {(one.status, one.header("X-Instance")) for one in answers} == {(200, "c")}


def test_the_only_instance_is_asked_again(gateway: Gateway, fresh: list[FaultBackend]):
    fresh[0].behave(answer(503), OK)
    assert gateway.get("/alone/x").status == 200
    assert fresh[0].total == 2


def test_the_last_answer_is_the_client_s(gateway: Gateway, fresh: list[FaultBackend]):
    for backend in fresh:
        backend.behave(answer(503))
    got = gateway.get("/two/x")
    assert (got.status, reason(got)) == (503, None)
    assert got.json()["instance"] in ("a", "b")


# --- when not -------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("fault", RETRIED)
def test_with_one_attempt_nothing_is_tried_again(gateway: Gateway, fresh: list[FaultBackend], fault: str):
    fresh[0].behave(RETRIED[fault])
    statuses = Counter(one.status for one in ask(gateway, "/once/x", times=8))
    assert statuses[200] == 4
    assert fresh[1].total == 4


@pytest.mark.parametrize("fault", [answer(500), answer(404), HANG], ids=["500", "404", "timeout"])
def test_what_when_does_not_list_is_not_tried_again(gateway: Gateway, fresh: list[FaultBackend], fault: Fault):
    fresh[0].behave(fault)
    statuses = Counter(one.status for one in ask(gateway, "/two/x", times=4))
    assert statuses[200] == 2
    assert fresh[0].total == fresh[1].total == 2


def test_when_and_methods_are_the_operator_s(gateway: Gateway, fresh: list[FaultBackend]):
    fresh[0].behave(answer(500))
    assert {one.status for one in ask(gateway, "/selected/x", method="POST", body=b"x")} == {200}
    assert {one.status for one in ask(gateway, "/selected/x")} == {200, 500}
    fresh[0].behave(HANG)
    assert {one.status for one in ask(gateway, "/patient/x", times=2)} == {200}


@pytest.mark.parametrize("stage", ["head", "body", "answer_head"])
def test_a_post_that_was_sent_is_not_sent_again(gateway: Gateway, fresh: list[FaultBackend], stage: Stage):
    fresh[0].behave(reset(stage))
    answers = ask(gateway, "/two/x", method="POST", body=b"order")
    assert Counter(one.status for one in answers) == {200: 3, 502: 3}
    assert (fresh[0].total, fresh[1].total) == (3, 3)


@pytest.mark.parametrize("status", [502, 503, 504])
def test_a_post_that_was_answered_is_not_sent_again(gateway: Gateway, fresh: list[FaultBackend], status: int):
    fresh[0].behave(answer(status))
    assert Counter(one.status for one in ask(gateway, "/two/x", method="POST", body=b"order")) == {200: 3, status: 3}


def test_a_post_that_was_refused_is_sent_elsewhere(gateway: Gateway, fresh: list[FaultBackend]):
    fresh[0].behave(REFUSE)
    answers = ask(gateway, "/two/x", method="POST", body=b"order")
    assert {(one.status, one.header("X-Instance")) for one in answers} == {(200, "b")}
    assert {one.json()["sha256"] for one in answers} == {hashlib.sha256(b"order").hexdigest()}


@pytest.mark.parametrize("fault", [reset("body"), answer(503)], ids=["reset", "503"])
def test_a_post_with_an_idempotency_key_is_sent_again(gateway: Gateway, fresh: list[FaultBackend], fault: Fault):
    fresh[0].behave(fault)
    answers = ask(gateway, "/two/x", method="POST", body=b"order", headers={"Idempotency-Key": '"8e03978e"'})
    assert {(one.status, one.header("X-Instance")) for one in answers} == {(200, "b")}


@pytest.mark.parametrize("framing", ["length", "chunked"])
def test_an_answer_that_has_begun_is_broken_off(gateway: Gateway, fresh: list[FaultBackend], framing: Any):
    for backend in fresh:
        backend.behave(truncated(framing))
    for _ in range(4):
        with gateway.connect() as wire:
            told = wire.get("/two/x")
        assert (told.status, told.complete) == (200, False)
        assert gateway.access_line(told.value("X-Request-ID"))["attempts"] == 1
    assert fresh[0].total + fresh[1].total == 4


# --- what is sent again ---------------------------------------------------------------------------------------------
def body_of(size: int) -> bytes:
    return random.Random(size).randbytes(size)


def pieces(body: bytes) -> Iterator[bytes]:
    for at in range(0, len(body), 10_000):
        yield body[at : at + 10_000]


@pytest.mark.parametrize("chunked", [False, True], ids=["length", "chunked"])
@pytest.mark.parametrize("size", [0, 1, 1000, KEPT - 1, KEPT])
def test_a_body_is_sent_again_byte_for_byte(gateway: Gateway, fresh: list[FaultBackend], size: int, chunked: bool):
    fresh[0].behave(reset("body"))
    body = body_of(size)
    for _ in range(4):
        sent = pieces(body) if chunked else body
        got = gateway.request("PUT", "/two/x?y=1", body=sent, headers={"X-Own": "kept"})
        assert (got.status, got.header("X-Instance")) == (200, "b")
        told = got.json()
        assert (told["method"], told["target"], told["length"]) == ("PUT", "/two/x?y=1", size)
        assert told["sha256"] == hashlib.sha256(body).hexdigest()
        assert ["X-Own", "kept"] in told["headers"]
    assert fresh[0].total >= 1


@pytest.mark.parametrize("chunked", [False, True], ids=["length", "chunked"])
def test_a_larger_body_is_sent_once(gateway: Gateway, fresh: list[FaultBackend], chunked: bool):
    for backend in fresh:
        backend.behave(reset("body"))
    body = body_of(KEPT + 1)
    got = gateway.request("PUT", "/two/x", body=pieces(body) if chunked else body)
    assert (got.status, reason(got)) == (502, "upstream_reset")
    assert fresh[0].total + fresh[1].total == 1


def test_a_larger_body_that_nobody_has_seen_is_sent_elsewhere(gateway: Gateway, fresh: list[FaultBackend]):
    fresh[0].behave(REFUSE)
    body = body_of(10 * KEPT)
    answers = ask(gateway, "/two/x", method="POST", body=body, times=4)
    assert {one.status for one in answers} == {200}
    assert {one.json()["sha256"] for one in answers} == {hashlib.sha256(body).hexdigest()}


def test_a_retry_says_the_same_in_its_head(gateway: Gateway, fresh: list[FaultBackend]):
    for backend in fresh:
        backend.behave(answer(503))
    gateway.get("/three/x", headers={"X-Own": "kept", "Cookie": "a=b"})
    (tries,) = by_request(fresh).values()
    heads = [_without(seen.headers, "x-gateway-deadline-ms") for _, seen in tries]
    assert heads[0] == heads[1] == heads[2]


def _without(headers: list[list[str]], name: str) -> list[list[str]]:
    return [field for field in headers if field[0].lower() != name]


def test_connections_that_have_gone_stale_are_no_attempt(gateway: Gateway, fresh: list[FaultBackend]):
    ask(gateway, "/three/x", times=12)
    for backend in fresh:
        backend.drop()
    answers: list[Mapping[str, Any]] = [
        gateway.access_line(one.header("X-Request-ID")) for one in ask(gateway, "/three/x", times=12)
    ]
    assert {(one["status"], one["attempts"]) for one in answers} == {(200, 1)}
