"""What operators change by hand, and what is written down about it."""

from __future__ import annotations

import io

import pytest
import structlog
from prometheus_client.parser import text_string_to_metric_families

from gateway.admin.steering import ACTIONS
from gateway.exchange import Exchange
from tests.unit.admin.support import Site, refused, told

PATH = "/api/v1/breakers/echo/inst-1"


def steer(site: Site, action: str, **more):
    answer = site.send("POST", PATH, {"action": action}, **more)
    assert answer.status == 200, answer.body
    return told(answer)


@pytest.mark.parametrize(
    ("action", "state", "shown", "reason", "metric"),
    [
        ("force_open", "forced_open", "open", "forced open by an operator", 2),
        ("force_close", "forced_closed", "up", None, 0),
        ("disable", "disabled", "up", None, 0),
        ("reset", "closed", "up", None, 0),
    ],
)
def test_an_order_is_answered_with_the_breaker_and_seen_everywhere(action, state, shown, reason, metric):
    site = Site()
    answer = steer(site, action)
    assert (answer["state"], answer["generation"]) == (state, 1)
    assert answer == site.get(PATH) == site.get("/api/v1/breakers")["breakers"][0]
    assert (answer["opened_at"] is not None) == (action == "force_open")
    assert answer["half_open_at"] is None
    (instance,) = site.get("/api/v1/services/echo")["instances"]
    assert (instance["state"], instance["reason"]) == (shown, reason)
    families = text_string_to_metric_families(site.send("GET", "/metrics").body[0].decode())
    (sample,) = next(one for one in families if one.name == "gateway_breaker_state").samples
    assert sample.value == metric


@pytest.mark.parametrize(
    ("body", "named"),
    [
        ({}, "action"),
        ({"action": "open"}, "action"),
        ({"action": None}, "action must be one of force_open, force_close, disable, reset, not null"),
        ({"action": ["reset"]}, "action"),
        ({"action": "reset", "why": "x"}, "'why'"),
        (["reset"], "body"),
    ],
)
def test_an_unknown_order_is_refused_with_the_field_s_name(body, named):
    site = Site()
    answer = site.send("POST", PATH, body)
    assert refused(answer) == (400, "invalid_body")
    assert told(answer)["detail"].startswith(named)
    assert site.get(PATH)["generation"] == 0


@pytest.mark.parametrize("path", ["/api/v1/breakers/none/x", "/api/v1/breakers/echo/none", "/api/v1/breakers/bare/b"])
def test_a_breaker_that_is_not_there_cannot_be_steered(path):
    assert refused(Site().send("POST", path, {"action": "reset"})) == (404, "not_found")


def test_steering_needs_the_admin_token():
    site = Site(token="secret", register_token="other")
    for headers in ([], [("Authorization", "Bearer other")]):
        assert site.send("POST", PATH, {"action": "reset"}, headers=headers).status == 401
    assert site.send("POST", PATH, {"action": "reset"}, headers=[("Authorization", "Bearer secret")]).status == 200


def test_each_order_is_audited():
    site = Site(token="hidden")
    for action in ("disable", "force_open"):
        with structlog.testing.capture_logs() as lines:
            steer(site, action, headers=[("Authorization", "Bearer hidden")])
        assert "hidden" not in str(lines)
    assert lines == [
        {
            "event": "audit", "log_level": "info", "action": "breaker.force_open", "who": "", "with_token": True,
            "service": "echo", "instance": "inst-1", "before": "disabled", "after": "forced_open",
        }
    ]  # fmt: skip


def test_the_audit_tells_the_client_s_address():
    site = Site()
    exchange = Exchange({"REQUEST_METHOD": "POST", "CONTENT_TYPE": "application/json"}, "internal")
    exchange.raw_path, exchange.client = PATH, "192.0.2.7"
    exchange.body, exchange.content_length = io.BytesIO(b'{"action": "reset"}'), 19
    with structlog.testing.capture_logs() as lines:
        assert site.pass_on(exchange).status == 200
    assert (lines[0]["who"], lines[0]["with_token"]) == ("192.0.2.7", False)


def test_openapi_lists_the_orders():
    operation = Site().get("/openapi.json")["paths"]["/api/v1/breakers/{service}/{instance}"]["post"]
    schema = operation["requestBody"]["content"]["application/json"]["schema"]
    assert schema["properties"]["action"]["enum"] == list(ACTIONS)
    assert set(operation["responses"]) == {"200", "400", "401", "403", "404", "405", "413", "415", "503"}
