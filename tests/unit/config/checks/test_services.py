from __future__ import annotations

from pathlib import Path

import pytest

from gateway.config.checks.services import MAX_TIMES
from gateway.state.operations import breaker
from tests.unit.config.support import config_of, everything_built, problem_of

__all__ = ["everything_built"]


def text(service: str, more: str = "") -> str:
    return f"version: 1\nroutes: []\nservices:\n  echo: {service}\n{more}"


def test_instance_ids_differ_within_a_service(tmp_path: Path):
    one = '{id: a, url: "http://h:1"}'
    problem = problem_of(tmp_path, text(f"{{instances: [{one}, {one}]}}"))
    assert (problem.line, problem.path) == (4, "services.echo.instances[1].id")
    assert problem.why == f"the service has this id already, in {tmp_path / 'gateway.yaml'}:4"
    config_of(tmp_path, text(f"{{instances: [{one}]}}\n  other: {{instances: [{one}]}}"))


@pytest.mark.parametrize(
    ("url", "own"),
    [
        ("http://127.0.0.1:8001", True),
        ("http://localhost:8000", True),
        ("http://127.9.9.9:8000", True),
        ("http://[::1]:8001", False),
        ("http://127.0.0.1:8002", False),
        ("http://10.0.0.5:8000", False),
    ],
)
def test_the_gateway_is_no_backend_of_itself(tmp_path: Path, url: str, own: bool):
    whole = text(f'{{instances: [{{id: a, url: "{url}"}}]}}')  # the default binds are 0.0.0.0:8000 and 127.0.0.1:8001
    if not own:
        config_of(tmp_path, whole)
        return
    problem = problem_of(tmp_path, whole)
    assert (problem.line, problem.path, problem.found) == (4, "services.echo.instances[0].url", f'"{url}"')
    assert "in a circle" in problem.why


@pytest.mark.parametrize(
    ("breaker", "path"),
    [
        ("{open_for: 30s, max_open_for: 20s}", "max_open_for"),
        ("{failure_ratio: 50%}", "failure_ratio"),
        ("{failure_ratio: 0%, window: 3s}", "failure_ratio"),
        ("{slow_call: {over: 1s, ratio: 50%}}", "slow_call"),
        ("{slow_call: {over: 1s, ratio: 0%}, window: 3s}", "slow_call.ratio"),
        ("{half_open_probes: 33}", "half_open_probes"),
        ("{failures: 0}", "failures"),
        ("{open_for: 0s}", "open_for"),
        ("{failure_on: []}", "failure_on"),
        ("{failure_on: [4xx]}", "failure_on[0]"),
    ],
)
def test_breakers_that_could_not_work(tmp_path: Path, everything_built: None, breaker: str, path: str):
    assert problem_of(tmp_path, text(f"{{breaker: {breaker}}}")).path == f"services.echo.breaker.{path}"


def test_the_most_failures_within_a_window_are_those_that_the_record_holds():
    assert MAX_TIMES == breaker.MAX_TIMES


@pytest.mark.parametrize(
    "breaker",
    [
        "{failures: 33}",
        "{failures: 33, window: 3s}",
        "{failures: 32, window: 3.5x request}",
        "{minimum_calls: 3}",
        "{failures: 1000, window: 3s, failure_ratio: 50%, max_open_for: 5m, slow_call: {over: 1s, ratio: 1%}}",
    ],
)
def test_breakers_that_work(tmp_path: Path, breaker: str):
    assert not config_of(tmp_path, text(f"{{breaker: {breaker}}}")).warnings


@pytest.mark.parametrize(
    ("breaker", "path"),
    [
        ("{window: 3s, failure_ratio: 50%}", "failure_ratio"),
        ("{window: 3s, slow_call: {over: 1s, ratio: 9%}}", "slow_call"),
    ],
)
def test_shares_beside_the_default_count_are_a_warning(tmp_path: Path, breaker: str, path: str):
    (warning,) = config_of(tmp_path, text(f"{{breaker: {breaker}}}")).warnings
    assert warning.path == f"services.echo.breaker.{path}"
    assert warning.why == "failures: 5 within the window also opens it; raise failures"


