import pytest
import structlog

from gateway.config.model import FixedResponse, Rewrite, Split
from gateway.errors import BadPath, ClientGone, InternalError, NoRoute, UnknownService
from gateway.exchange import Answer
from gateway.routing.routes import RouteError
from gateway.routing.stage import FUNCTION_ROUTE, Router

from .support import exchange, route, table

PROCEEDED = Answer(200, [], [b"proceeded"])


def proceed(exchange):
    return PROCEEDED


def run(raw, *routes, query=None, method="GET", headers=(), **keys):
    """Send one request through a router over these routes; returns the exchange that went on."""
    one = exchange(raw, method, query=query, headers=headers)
    one.path = ""
    assert Router({"external": table(*routes)}, **keys)(one, proceed) is PROCEEDED
    return one


# --- what goes on ---------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("raw", "query", "target"),
    [
        ("/a/b", None, "/a/b"),
        ("/a/b", "", "/a/b?"),
        ("/a/b", "x=%41&;/../", "/a/b?x=%41&;/../"),
        ("/%61/x%c3%a9", "q", "/%61/x%c3%a9?q"),
        ("/a/.well-known", None, "/a/.well-known"),
    ],
)
def test_the_clients_bytes_are_the_target(raw, query, target):
    one = run(raw, route("/a/*", service="s"), query=query)
    assert one.target == target
    assert one.service_name == "s"
    assert one.route.id == "/a/*"


def test_the_canonical_path_is_set():
    assert run("/%61/x%c3%a9", "/*").path == "/a/x%C3%A9"


def test_prefix_and_rewrite_change_the_path_and_not_the_query():
    assert run("/api/x", route("/api/*", strip_prefix="/api"), query="/api").target == "/x?/api"
    assert run("/u/%35", route("/u/{id}", rewrite=Rewrite(path="/v2/{id}")), query="a").target == "/v2/%35?a"


def test_a_variable_names_the_service_in_its_canonical_form():
    one = run("/%65cho/x", route("/{name}/*", service="{name}"))
    assert one.service_name == "echo"
    assert one.variables == {"name": "%65cho"}
    assert one.target == "/%65cho/x"


def test_a_split_chooses_the_service():
    shares = (Split(service="a", weight=2), Split(service="b", weight=1))
    router = Router({"external": table(route("/*", split=shares))})
    seen = []
    for _ in range(6):
        one = exchange("/x")
        router(one, proceed)
        seen.append(one.service_name)
    assert sorted(seen) == ["a", "a", "a", "a", "b", "b"]


def test_each_listener_is_asked_its_own_table():
    router = Router(
        {"external": table("/out"), "internal": table(route("/in", listeners=("internal",)), plane="internal")}
    )
    assert router(exchange("/in", plane="internal"), proceed) is PROCEEDED
    with pytest.raises(NoRoute):
        router(exchange("/in"), proceed)


# --- fixed responses ------------------------------------------------------------------------------------------------
def fixed(method="GET", **keys):
    router = Router({"external": table(route("/*", fixed_response=FixedResponse(**keys)))})
    return router(exchange("/x", method), proceed)


def test_a_fixed_response_is_answered_here():
    answer = fixed(status=503, body="wartung: ä", content_type="text/x-note")
    assert (answer.status, answer.body) == (503, ["wartung: ä".encode()])
    assert answer.headers == [("Content-Type", "text/x-note"), ("Content-Length", "11")]


def test_a_fixed_response_to_head_has_no_body_but_its_length():
    answer = fixed("HEAD", body="abc")
    assert (answer.headers[-1], answer.body) == (("Content-Length", "3"), [b""])


def test_a_status_without_body_tells_no_length():
    assert fixed(status=204).headers == []


def test_answers_are_not_shared():
    router = Router({"external": table(route("/*", fixed_response=FixedResponse()))})
    router(exchange("/x"), proceed).headers.append(("X-Request-ID", "1"))
    assert ("X-Request-ID", "1") not in router(exchange("/x"), proceed).headers


@pytest.mark.parametrize(("keys", "key"), [({"status": 100}, "status"), ({"status": 304, "body": "x"}, "body")])
def test_a_fixed_response_that_cannot_be_sent_is_refused_at_build(keys, key):
    with pytest.raises(RouteError) as refused:
        fixed(**keys)
    assert refused.value.key == f"fixed_response.{key}"


