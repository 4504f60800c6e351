"""deploy/nginx/gateway.conf: nginx takes it, and its numbers fit the gateway's defaults that its comments name."""

from __future__ import annotations

import re
from pathlib import Path

from gateway.config.model import Server, Timeouts
from gateway.config.quantities import parse_duration
from tests.support.nginx import SHIPPED, Nginx
from tests.support.process import GatewayProcess, request

CLIENTS_INVENTION = {
    "X-Forwarded-For": "203.0.113.9",
    "X-Forwarded-Host": "evil.example",
    "X-Forwarded-Proto": "gopher",
    "X-Real-IP": "203.0.113.9",
    "Forwarded": "for=203.0.113.9;host=evil.example",
    "X-Request-ID": "mine",
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


def test_nothing_that_a_client_claims_about_itself_gets_through(tmp_path: Path):
    with (
        GatewayProcess({"services": {}, "routes": [{"id": "a", "path": "/a", "fixed_response": {}}]}) as gateway,
        Nginx(tmp_path, gateway.external_port) as nginx,
    ):
        reply = request(nginx.port, "GET", "/a", headers=CLIENTS_INVENTION)
        assert reply.status == 200
        line = gateway.wait_event("request", path="/a")
        assert line["client"] == "127.0.0.1"
        assert line["request_id"] not in ("mine", "")