@pytest.mark.parametrize(
    ("service", "path"),
    [
        ("{tls: {certificate: c.pem}}", "tls"),
        ("{tls: {ca: nowhere.pem}}", "tls.ca"),
        ("{hash: {key: client_ip}}", "hash"),
        ("{balancer: consistent_hash}", "balancer"),
        ("{hash: {key: body}, balancer: consistent_hash}", "hash.key"),
        ("{hash: {key: path, bounded_load: 1}, balancer: consistent_hash}", "hash.bounded_load"),
        ("{grpc: {reflection: true}}", "grpc"),
        ('{instances: [{id: a, url: "http://h:1", weight: 0}]}', "instances[0].weight"),
        ('{instances: [{id: a, url: "http://h:1", weight: 1000001}]}', "instances[0].weight"),
        ("{timeouts: {connect: 0s}}", "timeouts.connect"),
        ("{pool: {max_connections: 0}}", "pool.max_connections"),
        ("{retries: {attempts: 0}}", "retries.attempts"),
        ("{retries: {when: [200]}}", "retries.when[0]"),
        ("{retries: {budget: 101%}}", "retries.budget"),
        ("{health: {passive: {failures: 17}}}", "health.passive.failures"),
        ("{health: {active: {expect: 200-}}}", "health.active.expect"),
        ("{health: {active: {interval: 0s}}}", "health.active.interval"),
    ],
)
def test_what_could_not_work(tmp_path: Path, everything_built: None, service: str, path: str):
    (tmp_path / "c.pem").write_text("")
    assert problem_of(tmp_path, text(service)).path == f"services.echo.{path}"


def test_what_a_tcp_probe_does_not_look_at_is_a_warning(tmp_path: Path):
    config = config_of(tmp_path, text("{health: {active: {type: tcp, path: /up, body: ok}}}"))
    shown = [warning.path for warning in config.warnings]
    assert shown == ["services.echo.health.active.path", "services.echo.health.active.body"]
    assert not config_of(tmp_path, text('{health: {active: {path: /up, expect: "200,204"}}}')).warnings


def test_tls_that_does_nothing_or_checks_nothing_is_a_warning(tmp_path: Path):
    config = config_of(tmp_path, text('{tls: {verify: false}, instances: [{id: a, url: "http://h:1"}]}'))
    assert [warning.path for warning in config.warnings] == ["services.echo.tls", "services.echo.tls.verify"]


ROUTED = """version: 1
services:
  plain: {}
  hashed: {hash: {key: path}}
routes:
  - {id: a, path: /a, %s, balancer: consistent_hash}
"""


@pytest.mark.parametrize("target", ["service: plain", "split: [{service: hashed}, {service: plain}]"])
def test_a_route_that_hashes_leads_to_services_that_say_by_what(tmp_path: Path, target: str):
    text = ROUTED.replace("hashed: {hash: {key: path}}", "hashed: {hash: {key: path}, balancer: consistent_hash}")
    problem = problem_of(tmp_path, text % target)
    assert (problem.path, "plain" in problem.why) == ("routes[0].balancer", True)


def test_a_service_may_hash_for_a_route_alone(tmp_path: Path):
    config_of(tmp_path, ROUTED % "service: hashed")


def test_sticky_cookies_that_cannot_work_well_are_a_warning(tmp_path: Path):
    services = "{a: {sticky: {cookie: c, secret: 0123456789abcdef}}, b: {sticky: {cookie: c, secret: short}}}"
    config = config_of(tmp_path, f"version: 1\nroutes: []\nservices: {services}\n")
    assert [warning.path for warning in config.warnings] == ["services.b.sticky.cookie", "services.b.sticky.secret"]


@pytest.mark.parametrize("expect", ["200", '"200,204"', "200-399", "[200, 204]", "[200-299, 404]"])
def test_expected_statuses_are_written_as_one_likes(tmp_path: Path, expect: str):
    config_of(tmp_path, text(f"{{health: {{active: {{expect: {expect}}}}}}}"))


@pytest.mark.parametrize("expect", ["99", "[200, ok]", "600", "[]"])
def test_what_is_no_status_is_none(tmp_path: Path, expect: str):
    assert problem_of(tmp_path, text(f"{{health: {{active: {{expect: {expect}}}}}}}")).path.startswith(
        "services.echo.health.active.expect"
    )
