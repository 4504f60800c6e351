from __future__ import annotations

import json

import pytest

from gateway.wsgi import Application


@pytest.mark.parametrize(("method", "has_body"), [("GET", True), ("HEAD", False)])
def test_a_worker_that_does_not_serve_says_so(method: str, has_body: bool):
    began = []
    body = b"".join(Application()({"REQUEST_METHOD": method}, lambda *given: began.append(given)))
    ((status, headers),) = began
    fields = dict(headers)
    assert status == "503 Service Unavailable"
    assert (fields["Content-Type"], fields["Retry-After"]) == ("application/problem+json", "1")
    assert bool(body) is has_body
    if has_body:
        assert json.loads(body)["reason"] == "draining"
