"""One refusal contract: whatever the gateway refuses tells why in the answer, the log and the metrics, under one id."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from typing import Any

import pytest

from gateway.errors import catalogue
from tests.support import behaviours
from tests.support.backend import Call, FakeBackend, refusing_address, silent_address
from tests.support.process import Reply
from tests.support.servers import Gateway, Promise, Server
from tests.support.worker import Heard

SERVICES: dict[str, behaviours.Behaviour] = {
    "works": behaviours.echo,
    "resets": behaviours.reset,
    "garbage": behaviours.garbage,
    "long-head": behaviours.answer(200, [("X-Long", "x" * 70_000)]),
    "hangs": behaviours.hang,
    "out-of-time": behaviours.hang,
    "broken": behaviours.answer(500),
}
TIMEOUTS = {"hangs": {"upstream": "100ms"}, "out-of-time": {"request": "100ms"}, "silent": {"connect": "100ms"}}


def no_tls(call: Call) -> None:
    call.send(b"HTTP/1.1 400 this port speaks no TLS\r\n\r\n")


@pytest.fixture(scope="module")
def gateway(server: Server) -> Iterator[Gateway]:
    with ExitStack() as stack:
        urls = {name: stack.enter_context(FakeBackend(one)).url for name, one in SERVICES.items()}
        urls["tls"] = stack.enter_context(FakeBackend(behaviours.hang, greeting=no_tls)).url.replace("http:", "https:")
        urls["refuses"] = "http://{}:{}".format(*stack.enter_context(refusing_address()))
        urls["silent"] = "http://{}:{}".format(*stack.enter_context(silent_address()))
        urls["nameless"] = "http://no-such-host.invalid:80"
        config = {
            "server": {
                "threads": 4,
                "request_head_timeout": "500ms",
                "client_idle": "500ms",
                "max_request_body": "10KiB",
                "max_request_line": "1KiB",
                "max_request_headers": {"count": 20, "size": "2KiB"},
            },
            "admin": {"token": "the-token"},
            "routing": {"function": "tests.support.hooks:choose"},
            "services": {
                "empty": {},
                "closed": {"registration": "off"},
                **{
                    name: {
                        "instances": [{"id": "one", "url": url}],
                        "timeouts": TIMEOUTS.get(name, {}),
                        "breaker": {"failures": 1} if name == "broken" else None,
                    }
                    for name, url in urls.items()
                },
            },
            "routes": [
                {"id": "only-put", "path": "/only-put", "methods": ["PUT"], "service": "works"},
                {"id": "any", "path": "/s/{name}/*", "service": "{name}"},
            ],
        }
        yield stack.enter_context(server.serve(config, workers=1))


# --- reachable through any server -----------------------------------------------------------------------------------
Case = Callable[[Gateway], Reply]
AUTHORIZED = {"Authorization": "Bearer the-token"}


def get(path: str, **headers: str) -> Case:
    return lambda gateway: gateway.get(path, headers={name.replace("_", "-"): value for name, value in headers.items()})


def admin(method: str, path: str, document: Any = None, **headers: str) -> Case:
    return lambda gateway: gateway.call(method, path, document, headers={**AUTHORIZED, **headers})


def registration(**changed: Any) -> dict[str, Any]:
    return {"service": "empty", "id": "i", "addr": "http://127.0.0.1:9", **changed}


def after_a_failure(gateway: Gateway) -> Reply:
    gateway.get("/s/broken/")
    return gateway.get("/s/broken/")


def came_back(gateway: Gateway) -> Reply:
    headers = gateway.get("/s/works/").json()["headers"]
    return gateway.get("/s/works/", headers={"Via": next(value for name, value in headers if name == "Via")})


ANYWHERE: dict[str, tuple[int, Case]] = {
    "bad_path": (400, get("/s/works/../x")),
    "bad_host": (400, get("/s/works/", Host="a/b")),
    "no_route": (404, get("/nowhere")),
    "unknown_service": (404, get("/s/nobody/")),
    "method_not_allowed": (405, get("/only-put")),
    "body_too_large": (413, lambda gateway: gateway.request("POST", "/s/works/", body=bytes(10241))),
    "internal_error": (500, get("/", X_Choose="(raise)")),
    "loop_detected": (508, came_back),
    "connect_refused": (502, get("/s/refuses/")),
    "name_unresolved": (502, get("/s/nameless/")),
    "tls_failed": (502, get("/s/tls/")),
    "upstream_reset": (502, get("/s/resets/")),
    "bad_answer": (502, get("/s/garbage/")),
    "answer_too_large": (502, get("/s/long-head/")),
    "no_instance": (503, get("/s/empty/")),
    "circuit_open": (503, after_a_failure),
    "connect_timeout": (504, get("/s/silent/")),
    "upstream_timeout": (504, get("/s/hangs/")),
    "deadline_exceeded": (504, get("/s/out-of-time/")),
    "invalid_body": (400, admin("POST", "/register", registration(weight=0))),
    "admin_token_required": (401, admin("GET", "/services", Authorization="Bearer wrong")),
    "origin_refused": (403, admin("GET", "/services", Origin="null")),
    "host_refused": (403, admin("GET", "/services", Host="evil.example")),
    "not_found": (404, admin("GET", "/api/v1/services/nobody")),
    "static_instance": (409, admin("POST", "/register", registration(service="works", id="one"))),
    "registration_off": (409, admin("POST", "/register", registration(service="closed"))),
    "wrong_content_type": (415, admin("POST", "/register", {}, **{"Content-Type": "text/plain"})),
}
INTERNAL = ("invalid_body", "admin_token_required", "origin_refused", "host_refused", "not_found", "static_instance",
            "registration_off", "wrong_content_type")  # fmt: skip


@pytest.mark.parametrize("reason", ANYWHERE)
def test_a_refusal_tells_why_everywhere(gateway: Gateway, reason: str):
    status, case = ANYWHERE[reason]
    keeps_the_contract(gateway, case(gateway), status, reason, "internal" if reason in INTERNAL else "external")


def test_a_body_in_chunks_that_is_too_large_is_refused(gateway: Gateway):
    answer = gateway.request("POST", "/s/works/", body=[bytes(6000)] * 2)
    keeps_the_contract(gateway, answer, 413, "body_too_large")


def test_an_instance_at_fault_is_named(gateway: Gateway):
    problem = gateway.get("/s/resets/").json()
    assert (problem["service"], problem["instance"]) == ("resets", "one")
    assert gateway.get("/s/empty/").json()["service"] == "empty"


@pytest.mark.parametrize("path", ["/nowhere", "/s/resets/", "/s/empty/"])
def test_a_refused_head_request_gets_the_headers_and_no_body(gateway: Gateway, path: str):
    head, whole = gateway.request("HEAD", path), gateway.get(path)
    assert (head.status, head.body, head.header("Content-Type")) == (whole.status, b"", "application/problem+json")
    assert head.header("Content-Length") == str(len(whole.body))


def test_what_a_backend_refuses_is_its_own(gateway: Gateway):
    with FakeBackend(behaviours.answer(404, [("Content-Type", "text/plain")], b"not here")) as backend:
        admin("POST", "/register", registration(id="own", addr=backend.url))(gateway)
        answer = gateway.get("/s/empty/")
        assert (answer.status, answer.body, answer.header("Content-Type")) == (404, b"not here", "text/plain")
        assert gateway.access_line(answer.header("X-Request-ID"))["reason"] is None
        admin("DELETE", "/register", {"service": "empty", "id": "own"})(gateway)


def test_all_connections_of_the_pool_in_use_is_told(server: Server):
    gate = threading.Event()
    with FakeBackend(behaviours.held(gate)) as backend:
        service = {
            "instances": [{"id": "one", "url": backend.url}],
            "pool": {"max_connections": 1},
            "timeouts": {"connect": "200ms"},
        }
        config = {"services": {"s": service}, "routes": [{"id": "r", "path": "/*", "service": "s"}]}
        with server.serve(config, workers=1) as gateway, ThreadPoolExecutor(1) as pool:
            held = pool.submit(gateway.get, "/")
            backend.wait_until(lambda: backend.requests)
            keeps_the_contract(gateway, gateway.get("/"), 503, "pool_exhausted")
            gate.set()
            assert held.result().status == 200
            assert gateway.get("/").status == 200


@pytest.mark.needs(Promise.PROCESSES)
def test_an_address_that_a_reload_forbids_is_connected_to_no_more(server: Server):
    config = {"services": {"s": {}}, "routes": [{"id": "r", "path": "/*", "service": "s"}]}
    with FakeBackend(behaviours.echo) as backend, server.serve(config, workers=1) as gateway:
        gateway.register("s", "one", backend.url)
        assert gateway.get("/").status == 200
        gateway.reload({**config, "admin": {"register_networks": ["10.0.0.0/8"]}})
        keeps_the_contract(gateway, gateway.get("/"), 502, "address_refused")


# --- what our worker refuses before there is a request -------------------------------------------------------------
START = "GET /s/works/?token=secret HTTP/1.1\r\n"
HOST = "Host: h\r\n"
MALFORMED = {
    "no request": "hello\r\n\r\n",
    "no version": "GET /\r\n\r\n",
    "two spaces": "GET  / HTTP/1.1\r\nHost: h\r\n\r\n",
    "bad version": "GET / HTTX/1.1\r\nHost: h\r\n\r\n",
    "bad method": "G@T / HTTP/1.1\r\nHost: h\r\n\r\n",
    "bare line feed": "GET / HTTP/1.1\nHost: h\n\n",
    "bare carriage return": f"{START}{HOST}X: a\rb\r\n\r\n",
    "folded line": f"{START}{HOST}X: 1\r\n 2\r\n\r\n",
    "space before the colon": f"{START}{HOST}Transfer-Encoding : chunked\r\n\r\n",
    "no colon": f"{START}{HOST}X\r\n\r\n",
    "no name": f"{START}{HOST}: x\r\n\r\n",
    "NUL": f"{START}{HOST}X: a\0b\r\n\r\n",
    "two lengths": f"{START}{HOST}Content-Length: 1\r\nContent-Length: 2\r\n\r\n",
    "equal lengths": f"{START}{HOST}Content-Length: 1\r\nContent-Length: 1\r\n\r\nx",
    "list of lengths": f"{START}{HOST}Content-Length: 1, 1\r\n\r\nx",
    "signed length": f"{START}{HOST}Content-Length: +1\r\n\r\nx",
    "length and chunks": f"{START}{HOST}Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "chunked twice": f"{START}{HOST}Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "chunks in HTTP/1.0": f"GET /s/works/ HTTP/1.0\r\n{HOST}Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "fragment": f"GET /#x HTTP/1.1\r\n{HOST}\r\n",
    "bad chunk size": f"POST /s/works/ HTTP/1.1\r\n{HOST}Transfer-Encoding: chunked\r\n\r\nzz\r\n",
    "chunk too long": f"POST /s/works/ HTTP/1.1\r\n{HOST}Transfer-Encoding: chunked\r\n\r\n1\r\nxyz\r\n0\r\n\r\n",
}
REFUSED_HEADS = {
    "no host": (400, "bad_host", f"{START}\r\n"),
    "two hosts": (400, "bad_host", f"{START}{HOST}{HOST}\r\n"),
    "length beyond the limit": (413, "body_too_large", f"{START}{HOST}Content-Length: 99999\r\n\r\n"),
    "length beyond reason": (413, "body_too_large", f"{START}{HOST}Content-Length: {'9' * 30}\r\n\r\n"),
    "long line": (414, "uri_too_long", f"GET /s/works/{'x' * 1100} HTTP/1.1\r\n{HOST}\r\n"),
    "long line without end": (414, "uri_too_long", f"GET /s/works/{'x' * 1100}"),
    "expectation": (417, "expectation_failed", f"{START}{HOST}Expect: a-miracle\r\n\r\n"),
    "many headers": (431, "headers_too_large", START + HOST + "X: 1\r\n" * 20 + "\r\n"),
    "long headers": (431, "headers_too_large", f"{START}{HOST}X: {'x' * 2100}\r\n\r\n"),
    "long headers without end": (431, "headers_too_large", f"{START}{HOST}X: {'x' * 2100}"),
    "other coding": (501, "not_supported", f"{START}{HOST}Transfer-Encoding: gzip, chunked\r\n\r\n"),
    "tunnel": (501, "not_supported", f"CONNECT h:443 HTTP/1.1\r\n{HOST}\r\n"),
    "HTTP/2": (501, "not_supported", f"GET / HTTP/2.0\r\n{HOST}\r\n"),
    "late head": (408, "client_timeout", START),
    "late body": (408, "client_timeout", f"POST /s/works/ HTTP/1.1\r\n{HOST}Content-Length: 5\r\n\r\nab"),
    **{name: (400, "malformed_request", head) for name, head in MALFORMED.items()},
}  # fmt: skip


@pytest.mark.needs(Promise.OWN_REFUSALS)
@pytest.mark.parametrize("case", REFUSED_HEADS)
def test_what_is_no_request_is_refused_in_the_same_words(gateway: Gateway, case: str):
    status, reason, head = REFUSED_HEADS[case]
    with gateway.connect() as wire:
        wire.send(head)
        answer = wire.answer()
        assert answer.value("Connection") == "close"
        assert wire.ended() == "closed"
    line = keeps_the_contract(gateway, answer, status, reason)
    if head.startswith(START):
        assert (line["method"], line["path"], line["query"]) == ("GET", "/s/works/", "token=***")
    assert (line["duration_ms"] >= 400) is (case in ("late head", "late body"))


@pytest.mark.needs(Promise.OWN_REFUSALS)
def test_a_trusted_proxys_request_id_is_kept_when_the_head_is_refused(gateway: Gateway):
    with gateway.connect() as wire:
        wire.send(f"{START}{HOST}X-Request-ID: from-nginx\r\nX-Forwarded-For: 203.0.113.9\r\nX : 1\r\n\r\n")
        problem = wire.answer().json()
    assert problem["request_id"] == "from-nginx"
    assert gateway.access_line("from-nginx")["client"] == "203.0.113.9"


# --- the catalogue --------------------------------------------------------------------------------------------------
ELSEWHERE = {
    "overloaded": "test_threads.py",
    "no_healthy_instance": "test_health.py",
    "pool_exhausted": "above",
    "address_refused": "above",
    "client_gone": "nobody reads that answer; its line: test_access_log.py",
    "cut_off": "nobody reads that answer; its line: test_access_log.py",
    "draining": "before a worker has begun and after its end, which no client gets to see; /readyz: test_health.py",
    "store_full": "test_store.py",
    "store_unavailable": "a broken disk: tests/contract/test_engines_start.py",
    "upstream_failed": "no class of its own raises it: it is the base of the others",
}


def test_every_reason_of_the_catalogue_is_shown_by_this_suite():
    shown = {*ANYWHERE, *(reason for _, reason, _ in REFUSED_HEADS.values())}
    assert shown & ELSEWHERE.keys() == set()
    assert shown | ELSEWHERE.keys() == {kind.reason for kind in catalogue()}


def keeps_the_contract(
    gateway: Gateway, answer: Reply | Heard, status: int, reason: str, plane: str = "external"
) -> dict[str, Any]:
    """What holds for every refusal; returns its line in the log."""
    problem = answer.json()
    header = answer.header if isinstance(answer, Reply) else answer.value
    assert (answer.status, problem["status"], problem["reason"]) == (status, status, reason), problem
    assert header("Content-Type") == "application/problem+json"
    assert header("Cache-Control") == "no-store"
    assert problem["type"] == f"urn:gateway:error:{reason}"
    assert problem["origin"] == "gateway"
    for name in ("title", "detail", "remedy"):
        assert isinstance(problem[name], str)
        assert problem[name]
    for secret in ("Traceback", "the-token", "on purpose"):
        assert secret not in str(problem)
    assert header("Retry-After") == (str(problem["retry_after"]) if "retry_after" in problem else None)
    assert header("X-Request-ID") == problem["request_id"]
    line = gateway.access_line(problem["request_id"])
    assert (line["status"], line["reason"], line["listener"]) == (status, reason, plane)
    metrics = gateway.get("/metrics", internal=True, headers=AUTHORIZED).body.decode()
    assert f'reason="{reason}"' in metrics
    return line
