"""Who may call the admin API: programs, under a name that is the gateway's own, with the token where there is one."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support.servers import Gateway, Promise, Server

INSTANCE = {"service": "s", "id": "i", "addr": "http://127.0.0.1:9"}
GET = ["/services", "/api/v1/services/s", "/api/v1/breakers", "/api/v1/routes", "/api/v1/config", "/metrics"]
OPEN = ["/healthz", "/readyz"]


@pytest.fixture(scope="module")
def gateway(server: Server) -> Iterator[Gateway]:
    """Without tokens."""
    config = {
        "admin": {"hosts": ["gateway.internal", "*.ops.example"]},
        "services": {"s": {}},
        "routes": [{"id": "r", "path": "/r", "listeners": ["internal", "external"], "fixed_response": {}}],
    }
    with server.serve(config, workers=1) as started:
        yield started


@pytest.fixture(scope="module")
def guarded(server: Server) -> Iterator[Gateway]:
    """With both tokens, one of them beyond ASCII."""
    config = {
        "admin": {"token": "${ADMIN}", "register_token": "${REGISTER}"},
        "services": {"s": {}},
        "routes": [{"id": "r", "path": "/r", "listeners": ["internal"], "fixed_response": {}}],
    }
    with server.serve(config, workers=1, env={"ADMIN": "for-admins", "REGISTER": "für-services"}) as started:
        yield started


@pytest.fixture(scope="module")
def admins_only(server: Server) -> Iterator[Gateway]:
    with server.serve({"admin": {"token": "for-admins"}, "services": {"s": {}}, "routes": []}, workers=1) as started:
        yield started


def bearer(token: str, scheme: str = "Bearer") -> dict[str, str]:
    return {"Authorization": f"{scheme} {token}".encode().decode("latin-1")}


# --- tokens ---------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("path", [*GET, "/openapi.json"])
def test_admin_calls_need_the_admin_token(guarded: Gateway, path: str):
    for headers in ({}, bearer("wrong"), bearer("für-services"), bearer("for-admins", "Basic"), bearer("for-adminsx")):
        answer = guarded.get(path, internal=True, headers=headers)
        assert (answer.status, answer.json()["reason"]) == (401, "admin_token_required")
        assert (answer.header("WWW-Authenticate") or "").startswith("Bearer")
        assert "for-admins" not in answer.body.decode()
    assert guarded.get(path, internal=True, headers=bearer("for-admins")).status == 200
    assert guarded.get(path, internal=True, headers=bearer("for-admins", "bearer")).status == 200


@pytest.mark.parametrize("method", ["POST", "DELETE"])
def test_registering_takes_either_token(guarded: Gateway, method: str):
    document = INSTANCE if method == "POST" else {"service": "s", "id": "i"}
    for headers in ({}, bearer("wrong"), bearer("fur-services")):
        answer = guarded.call(method, "/register", document, headers=headers)
        assert (answer.status, answer.json()["reason"]) == (401, "admin_token_required")
    for token in ("für-services", "for-admins"):
        assert guarded.call(method, "/register", document, headers=bearer(token)).status == 204


def test_without_a_register_token_registering_needs_the_admin_token(admins_only: Gateway):
    assert admins_only.call("POST", "/register", INSTANCE).status == 401
    assert admins_only.call("POST", "/register", INSTANCE, headers=bearer("for-admins")).status == 204


@pytest.mark.parametrize("path", OPEN)
def test_health_and_readiness_need_no_token(guarded: Gateway, path: str):
    assert guarded.get(path, internal=True).status == 200


def test_routes_need_no_admin_token(guarded: Gateway):
    assert guarded.get("/r", internal=True).status == 200


def test_the_token_is_asked_for_before_the_body_is_read(guarded: Gateway):
    answer = guarded.request("POST", "/register", internal=True, body=b"{")
    assert answer.json()["reason"] == "admin_token_required"


# --- browsers -------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("origin", ["https://evil.example", "http://localhost:8001", "null", ""])
@pytest.mark.parametrize("path", [*GET, *OPEN])
def test_a_request_with_an_origin_is_refused(gateway: Gateway, path: str, origin: str):
    answer = gateway.get(path, internal=True, headers={"Origin": origin})
    assert (answer.status, answer.json()["reason"]) == (403, "origin_refused")


def test_a_registration_with_an_origin_registers_nobody(gateway: Gateway):
    answer = gateway.call("POST", "/register", INSTANCE, headers={"Origin": "http://127.0.0.1"})
    assert (answer.status, answer.json()["reason"]) == (403, "origin_refused")
    assert gateway.call("GET", "/api/v1/services/s").json()["instances"] == []


def test_routes_take_requests_with_an_origin(gateway: Gateway):
    headers = {"Origin": "https://app.example", "Host": "app.example"}
    assert gateway.get("/r", internal=True, headers=headers).status == 200


# --- hosts ----------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    "host",
    [
        "127.0.0.1", "127.0.0.1:8001", "10.1.2.3", "[::1]:8001", "[fe80::1]", "localhost", "LOCALHOST:1", "localhost.",
        "gateway.internal", "Gateway.Internal:8001", "one.ops.example",
    ],
)  # fmt: skip
def test_an_address_localhost_or_a_configured_name_is_answered(gateway: Gateway, host: str):
    assert gateway.get("/services", internal=True, headers={"Host": host}).status == 200


@pytest.mark.parametrize(
    "host", ["evil.example", "127.0.0.1.evil.example", "localhost.evil.example", "ops.example", "2130706433", "gateway"]
)
def test_another_name_is_refused(gateway: Gateway, host: str):
    for headers in ({"Host": host}, {"Host": host, "X-Forwarded-Host": "localhost"}):
        answer = gateway.get("/services", internal=True, headers=headers)
        assert (answer.status, answer.json()["reason"]) == (403, "host_refused")
        assert host in answer.json()["detail"]


@pytest.mark.needs(Promise.SOCKET)
def test_an_old_health_check_without_host_is_answered(gateway: Gateway):
    with gateway.connect(internal=True) as wire:
        wire.send("GET /healthz HTTP/1.0\r\n\r\n")
        assert wire.answer().status == 200


@pytest.mark.parametrize("method", ["PUT", "PATCH", "GET"])
def test_a_method_that_a_call_does_not_have_is_told_those_it_has(gateway: Gateway, method: str):
    answer = gateway.request(method, "/register", internal=True)
    assert (answer.status, answer.header("Allow")) == (405, "DELETE, POST")


def test_head_is_answered_like_get_without_a_body(gateway: Gateway):
    answer, head = (gateway.request(method, "/healthz", internal=True) for method in ("GET", "HEAD"))
    assert (head.status, head.body) == (200, b"")
    assert head.header("Content-Length") == answer.header("Content-Length")