# --- paths that can be read in two ways -----------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("raw", "form"), [("/a%2fb", "%2F"), ("/a%5Cb", "%5C"), ("/a\\b", "%5C"), ("/a//b", "//"), ("/a;b", ";")]
)
def test_a_form_is_refused_unless_the_route_allows_it(raw, form):
    with pytest.raises(BadPath, match="allow_encoded"):
        run(raw, route("/*", allow_encoded=tuple({"%2F", "%5C", "//", ";"} - {form})))
    assert run(raw, route("/*", allow_encoded=(form,))).target == raw


def test_a_path_form_is_told_of_also_where_no_route_matches():
    with pytest.raises(BadPath, match="%2F"):
        run("/a%2Fb", "/x")


def test_dot_segments_are_refused_though_everything_is_allowed():
    with pytest.raises(BadPath, match="dot segment"):
        run("/a%2f..%2fb", route("/*", allow_encoded=("%2F", "%5C", "//", ";")))


def test_an_allowed_form_is_an_ordinary_character_of_its_segment():
    one = run("/projects/group%2Fname/issues", route("/projects/{id}/issues", allow_encoded=("%2F",)), "/*")
    assert one.variables == {"id": "group%2Fname"}


@pytest.mark.parametrize(
    "raw", ["/admin%2Fx", "/admin%5cx", "/admin\\x", "//admin/x", "/;/admin/x", "/admin;v=1/x", "/;%2F;%5c/admin%2F;/"]
)
def test_a_form_does_not_lead_round_a_rule(raw):
    everything = route("/*", id="all", allow_encoded=("%2F", "%5C", "//", ";"))
    with pytest.raises(BadPath, match="another route"):
        run(raw, everything, "/admin/*")
    assert run(raw, everything, "/other/*").route.id == "all"


def test_a_less_specific_rule_is_no_reason_to_refuse():
    one = run("/projects/a%2Fb", route("/projects/{id}", id="project", allow_encoded=("%2F",)), "/*")
    assert one.route.id == "project"


def test_the_rule_is_that_for_the_same_method_and_headers():
    everything = route("/*", id="all", allow_encoded=("%2F",))
    admin = route("/admin/*", methods=("GET",), headers={"X-A": "1"})
    assert run("/admin%2Fx", everything, admin).route.id == "all"
    assert run("/admin%2Fx", everything, admin, method="POST", headers=[("X-A", "1")]).route.id == "all"
    with pytest.raises(BadPath):
        run("/admin%2Fx", everything, admin, headers=[("X-A", "1")])


def test_options_for_the_gateway_itself_is_not_found():
    with pytest.raises(NoRoute):
        run("*", "/*", method="OPTIONS")


# --- routing.function -----------------------------------------------------------------------------------------------
def test_the_function_is_asked_before_the_table():
    def choose(request):
        return "chosen" if request.args.get("to") == "chosen" else None

    stripping = route("/a/*", id="a", strip_prefix="/a")
    one = run("/a/%78", stripping, query="to=chosen", function=choose, knows={"chosen"}.__contains__)
    assert (one.service_name, one.target, one.route.id) == ("chosen", "/a/%78?to=chosen", FUNCTION_ROUTE)
    one = run("/a/%78", stripping, query="to=none", function=choose, knows={"chosen"}.__contains__)
    assert (one.service_name, one.target, one.route.id) == ("s", "/%78?to=none", "a")


def test_what_the_function_chose_does_not_need_a_route():
    assert run("/x", function=lambda request: "s").service_name == "s"


def test_a_service_that_is_not_known_is_refused():
    with pytest.raises(UnknownService, match="'nope'"):
        run("/x", "/*", function=lambda request: "nope", knows={"s"}.__contains__)


def test_a_path_form_is_refused_where_no_route_allows_it():
    with pytest.raises(BadPath):
        run("/a%2Fb", route("/*", allow_encoded=("%2F",)), function=lambda request: "s")


@pytest.mark.parametrize("function", [lambda request: 1 / 0, lambda request: 5, lambda request: request.data])
def test_a_failing_function_is_an_internal_error_with_a_log_line(function):
    with structlog.testing.capture_logs() as lines, pytest.raises(InternalError):
        run("/x", "/*", function=function)
    assert [line["log_level"] for line in lines] == ["error"]


def test_a_refusal_of_the_function_is_the_answer():
    def leave(request):
        raise ClientGone

    with pytest.raises(ClientGone):
        run("/x", "/*", function=leave)
