"""Which requests are the admin API's, and the order of its checks."""

import pytest

from gateway.admin.resources import CALLS
from gateway.config.model import Metrics
from gateway.exchange import Exchange
from tests.unit.admin.support import Site, refused, told


@pytest.mark.parametrize(
    "path",
    ["/", "/echo", "/services/", "/api/v1", "/api/v1/services/", "/api/v1/services/a/b", "/api/v1/other", "//services"],
)
def test_what_the_table_does_not_hold_goes_on(path):
    assert Site().send("GET", path).status == 299


@pytest.mark.parametrize("call", CALLS, ids=lambda call: f"{call.method} {call.path}")
def test_on_the_external_listener_there_is_no_admin_api(call):
    assert Site().send(call.method, call.path.replace("{", "").replace("}", ""), plane="external").status == 299


def test_listeners_are_configurable():
    site = Site(listeners=("external",), metrics=Metrics(listeners=("external", "internal"), path="/-/metrics"))
    assert site.admin.listeners == {"external", "internal"}
    assert site.send("GET", "/healthz", plane="external").status == 200
    assert site.send("GET", "/healthz").status == 299
    assert site.send("GET", "/-/metrics").status == 200
    assert site.send("GET", "/-/metrics", plane="external").status == 200
    assert site.send("GET", "/metrics").status == 299


def test_a_listener_without_any_call_needs_no_stage():
    assert Site().admin.listeners == {"internal"}
    assert Site(listeners=(), metrics=Metrics(listeners=())).admin.listeners == frozenset()


@pytest.mark.parametrize(
    ("method", "path", "allow"),
    [
        ("GET", "/register", "DELETE, POST"),
        ("PUT", "/register", "DELETE, POST"),
        ("POST", "/services", "GET, HEAD"),
        ("OPTIONS", "/healthz", "GET, HEAD"),
        ("DELETE", "/api/v1/services/echo", "GET, HEAD"),
        ("DELETE", "/api/v1/breakers/echo/inst-1", "GET, HEAD, POST"),
    ],
)
def test_another_method_is_refused_with_those_there_are(method, path, allow):
    answer = Site().send(method, path)
    assert refused(answer) == (405, "method_not_allowed")
    assert ("Allow", allow) in answer.headers


def test_head_is_get_without_the_body():
    site = Site()
    get, head = site.send("GET", "/services"), site.send("HEAD", "/services")
    assert head.body == [b""]
    assert head.headers == get.headers
    assert int(dict(get.headers)["Content-Length"]) == len(get.body[0])


def test_answers_are_json_and_not_cached():
    headers = dict(Site().send("GET", "/healthz").headers)
    assert (headers["Content-Type"], headers["Cache-Control"]) == ("application/json", "no-store")


@pytest.mark.parametrize("path", ["/%73ervices", "/%61pi/v%31/services/echo", "/he%61lthz", "/metri%63s/caf%C3%a9"])
def test_escaped_letters_and_digits_are_what_they_stand_for(path):
    assert Site(metrics=Metrics(path="/%6Detrics/caf%c3%A9")).send("GET", path).status == 200


def test_an_escaped_slash_is_none():
    assert Site().send("GET", "/services%2F").status == 299


@pytest.mark.parametrize(("sent", "meant"), [("%2565cho", "%65cho"), ("%%365cho", "%65cho"), ("%65%63%68o", "echo")])
def test_a_variable_is_decoded_once(sent, meant):
    answer = Site().send("GET", f"/%61pi/v1/services/{sent}")
    assert answer.status == 200 if meant == "echo" else told(answer)["detail"] == f"there is no service '{meant}'"


def test_a_variable_is_decoded_and_stands_for_one_segment():
    site = Site()
    assert site.get("/api/v1/services/%65cho")["name"] == "echo"
    assert refused(site.send("GET", "/api/v1/services/a%2Fb")) == (404, "not_found")


@pytest.mark.parametrize("content_type", ["text/plain", ""])
def test_a_body_needs_its_content_type(content_type):
    answer = Site().send("POST", "/register", body=b"{}", content_type=content_type)
    assert refused(answer) == (415, "wrong_content_type")


def test_a_body_over_64_kib_is_refused():
    answer = Site().send("POST", "/register", body=b'"' + b"x" * 65536 + b'"')
    assert refused(answer) == (413, "body_too_large")


def test_the_record_names_the_resource():
    exchange = Exchange({"REQUEST_METHOD": "GET"}, "internal")
    exchange.raw_path = "/api/v1/services/echo"
    Site().pass_on(exchange)
    assert exchange.route.id == "admin:/api/v1/services/{service}"


def test_openapi_describes_every_call_and_itself():
    described = Site().get("/openapi.json")
    assert described["openapi"] == "3.1.0"
    found = {(method.upper(), path) for path, calls in described["paths"].items() for method in calls}
    expected = {(call.method, call.path) for call in CALLS} | {("GET", "/metrics"), ("GET", "/openapi.json")}
    assert found == expected


def test_openapi_names_variables_bodies_and_refusals():
    paths = Site().get("/openapi.json")["paths"]
    one = paths["/api/v1/breakers/{service}/{instance}"]["get"]
    assert [parameter["name"] for parameter in one["parameters"]] == ["service", "instance"]
    assert set(one["responses"]) == {"200", "401", "403", "404", "405"}
    register = paths["/register"]["post"]
    schema = register["requestBody"]["content"]["application/json"]["schema"]
    assert schema["required"] == ["service", "id", "addr"]
    assert set(register["responses"]) == {"204", "400", "401", "403", "405", "409", "413", "415", "503"}
    assert set(paths["/readyz"]["get"]["responses"]) == {"200", "403", "405", "503"}
    assert paths["/healthz"]["get"]["security"] == []


def test_the_described_shapes_are_the_ones_that_are_answered():
    site = Site()
    paths = site.get("/openapi.json")["paths"]
    concrete = {"/api/v1/services/{service}": "/api/v1/services/echo"}
    concrete["/api/v1/breakers/{service}/{instance}"] = "/api/v1/breakers/echo/inst-1"
    checked = 0
    for path, calls in paths.items():
        content = calls.get("get", {}).get("responses", {}).get("200", {}).get("content", {})
        if "application/json" not in content or path == "/openapi.json":
            continue
        _conforms(site.get(concrete.get(path, path)), content["application/json"]["schema"], path)
        checked += 1
    assert checked == 8


def _conforms(value, schema, where):
    """As much of JSON Schema as the shapes use."""
    kinds = {"object": dict, "array": list, "string": str, "integer": int, "number": (int, float), "boolean": bool}
    allowed = schema.get("type", [])
    allowed = [allowed] if isinstance(allowed, str) else allowed
    if value is None and "null" in allowed:
        return
    if allowed:
        assert isinstance(value, tuple(kinds[kind] for kind in allowed if kind != "null")), where
    if "enum" in schema:
        assert value in schema["enum"], where
    if isinstance(value, dict) and "properties" in schema:
        assert set(schema["required"]) <= set(value) <= set(schema["properties"]), where
        for name, inner in value.items():
            _conforms(inner, schema["properties"][name], f"{where}.{name}")
    if isinstance(value, list):
        for item in value:
            _conforms(item, schema.get("items", {}), f"{where}[]")


def test_a_refusal_is_told_as_a_problem():
    document = told(Site().send("GET", "/api/v1/services/none"))
    assert document["type"] == "urn:gateway:error:not_found"
    assert "'none'" in document["detail"]
