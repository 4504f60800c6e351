"""What the gateway tells of itself: health, readiness, routes, configuration, its API."""

from __future__ import annotations

import json
import re
import signal
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from typing import Any

import pytest

from tests.support import behaviours
from tests.support.backend import FakeBackend
from tests.support.process import eventually
from tests.support.servers import Gateway, Promise, Server
from tests.support.worker import Heard

SECRET = "a-secret-that-must-not-be-told"
ROUTES = [
    {"id": "all", "path": "/*", "service": "s"},
    {"id": "exact", "path": "/exact", "hosts": ["a.example"], "methods": ["GET"], "fixed_response": {"status": 418}},
    {"id": "split", "path": "/split", "split": [{"service": "s", "weight": 9}, {"service": "empty", "weight": 1}]},
]


@pytest.fixture(scope="module")
def backend() -> Iterator[FakeBackend]:
    with FakeBackend(behaviours.echo) as fake:
        yield fake


def config(backend: FakeBackend) -> dict[str, Any]:
    services = {"s": {"instances": [{"id": "one", "url": backend.url}]}, "empty": {}}
    return {"admin": {"token": SECRET}, "services": services, "routes": ROUTES}


@pytest.fixture(scope="module")
def gateway(server: Server, backend: FakeBackend) -> Iterator[Gateway]:
    with server.serve(config(backend)) as started:
        yield started


def told(gateway: Gateway, path: str) -> Any:
    return gateway.call("GET", path, headers={"Authorization": f"Bearer {SECRET}"}).json()


# --- health and readiness -------------------------------------------------------------------------------------------
def test_healthz_tells_that_the_process_answers(gateway: Gateway):
    answer = gateway.call("GET", "/healthz")
    assert (answer.status, answer.json()) == (200, {"status": "ok"})


def test_readyz_tells_how_the_gateway_stands(gateway: Gateway):
    answer = gateway.call("GET", "/readyz")
    assert answer.status == 200
    document = answer.json()
    assert set(document) == {"status", "generation", "routes", "instances", "last_reload"}
    assert (document["status"], document["routes"]) == ("ready", len(ROUTES))
    before = document["instances"]
    headers = {"Authorization": f"Bearer {SECRET}"}
    new = {"service": "new", "id": "one", "addr": "http://127.0.0.1:9"}
    gateway.call("POST", "/register", new, headers=headers)
    assert gateway.call("GET", "/readyz").json()["instances"] == before + 1
    gateway.call("DELETE", "/register", {"service": "new", "id": "one"}, headers=headers)


@pytest.mark.needs(Promise.PROCESSES)
def test_readyz_and_config_tell_of_reloads(server: Server, backend: FakeBackend):
    with server.serve(config(backend)) as gateway:
        start = gateway.readyz["last_reload"]
        assert (start["ok"], start["errors"]) == (True, [])
        first = told(gateway, "/api/v1/config")
        assert gateway.reload() == 2
        assert (gateway.readyz["last_reload"]["ok"], gateway.readyz["last_reload"]["errors"]) == (True, [])
        second = told(gateway, "/api/v1/config")
        assert (first["generation"], second["generation"], first["digest"]) == (1, 2, second["digest"])
        gateway.write({**config(backend), "routes": [{"id": "bad"}]})
        gateway.hup()
        eventually(lambda: gateway.readyz["last_reload"]["ok"] is False, what="the refusal")
        assert gateway.call("GET", "/readyz").status == 200  # the configuration before serves
        (error,) = [one for one in gateway.readyz["last_reload"]["errors"] if one["path"] == "routes[0].path"]
        assert error["line"] > 0
        assert error["message"]
        after = told(gateway, "/api/v1/config")
        assert (after["generation"], after["last_reload"]["ok"]) == (2, False)
        assert [route["id"] for route in told(gateway, "/api/v1/routes")["routes"]][-1] == "all"


@pytest.mark.needs(Promise.DRAINS)
def test_readyz_is_503_while_the_gateway_drains(server: Server):
    gate = threading.Event()
    with FakeBackend(behaviours.held(gate)) as backend, server.serve(config(backend), workers=1) as gateway:
        with gateway.connect(internal=True) as wire, ThreadPoolExecutor(1) as pool:

            def ask() -> Heard:
                wire.send("GET /readyz HTTP/1.1\r\nHost: localhost\r\n\r\n")
                return wire.answer()

            held = pool.submit(gateway.get, "/held", timeout=30)
            backend.wait_until(lambda: backend.requests)
            assert ask().status == 200
            gateway.signal(signal.SIGTERM)
            # The master tells first; a moment later the worker knows, and says so on the connection, too.
            last = eventually(lambda: (found := ask()).value("Connection") and found, what="the worker's leave")
            assert (last.status, last.json()["status"], last.value("Connection")) == (503, "draining", "close")
            gate.set()
            assert held.result().status == 200
        assert gateway.wait_exit() == 0


