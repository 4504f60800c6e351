"""Two listeners, told apart by the socket that a request came in on."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support import behaviours
from tests.support.backend import FakeBackend
from tests.support.servers import WORKER, Gateway, Promise, Server
from tests.support.worker import Wire

ADMIN = [
    ("POST", "/register"), ("DELETE", "/register"), ("GET", "/services"), ("GET", "/api/v1/services/echo"),
    ("GET", "/api/v1/breakers"), ("GET", "/api/v1/breakers/echo/a"), ("GET", "/api/v1/routes"),
    ("GET", "/api/v1/config"), ("GET", "/healthz"), ("GET", "/readyz"), ("GET", "/metrics"), ("GET", "/openapi.json"),
]  # fmt: skip
INSTANCE = {"service": "echo", "id": "b", "addr": "http://127.0.0.1:9"}


def fixed(name: str, **more: Any) -> dict[str, Any]:
    return {"id": name, "path": f"/{name}", "fixed_response": {"body": name}, **more}


@pytest.fixture(scope="module")
def backend() -> Iterator[FakeBackend]:
    with FakeBackend(behaviours.echo) as fake:
        yield fake


@pytest.fixture(scope="module")
def gateway(server: Server, backend: FakeBackend) -> Iterator[Gateway]:
    config = {
        "services": {"echo": {"instances": [{"id": "a", "url": backend.url}]}},
        "routes": [
            fixed("default"),
            fixed("inside", listeners=["internal"]),
            fixed("both", listeners=["external", "internal"]),
            {"id": "everything", "path": "/*", "hosts": ["everything.test"], "service": "echo"},
            {"id": "rest", "path": "/*", "listeners": ["internal"], "service": "echo"},
        ],
    }
    with server.serve(config) as started:
        yield started


def test_a_route_is_external_unless_it_says_otherwise(gateway: Gateway):
    assert gateway.get("/default").body == b"default"
    # On the internal listener another route takes it.
    assert gateway.get("/default", internal=True).json()["target"] == "/default"


def test_an_internal_route_is_not_there_for_users(gateway: Gateway):
    assert gateway.get("/inside", internal=True).body == b"inside"
    assert gateway.get("/inside").json()["reason"] == "no_route"


def test_a_route_may_be_on_both(gateway: Gateway):
    assert gateway.get("/both").body == gateway.get("/both", internal=True).body == b"both"


@pytest.mark.parametrize("method, path", ADMIN)
def test_admin_paths_do_not_exist_on_the_external_listener(gateway: Gateway, method: str, path: str):
    answer = gateway.call(method, path, INSTANCE if path == "/register" else None, internal=False)
    assert (answer.status, answer.json()["reason"]) == (404, "no_route")
    assert "b" not in [one["id"] for one in gateway.call("GET", "/services").json()["services"][0]["instances"]]


@pytest.mark.parametrize(
    "name, value",
    [
        ("Host", "127.0.0.1:{internal}"),
        ("X-Forwarded-Host", "127.0.0.1:{internal}"),
        ("X-Forwarded-Port", "{internal}"),
        ("Forwarded", 'for=127.0.0.1;host="127.0.0.1:{internal}"'),
        ("X-Gateway-Plane", "internal"),
        ("Gateway-Plane", "internal"),
    ],
)
def test_no_header_makes_a_request_internal(gateway: Gateway, name: str, value: str):
    headers = {name: value.replace("{internal}", str(gateway.internal_port))}
    assert gateway.get("/services", headers=headers).status == 404
    assert gateway.get("/inside", headers=headers).status == 404


def test_an_admin_path_is_a_path_like_any_other_on_the_external_listener(gateway: Gateway, backend: FakeBackend):
    answer = gateway.get("/services?x=1", headers={"Host": "everything.test"})
    assert answer.json()["target"] == "/services?x=1"


def test_the_admin_api_goes_before_routes_on_its_listener(gateway: Gateway):
    assert "services" in gateway.get("/services", internal=True).json()
    assert gateway.get("/services/more", internal=True).json()["target"] == "/services/more"


def test_the_log_tells_the_listener(gateway: Gateway):
    for internal, plane in ((False, "external"), (True, "internal")):
        answer = gateway.get("/both", internal=internal)
        assert gateway.access_line(answer.header("X-Request-ID"))["listener"] == plane


@pytest.mark.needs(Promise.SOCKET)
def test_an_absolute_url_of_the_internal_listener_is_external_on_the_external_one(gateway: Gateway):
    with gateway.connect() as wire:
        assert wire.get(f"http://127.0.0.1:{gateway.internal_port}/services").status == 404


# --- other arrangements ---------------------------------------------------------------------------------------------
def test_the_admin_api_may_be_on_the_external_listener(server: Server):
    config = {"admin": {"listeners": ["external"]}, "services": {}, "routes": [fixed("x", listeners=["internal"])]}
    with server.serve(config, workers=1) as gateway:
        assert gateway.call("POST", "/register", INSTANCE, internal=False).status == 204
        assert gateway.call("GET", "/services", internal=False).json()["services"][0]["name"] == "echo"
        assert gateway.get("/services", internal=True).json()["reason"] == "no_route"
        assert gateway.get("/x", internal=True).body == b"x"


@pytest.mark.needs(Promise.SOCKET)
def test_the_only_listener_may_carry_users_and_the_admin_api(server: Server):
    config = {
        "listeners": {"internal": None},
        "admin": {"listeners": ["external"]},
        "metrics": {"listeners": ["external"]},
        "services": {"echo": {}},
        "routes": [{"id": "services", "path": "/{name}/*", "service": "{name}"}],
    }
    with server.serve(config, workers=1) as gateway, FakeBackend(behaviours.echo) as backend:
        document = {"service": "echo", "id": "a", "addr": backend.url}
        assert gateway.call("POST", "/register", document, internal=False).status == 204
        assert gateway.get("/echo/x").json()["target"] == "/echo/x"
        assert b"gateway_requests_total" in gateway.get("/metrics").body
        with pytest.raises(ConnectionRefusedError):
            gateway.get("/services", internal=True)


@pytest.mark.needs(Promise.SOCKET)
def test_without_an_external_listener_there_is_only_the_internal_one(server: Server):
    config = {"listeners": {"external": None}, "services": {}, "routes": [fixed("x", listeners=["internal"])]}
    with server.serve(config, workers=1) as gateway:
        assert gateway.get("/x", internal=True).body == b"x"
        assert gateway.get("/readyz", internal=True).status == 200
        with pytest.raises(ConnectionRefusedError):
            gateway.get("/x")


@pytest.mark.needs(Promise.SOCKET)
def test_a_listener_may_be_on_several_sockets_unix_ones_too(server: Server, tmp_path: Path):
    outside, inside = (str(tmp_path / name) for name in ("outside", "inside"))
    config = {
        "listeners": {
            "external": {"bind": ["127.0.0.1:${EXTERNAL_PORT}", "[::1]:${EXTERNAL_PORT}", f"unix:{outside}"]},
            "internal": {"bind": ["127.0.0.1:${INTERNAL_PORT}", f"unix:{inside}"]},
        },
        "services": {},
        "routes": [fixed("x"), fixed("y", listeners=["internal"])],
    }
    with server.serve(config, workers=1) as gateway:
        for address, path, other in [
            (outside, "/x", "/y"),
            (("::1", gateway.external_port), "/x", "/y"),
            (inside, "/y", "/x"),
        ]:
            with socket.socket(socket.AF_UNIX if isinstance(address, str) else socket.AF_INET6) as sock:
                sock.settimeout(10)
                sock.connect(address)
                wire = Wire(sock)
                assert wire.get(path).body == path[1:].encode()
                answer = wire.get(other, "X-Forwarded-For: 203.0.113.9")
                assert answer.json()["reason"] == "no_route"
            line = gateway.access_line(answer.value("X-Request-ID"))
            assert line["listener"] == ("internal" if address == inside else "external")
            assert line["client"] == "203.0.113.9"  # the other end of a unix socket is believed, too


@pytest.mark.parametrize(
    "config, said",
    [
        ({"listeners": {"external": None, "internal": None}}, "both listeners are null"),
        ({"listeners": {"internal": None}, "admin": {"listeners": ["internal"]}}, "the internal listener is null"),
        ({"listeners": {"external": None}, "routes": [fixed("x")]}, "its listener is external, which is null"),
    ],
)
def test_what_names_a_listener_that_is_null_is_refused(config: dict[str, Any], said: str):
    assert said in refused_start({"services": {}, "routes": [], **config})


@pytest.mark.parametrize("bind", ["0.0.0.0:{port}", "[::]:{port}"])
def test_an_internal_listener_beyond_the_loopback_without_a_token_refuses_to_start(bind: str):
    listener = {"bind": [bind.replace("{port}", "${INTERNAL_PORT}")]}
    said = refused_start({"listeners": {"internal": listener}, "services": {}, "routes": []})
    assert "neither admin.token nor admin.register_token is set" in said


def test_an_admin_api_beyond_the_loopback_without_a_token_refuses_to_start():
    listeners = {"external": {"bind": ["0.0.0.0:${EXTERNAL_PORT}"]}, "internal": None}
    said = refused_start({"listeners": listeners, "admin": {"listeners": ["external"]}, "services": {}, "routes": []})
    assert "neither admin.token nor admin.register_token is set" in said


@pytest.mark.parametrize("admin", [{"token": "a-token"}, {"register_token": "a-token"}, {"insecure": True}])
def test_an_internal_listener_beyond_the_loopback_starts_with_a_token_or_a_clear_word(admin: dict[str, Any]):
    listener = {"bind": ["0.0.0.0:${INTERNAL_PORT}"]}
    config = {"listeners": {"internal": listener}, "admin": admin, "services": {}, "routes": [fixed("x")]}
    with WORKER.serve(config, workers=1) as gateway:
        assert gateway.get("/x").status == 200


def refused_start(config: dict[str, Any]) -> str:
    """What a gateway says that does not start because of its configuration."""
    gateway = WORKER.serve(config, workers=1)
    try:
        gateway.start(wait=False)
        assert gateway.wait_exit() == 78
        return gateway.log_text
    finally:
        gateway.stop()
