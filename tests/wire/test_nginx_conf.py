"""deploy/nginx/gateway.conf: nginx takes it, and its numbers fit the gateway's defaults that its comments name."""

from __future__ import annotations

import re
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from gateway.config.model import Server, Timeouts
from gateway.config.quantities import parse_duration
from gateway.forward.headers import PROXYS
from tests.support import behaviours
from tests.support.backend import FakeBackend
from tests.support.nginx import SHIPPED, Nginx
from tests.support.process import GatewayProcess, request

CLIENTS_INVENTION = {
    "X-Forwarded-For": "203.0.113.9",
    "X-Forwarded-Host": "evil.example",
    "X-Forwarded-Proto": "gopher",
    "X-Real-IP": "203.0.113.9",
    "Forwarded": "for=203.0.113.9;host=evil.example",
    "X-Request-ID": "mine",
    **dict.fromkeys(PROXYS, "203.0.113.9"),
}


def seconds(directive: str) -> float:
    found = re.search(rf"^\s*{directive} (\w+);", SHIPPED.read_text(), re.MULTILINE)
    assert found, directive
    return parse_duration(found[1])


def test_nginx_accepts_the_shipped_file(tmp_path: Path):
    with GatewayProcess({"services": {}, "routes": []}) as gateway, Nginx(tmp_path, gateway.external_port) as nginx:
        assert "[warn]" not in nginx.check()


def test_its_numbers_fit_the_gateways_defaults():
    server, timeouts = Server(), Timeouts()
    assert seconds("keepalive_timeout") < server.keepalive  # nginx lets go first
    assert seconds("proxy_read_timeout") > timeouts.request  # the gateway's own answer tells which limit was hit
    assert "client_max_body_size 100m;" in SHIPPED.read_text()
    assert server.max_request_body == 100 * 1024**2


@pytest.fixture
def through(tmp_path: Path) -> Iterator[tuple[GatewayProcess, Nginx, FakeBackend]]:
    """A gateway with one backend for every path, behind nginx."""
    with FakeBackend(behaviours.echo) as backend:
        config = {
            "services": {"b": {"instances": [{"id": "b-1", "url": backend.url}]}},
            "routes": [{"id": "b", "path": "/*", "service": "b"}],
        }
        with GatewayProcess(config) as gateway, Nginx(tmp_path, gateway.external_port) as nginx:
            backend.requests.clear()  # nginx was asked whether it listens
            yield gateway, nginx, backend


def test_nothing_that_a_client_claims_about_itself_gets_through(through: tuple[GatewayProcess, Nginx, FakeBackend]):
    gateway, nginx, backend = through
    assert request(nginx.port, "GET", "/a", headers=CLIENTS_INVENTION).status == 200
    line = gateway.wait_event("request", path="/a")
    assert line["client"] == "127.0.0.1"
    assert line["request_id"] not in ("mine", "")
    (got,) = backend.requests
    for invented in CLIENTS_INVENTION.values():
        assert invented not in got.head.decode(), invented
    told = {name: got.value(f"X-Forwarded-{name}") for name in ("For", "Proto", "Host", "Port")}
    assert told == {
        "For": "127.0.0.1, 127.0.0.1", "Proto": "http", "Host": f"127.0.0.1:{nginx.port}", "Port": str(nginx.port),
    }  # fmt: skip


def test_a_request_without_a_host_is_served(through: tuple[GatewayProcess, Nginx, FakeBackend]):
    _, nginx, backend = through
    with socket.create_connection(("127.0.0.1", nginx.port), timeout=10) as wire:
        wire.sendall(b"GET /old HTTP/1.0\r\n\r\n")
        assert wire.recv(65536).startswith(b"HTTP/1.1 200 ")
    assert [got.target for got in backend.requests] == ["/old"]
