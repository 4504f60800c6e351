"""Sessions: kept per instance, and used in the way that requests documents."""

from __future__ import annotations

import threading
from email.message import Message
from types import SimpleNamespace

import pytest
import requests
from requests.cookies import extract_cookies_to_jar

from gateway.clock import FakeClock
from gateway.forward.resolver import Resolver
from gateway.forward.sessions import Sessions
from tests.support import behaviours
from tests.support.backend import FakeBackend, refusing_address
from tests.support.forwarding import Forwarding, Instance, content


@pytest.fixture
def forward():
    with Forwarding() as forwarding:
        yield forwarding


def session_of(forward, url):
    return forward.sessions.of(Instance(url), forward.settings)


def test_an_instance_has_one_session(forward):
    one, other = Instance("http://127.0.0.1:1"), Instance("http://127.0.0.1:2")
    session = forward.sessions.of(one, forward.settings)
    assert forward.sessions.of(one, forward.settings) is session
    assert forward.sessions.of(other, forward.settings) is not session
    forward.sessions.retain({other.key})
    assert forward.sessions.of(one, forward.settings) is not session


def test_threads_that_ask_at_once_get_the_same_session(forward):
    instance = Instance("http://127.0.0.1:1")
    barrier = threading.Barrier(8)
    found = []

    def ask():
        barrier.wait(10)
        found.append(forward.sessions.of(instance, forward.settings))

    threads = [threading.Thread(target=ask) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)
    assert len(found) == 8
    assert len(set(map(id, found))) == 1


def test_the_connections_of_an_instance_that_is_gone_are_closed(forward):
    gate = threading.Event()
    with FakeBackend(behaviours.by_path({"/held": behaviours.held(gate)})) as backend:
        forward(backend.url)
        statuses = []
        thread = threading.Thread(target=lambda: statuses.append(forward(backend.url, target="/held").status))
        thread.start()
        backend.wait_for_requests(2)
        forward.sessions.retain(())
        gate.set()
        thread.join(10)
        assert statuses == [200], "what is under way comes to its end"
        backend.wait_until(lambda: not backend._sockets)


def test_the_sweep_closes_idle_connections():
    clock = FakeClock()
    with FakeBackend(behaviours.echo) as backend, Forwarding() as forward:
        sessions = Sessions(Resolver(), lambda *_: None, clock.monotonic)
        session = sessions.of(Instance(backend.url), forward.settings)
        assert session.get(backend.url + "/").status_code == 200
        clock.advance(59)
        sessions.sweep()
        assert backend.open_connections == 1
        clock.advance(2)
        sessions.sweep()
        backend.wait_until(lambda: not backend._sockets)


# --- as requests documents it
def test_get_works_over_the_same_pool(forward):
    with FakeBackend(
        behaviours.answer(200, [("Content-Type", "text/plain; charset=utf-8"), ("X-A", "1")], "ü".encode())
    ) as backend:
        content(forward(backend.url))
        response = session_of(forward, backend.url).get(backend.url + "/health?a=b", headers={"X-B": "2"}, timeout=5)
        assert (response.status_code, response.reason, response.text) == (200, "Scripted", "ü")
        assert response.headers["x-a"] == "1"
        assert backend.connections == 1
        assert backend.requests[1].request_line == "GET /health?a=b HTTP/1.1"
        assert backend.requests[1].headers == [("Host", backend.address), ("X-B", "2")]


def test_other_methods_bodies_and_streams_work(forward):
    with FakeBackend(behaviours.echo) as backend:
        session = session_of(forward, backend.url)
        assert session.post(backend.url + "/", json={"a": 1}).json()["body"] == '{"a": 1}'
        with session.get(backend.url + "/", stream=True) as response:
            assert b"".join(response.iter_content(10)).startswith(b"{")
        assert backend.connections == 1
        with pytest.raises(ValueError):
            session.post(backend.url + "/", data=iter([b"a"]))


def test_compressed_and_chunked_answers_are_decoded(forward):
    with FakeBackend(behaviours.script(behaviours.gzip(b"text"), behaviours.chunked([b"a" * 100_000]))) as backend:
        session = session_of(forward, backend.url)
        assert session.get(backend.url + "/").text == "text"
        assert len(session.get(backend.url + "/").content) == 100_000


def test_nothing_of_the_environment_and_no_cookie_gets_in(forward, monkeypatch, tmp_path):
    (tmp_path / ".netrc").write_text("machine 127.0.0.1 login a password b\n")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:1")
    monkeypatch.setenv("ALL_PROXY", "http://127.0.0.1:1")
    with FakeBackend(behaviours.answer(200, [("Set-Cookie", "a=b")])) as backend:
        for _ in range(2):
            session = session_of(forward, backend.url)
            response = session.get(backend.url + "/")
            # As requests does with its own adapter's answers:
            message = Message()
            message["Set-Cookie"] = "a=b"
            raw = SimpleNamespace(_original_response=SimpleNamespace(msg=message))
            extract_cookies_to_jar(session.cookies, response.request, raw)
            assert len(session.cookies) == 0
        assert [request.headers for request in backend.requests] == [[("Host", backend.address)]] * 2


def test_redirects_are_not_followed_and_other_hosts_not_asked(forward):
    with FakeBackend(behaviours.answer(302, [("Location", "/elsewhere")])) as backend:
        session = session_of(forward, backend.url)
        assert session.get(backend.url + "/").status_code == 302
        assert len(backend.requests) == 1
        for url in ("http://127.0.0.1:9/", "http://127.0.0.1/", "http://example.com/", f"https://{backend.address}/"):
            with pytest.raises(requests.exceptions.InvalidSchema):
                session.get(url)
        with pytest.raises(requests.exceptions.InvalidSchema):
            session_of(forward, "http://127.0.0.1:80").get("http://127.0.0.1:8080/")


def test_failures_are_requests_own(forward):
    with refusing_address() as (host, port), pytest.raises(requests.ConnectionError):
        session_of(forward, f"http://{host}:{port}").get(f"http://{host}:{port}/")
    with FakeBackend(behaviours.hang) as backend, pytest.raises(requests.ReadTimeout):
        session_of(forward, backend.url).get(backend.url + "/", timeout=(5, 0.2))
    with (
        FakeBackend(behaviours.truncated(100, b"x")) as backend,
        pytest.raises(requests.exceptions.ChunkedEncodingError),  # requests' word for every body that breaks off
    ):
        session_of(forward, backend.url).get(backend.url + "/")