# --- routes and configuration ---------------------------------------------------------------------------------------
def test_routes_are_told_in_the_order_in_which_they_are_matched(gateway: Gateway):
    rows = told(gateway, "/api/v1/routes")["routes"]
    assert [row["id"] for row in rows] == ["exact", "split", "all"]
    assert {"match": "exact", "hosts": ["a.example"], "methods": ["GET"], "service": None}.items() <= rows[0].items()
    assert rows[0]["fixed_response"]["status"] == 418
    assert rows[1]["split"] == [{"service": "s", "weight": 9}, {"service": "empty", "weight": 1}]
    assert (rows[2]["match"], rows[2]["path"], rows[2]["service"]) == ("prefix", "/*", "s")


def test_the_configuration_in_force_is_told_without_secrets(gateway: Gateway):
    document = told(gateway, "/api/v1/config")
    assert set(document) == {"generation", "digest", "loaded_at", "last_reload", "configuration"}
    assert re.fullmatch(r"[0-9a-f]{64}", document["digest"])
    assert datetime.fromisoformat(document["loaded_at"]).year >= 2024
    inside = document["configuration"]
    assert inside["admin"]["token"] == "***"
    assert inside["server"]["keepalive"] == "75s"
    assert [route["id"] for route in inside["routes"]] == [route["id"] for route in ROUTES]
    assert SECRET not in json.dumps(document)


def test_no_secret_is_in_the_log(gateway: Gateway):
    told(gateway, "/api/v1/config")
    assert SECRET not in gateway.log_text


# --- the API's own description --------------------------------------------------------------------------------------
def test_openapi_describes_every_call_and_what_it_answers(gateway: Gateway):
    document = told(gateway, "/openapi.json")
    assert document["openapi"].startswith("3.1")
    calls = {(method, path) for path, found in document["paths"].items() for method in found}
    assert calls == {
        ("post", "/register"), ("delete", "/register"), ("get", "/services"), ("get", "/api/v1/services/{service}"),
        ("get", "/api/v1/breakers"), ("get", "/api/v1/breakers/{service}/{instance}"),
        ("post", "/api/v1/breakers/{service}/{instance}"), ("get", "/api/v1/routes"),
        ("get", "/api/v1/config"), ("get", "/healthz"), ("get", "/readyz"), ("get", "/metrics"),
        ("get", "/openapi.json"),
        *(
            ("post", f"/api/v1/services/{{service}}/instances/{{id}}/{action}")
            for action in ("drain", "undrain", "disable", "enable")
        ),
    }  # fmt: skip
    for method, path in calls:
        operation = document["paths"][path][method]
        assert operation["summary"]
        assert {one["name"] for one in operation.get("parameters", [])} == set(re.findall(r"{(\w+)}", path))
        assert any(status.startswith("2") for status in operation["responses"])
        for answer in operation["responses"].values():
            assert answer["description"]
        if path == "/register":
            assert operation["requestBody"]["content"]["application/json"]["schema"]["type"] == "object"
    for reference in re.findall(r'"\$ref": "([^"]+)"', json.dumps(document)):
        found = document
        for key in reference.removeprefix("#/").split("/"):
            found = found[key]


@pytest.mark.parametrize(
    "path", ["/services", "/api/v1/services/s", "/api/v1/breakers", "/api/v1/breakers/s/one", "/api/v1/routes",
             "/api/v1/config", "/healthz", "/readyz"],
)  # fmt: skip
def test_answers_are_as_openapi_describes_them(gateway: Gateway, path: str):
    document = told(gateway, "/openapi.json")
    template = path.replace("/s/one", "/{service}/{instance}").replace("/services/s", "/services/{service}")
    answer = document["paths"][template]["get"]["responses"]["200"]
    conforms(told(gateway, path), answer["content"]["application/json"]["schema"])


def conforms(value: Any, schema: dict[str, Any]) -> None:
    """As much of JSON Schema as the description uses."""
    kinds = {"object": dict, "array": list, "string": str, "integer": int, "number": (int, float), "boolean": bool}
    wanted = schema.get("type", [])
    wanted = [wanted] if isinstance(wanted, str) else wanted
    if value is None and "null" in wanted:
        return
    assert not wanted or any(isinstance(value, kinds[one]) for one in wanted if one != "null"), (value, schema)
    assert value in schema.get("enum", [value])
    assert value == schema.get("const", value)
    if isinstance(value, dict) and "properties" in schema:
        assert set(schema.get("required", [])) <= set(value) <= set(schema["properties"]) | {"omitted", "file"}, value
        for name, inside in value.items():
            conforms(inside, schema["properties"].get(name, {}))
    if isinstance(value, list):
        for inside in value:
            conforms(inside, schema.get("items", {}))


def test_the_breakers_are_told(gateway: Gateway):
    one = told(gateway, "/api/v1/breakers/s/one")
    assert one in told(gateway, "/api/v1/breakers")["breakers"]
    assert (one["service"], one["instance"], one["state"], one["failures"]) == ("s", "one", "closed", 0)
    headers = {"Authorization": f"Bearer {SECRET}"}
    for path in ("/api/v1/breakers/s/two", "/api/v1/breakers/t/one"):
        assert gateway.call("GET", path, headers=headers).json()["reason"] == "not_found"
