"""Refusals as clients see them: RFC 9457, complete, and nothing that is not theirs."""

import json

import pytest

from gateway.edge.problems import problem, retry_seconds
from gateway.errors import CircuitOpen, InternalError, MethodNotAllowed, NoRoute, catalogue


def _document(answer):
    return json.loads(answer.body[0])


def test_a_problem_names_what_happened_and_what_to_do():
    refusal = NoRoute("nothing matches GET /x")
    answer = problem(refusal, "id-1", "GET")
    assert answer.status == 404
    assert answer.refusal is refusal
    assert _document(answer) == {
        "type": "urn:gateway:error:no_route",
        "title": "No route matches",
        "status": 404,
        "detail": "nothing matches GET /x",
        "reason": "no_route",
        "origin": "gateway",
        "request_id": "id-1",
        "remedy": "Compare the request with `gateway routes`.",
    }
    assert dict(answer.headers) == {
        "Content-Type": "application/problem+json",
        "Cache-Control": "no-store",
        "Content-Length": str(len(answer.body[0])),
    }


def test_it_names_policy_service_and_instance_where_they_are_known():
    refusal = CircuitOpen("open", retry_after=29.2, service="echo", instance="inst-1", policy="breaker")
    answer = problem(refusal, "id", "GET")
    document = _document(answer)
    assert (document["service"], document["instance"], document["policy"]) == ("echo", "inst-1", "breaker")
    assert document["retry_after"] == 30
    assert dict(answer.headers)["Retry-After"] == "30"


@pytest.mark.parametrize(
    ("seconds", "whole"), [(0, 1), (-5, 1), (0.2, 1), (1, 1), (1.01, 2), (29.2, 30), (float("inf"), 86400)]
)
def test_retry_after_is_rounded_up_to_whole_seconds(seconds, whole):
    assert retry_seconds(seconds) == whole


def test_the_refusals_headers_go_out():
    answer = problem(MethodNotAllowed(headers=[("Allow", "GET, HEAD")]), "id", "POST")
    assert ("Allow", "GET, HEAD") in answer.headers


def test_a_head_request_gets_the_headers_without_the_body():
    whole, head = problem(NoRoute(), "id", "GET"), problem(NoRoute(), "id", "HEAD")
    assert head.body == [b""]
    assert head.headers == whole.headers


def test_an_internal_error_tells_nothing():
    assert _document(problem(InternalError(), "id", "GET"))["detail"] == "Internal error"


@pytest.mark.parametrize("kind", list(catalogue()), ids=lambda kind: kind.reason)
def test_every_kind_has_what_a_problem_needs(kind):
    document = _document(problem(kind(), "id", "GET"))
    assert document["status"] == kind.status
    assert all(document[name] for name in ("title", "detail", "reason", "remedy"))
