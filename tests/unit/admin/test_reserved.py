"""Routes on the admin API's own paths: refused, or told of, with their line."""

from pathlib import Path

import pytest

from gateway.admin.reserved import nothing_is_reserved
from gateway.config.examine import examine
from gateway.config.problems import ConfigErrors

BOTH = "listeners: [external, internal]"
INTERNAL = "listeners: [internal]"


def examined(folder: Path, route: str, more: str = ""):
    """(problems, warnings) of a file with this route in line 6."""
    file = folder / "gateway.yaml"
    file.write_text(
        "version: 1\n"
        "listeners: {external: {bind: ['127.0.0.1:8000']}, internal: {bind: ['127.0.0.1:8001']}}\n"
        "services: {echo: {}}\n"
        f"{more}\n"
        "routes:\n"
        f"  - {{id: r, service: echo, {route}}}\n"
    )
    try:
        return (), examine(file, also=(nothing_is_reserved,)).warnings
    except ConfigErrors as errors:
        return errors.problems, ()


@pytest.mark.parametrize(
    ("path", "answered"),
    [
        ("/services", "/services"),
        ("/register", "/register"),
        ("/healthz", "/healthz"),
        ("/%68ealthz", "/healthz"),
        ("/openapi.json", "/openapi.json"),
        ("/metrics", "/metrics"),
        ("/api/v1/services/orders", "/api/v1/services/{service}"),
        ("/api/v1/services/{name}", "/api/v1/services/{service}"),
        ("/api/v1/breakers/{a}/b", "/api/v1/breakers/{service}/{instance}"),
    ],
)
def test_a_route_that_only_the_admin_api_would_answer_is_refused(tmp_path: Path, path: str, answered: str):
    (problem,), _ = examined(tmp_path, f"path: '{path}', methods: [PUT], {INTERNAL}")
    assert (problem.line, problem.path) == (6, "routes[0]")
    why = f"no request can match: its listener is internal, and there the gateway itself answers {answered}"
    assert problem.why == why


@pytest.mark.parametrize(
    "route",
    [
        "path: /services",
        f"path: /services/, {INTERNAL}",
        f"path: /services/*, {INTERNAL}",
        f"path: '~^/services$', {INTERNAL}",
        f"path: '/{{any}}', {INTERNAL}",
        f"path: '/api/v1/{{what}}/{{name}}', {INTERNAL}",
        f"path: /api/v1/other, {INTERNAL}",
    ],
)
def test_a_route_that_something_is_left_for_is_not(tmp_path: Path, route: str):
    assert examined(tmp_path, route) == ((), ())


def test_a_route_that_is_left_with_another_listener_is_told_of(tmp_path: Path):
    problems, (warning,) = examined(tmp_path, f"path: /readyz, {BOTH}")
    assert problems == ()
    assert (warning.line, warning.path) == (6, "routes[0]")
    assert warning.why == "no request can match on the internal listener: there the gateway itself answers /readyz"


def test_it_goes_by_the_configured_listeners_and_path(tmp_path: Path):
    more = "admin: {listeners: [external, internal]}\nmetrics: {path: /-/m, listeners: []}"
    (problem,), _ = examined(tmp_path, f"path: /readyz, {BOTH}", more)
    assert problem.why.startswith("no request can match: its listeners are external and internal, and there")
    assert examined(tmp_path, f"path: /-/m, {INTERNAL}", more) == ((), ())
    (problem,), _ = examined(tmp_path, f"path: /-/m, {INTERNAL}", "metrics: {path: /-/m}")
    assert problem.why.endswith("answers /-/m")
    assert examined(tmp_path, f"path: /metrics, {INTERNAL}", "metrics: {path: /-/m}") == ((), ())


def test_one_mistake_is_told_once(tmp_path: Path):
    problems, _ = examined(tmp_path, f"path: /services, {INTERNAL}", "admin: {listeners: [nowhere]}")
    assert [problem.path for problem in problems] == ["admin.listeners[0]"]
