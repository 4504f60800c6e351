"""What GET calls show."""

from prometheus_client.parser import text_string_to_metric_families

from gateway.exchange import Exchange
from gateway.state.registration import Registration
from tests.unit.admin.support import Site, refused, told


def trip(site, service="echo", failures=2):
    view = site.registry.snapshot().services[service]
    handle = site.breakers.of(view.instances[0], view.settings.breaker)
    for _ in range(failures):
        handle.allow().done(False)
    return handle


def test_services_are_shown_with_their_instances():
    assert Site().get("/services") == {
        "services": [
            {
                "name": "echo",
                "balancer": "round_robin",
                "instances": [
                    {
                        "id": "inst-1", "url": "http://127.0.0.1:8081", "source": "static", "weight": 1, "zone": "a",
                        "tags": ["x"], "state": "up", "reason": None, "in_flight": 0, "requests": 0, "expires_in": None,
                    }
                ],
            },
            {
                "name": "bare",
                "balancer": "round_robin",
                "instances": [
                    {
                        "id": "b", "url": "http://127.0.0.1:9", "source": "static", "weight": 3, "zone": None,
                        "tags": [], "state": "up", "reason": None, "in_flight": 0, "requests": 0, "expires_in": None,
                    }
                ],
            },
        ]
    }  # fmt: skip


def test_an_instance_tells_its_breaker_and_its_requests():
    site = Site()
    one = site.registry.snapshot().services["echo"].instances[0]
    columns = site.inflight.columns(one.key)
    site.inflight.in_flight[columns.in_flight] += 2
    site.inflight.requests[columns.requests] += 7
    trip(site)
    (shown,) = site.get("/api/v1/services/echo")["instances"]
    assert (shown["state"], shown["in_flight"], shown["requests"]) == ("open", 2, 7)
    assert shown["reason"] == "2 failures in a row; half open in 30.0s"
    site.clock.advance(30)
    (shown,) = site.get("/api/v1/services/echo")["instances"]
    assert shown["state"] == "half_open"


def test_a_lease_runs_down():
    site = Site()
    site.registry.register(Registration(service="orders", id="o", addr="http://127.0.0.1:1", ttl=30.0))
    site.clock.advance(12)
    assert site.get("/api/v1/services/orders")["instances"][0]["expires_in"] == 18.0


def test_an_unknown_service_is_not_found():
    assert refused(Site().send("GET", "/api/v1/services/none")) == (404, "not_found")


def test_breakers_are_listed_where_there_are_any():
    assert Site().get("/api/v1/breakers") == {
        "breakers": [
            {
                "service": "echo", "instance": "inst-1", "state": "closed", "failures": 0, "calls": 0,
                "opened_at": None, "half_open_at": None, "generation": 0,
            }
        ]
    }  # fmt: skip


def test_an_open_breaker_tells_when():
    site = Site()
    trip(site)
    site.clock.advance(10)
    shown = site.get("/api/v1/breakers/echo/inst-1")
    assert (shown["state"], shown["failures"], shown["generation"]) == ("open", 2, 1)
    assert (shown["opened_at"], shown["half_open_at"]) == ("2023-11-14T22:13:20.000Z", "2023-11-14T22:13:50.000Z")


def test_a_breaker_that_is_not_there_is_not_found():
    for path in ("/api/v1/breakers/none/x", "/api/v1/breakers/echo/none", "/api/v1/breakers/bare/b"):
        assert refused(Site().send("GET", path)) == (404, "not_found")


def test_routes_and_configuration_are_those_in_force():
    site = Site()
    assert site.get("/api/v1/routes") == {"routes": [{"id": "echo", "path": "/echo/*"}]}
    assert site.get("/api/v1/config") == {
        "generation": 3,
        "digest": "abc",
        "loaded_at": "2023-11-14T21:56:40.000Z",
        "last_reload": {"ok": True, "at": "2023-11-14T22:13:20.000Z", "errors": []},
        "configuration": {"admin": {"token": "***"}},
    }


def test_readiness_tells_what_serves():
    site = Site()
    assert site.get("/readyz") == {
        "status": "ready",
        "generation": 3,
        "routes": 1,
        "instances": 2,
        "last_reload": {"ok": True, "at": "2023-11-14T22:13:20.000Z", "errors": []},
    }


def test_readiness_is_503_only_while_starting_or_draining():
    site = Site()
    for phase in ("starting", "draining"):
        site.status = site.status._replace(phase=phase)
        answer = site.send("GET", "/readyz")
        assert (answer.status, told(answer)["status"]) == (503, phase)
        assert site.get("/healthz") == {"status": "ok"}


def test_a_refused_reload_is_told_and_leaves_it_ready():
    site = Site()
    errors = [{"line": 7, "path": "routes[0].path", "message": "must begin with '/'"}]
    site.status = site.status._replace(last_reload={"ok": False, "at": "2023-11-14T22:13:20.000Z", "errors": errors})
    assert site.get("/readyz")["last_reload"]["errors"] == errors


def test_metrics_hold_requests_and_what_is_read_on_the_spot():
    site = Site()
    exchange = Exchange({"REQUEST_METHOD": "GET"}, "external")
    exchange.service_name = "echo"
    site.requests.observe(exchange, 200, None, 0.01)
    trip(site)
    columns = site.inflight.columns(site.registry.snapshot().services["echo"].instances[0].key)
    site.inflight.in_flight[columns.in_flight] += 1
    answer = site.send("GET", "/metrics")
    assert dict(answer.headers)["Content-Type"].startswith("text/plain; version=")
    found = {
        (sample.name, *dict(sorted(sample.labels.items())).values()): sample.value
        for family in text_string_to_metric_families(answer.body[0].decode())
        for sample in family.samples
    }
    assert found["gateway_requests_total", "external", "", "", "echo", "200"] == 1
    assert found["gateway_in_flight", "inst-1", "echo"] == 1
    assert found["gateway_breaker_state", "inst-1", "echo"] == 2
    assert ("gateway_breaker_state", "b", "bare") not in found
    assert found["gateway_config_generation",] == 3
    assert found["gateway_config_last_reload_successful",] == 1
    assert found["gateway_config_reload_failures_total",] == 2
