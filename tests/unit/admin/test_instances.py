"""Instances under an operator's hand, and what is shown of their health."""

from dataclasses import replace

import pytest
import structlog

from gateway.config.model import ActiveHealth, Health
from gateway.state.operations.health import STATUS, Finding
from gateway.state.registration import Registration
from tests.unit.admin import support
from tests.unit.admin.support import Site, refused, told
from tests.unit.admin.test_views import trip

PATH = "/api/v1/services/echo/instances/inst-1"


def steer(site, action, path=PATH, **more):
    answer = site.send("POST", f"{path}/{action}", **more)
    assert answer.status == 200, answer.body
    return told(answer)


def shown(site):
    (instance,) = site.get("/api/v1/services/echo")["instances"]
    return instance


def sicken(site, service="echo"):
    (instance,) = site.registry.snapshot().services[service].instances
    health = site.healths.of(instance, Health(active=ActiveHealth()))
    for _ in range(3):
        health.probed(Finding(STATUS, 503))


@pytest.fixture
def site(monkeypatch):
    probed = replace(support.SERVICES["echo"], health=Health(active=ActiveHealth()))
    monkeypatch.setitem(support.SERVICES, "echo", probed)
    return Site()


def test_a_drain_shows_what_is_left(site):
    (instance,) = site.registry.snapshot().services["echo"].instances
    site.inflight.in_flight[site.inflight.columns(instance.key).in_flight] += 2
    assert "remaining" not in shown(site)
    found = steer(site, "drain")
    assert (found["id"], found["state"], found["reason"]) == ("inst-1", "draining", "drained by an operator")
    assert found["remaining"] == 2
    assert found == shown(site)
    assert steer(site, "undrain") == shown(site)
    assert shown(site)["state"] == "up"
    assert "remaining" not in shown(site)


def test_each_call_may_be_repeated(site):
    for action, state in [("drain", "draining"), ("undrain", "up"), ("disable", "disabled"), ("enable", "up")]:
        assert [steer(site, action)["state"] for _ in range(2)] == [state] * 2


def test_registered_instances_are_steered_like_those_of_the_configuration(site):
    site.registry.register(Registration(service="orders", id="o", addr="http://127.0.0.1:1"))
    assert steer(site, "disable", "/api/v1/services/orders/instances/o")["state"] == "disabled"


@pytest.mark.parametrize(
    ("path", "status", "reason"),
    [
        ("/api/v1/services/none/instances/inst-1/drain", 404, "not_found"),
        ("/api/v1/services/echo/instances/none/drain", 404, "not_found"),
    ],
)
def test_who_is_not_there_cannot_be_steered(site, path, status, reason):
    assert refused(site.send("POST", path)) == (status, reason)


def test_only_posts_steer(site):
    assert refused(site.send("GET", f"{PATH}/drain")) == (405, "method_not_allowed")


def test_what_is_no_action_is_not_ours(site):
    assert site.send("POST", f"{PATH}/explode").status == 299


def test_the_operator_comes_before_the_breaker_and_the_breaker_before_health(site):
    sicken(site)
    assert (shown(site)["state"], shown(site)["reason"]) == ("unhealthy", "3 probes failed: status 503")
    trip(site)
    assert shown(site)["state"] == "open"
    assert steer(site, "drain")["state"] == "draining"
    assert steer(site, "disable")["state"] == "disabled"
    assert steer(site, "enable")["state"] == "open"


def test_who_did_what_is_logged_without_the_token():
    site = Site(token="a-secret-of-32-bytes-and-more-than-that")
    bearer = ("Authorization", "Bearer a-secret-of-32-bytes-and-more-than-that")
    with structlog.testing.capture_logs() as lines:
        assert refused(site.send("POST", f"{PATH}/drain")) == (401, "admin_token_required")
        steer(site, "drain", headers=[("Host", "127.0.0.1:8001"), bearer])
        steer(site, "drain", headers=[("Host", "127.0.0.1:8001"), bearer])
    audits = [line for line in lines if line["event"] == "audit"]
    assert [line["changed"] for line in audits] == [True, False]
    assert audits[0] == {
        "event": "audit", "log_level": "info", "client": "", "authenticated": True, "action": "drain",
        "service": "echo", "instance": "inst-1", "changed": True,
    }  # fmt: skip
    assert "secret" not in str(lines)


def test_the_gauge_tells_health_and_not_the_mode(site):
    def gauge():
        lines = bytes(site.send("GET", "/metrics").body[0]).decode().splitlines()
        return [line for line in lines if line.startswith("gateway_instance_healthy{") and '"echo"' in line]

    steer(site, "disable")
    assert gauge() == ['gateway_instance_healthy{instance="inst-1",service="echo"} 1.0']
    sicken(site)
    assert gauge() == ['gateway_instance_healthy{instance="inst-1",service="echo"} 0.0']
