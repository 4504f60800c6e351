"""Backends, networks and clients that fail: what the attempt ends with, when, and what the backend has seen."""

from __future__ import annotations

import re
import socket
import threading

import pytest

from gateway.clock import FakeClock
from gateway.config.model import Timeouts
from gateway.errors import (
    AddressRefused,
    BodyTooLarge,
    ClientGone,
    ClientTimeout,
    ConnectRefused,
    ConnectTimeout,
    DeadlineExceeded,
    LoopDetected,
    Malformed,
    NameUnresolved,
    NotSupported,
    PoolExhausted,
    UpstreamReset,
    UpstreamTimeout,
)
from tests.support import behaviours
from tests.support.backend import FakeBackend, refusing_address, silent_address
from tests.support.forwarding import PATIENT, PSEUDONYM, Forwarding, content, make_exchange, pieces
from tests.support.timing import ends_after


@pytest.fixture
def forward():
    with Forwarding() as forwarding:
        yield forwarding


class Client:
    """A body that plays back; an exception among its steps is raised."""

    def __init__(self, *steps):
        self.steps = list(steps)

    def read1(self, size):
        step = self.steps.pop(0) if self.steps else b""
        if isinstance(step, BaseException):
            raise step
        return step

    def read(self, size=-1):
        return self.read1(size)


def is_clean(forward, url):
    assert repr(forward.pool(url)) == "Pool(0 of 64 connections, 0 idle)"


# --- the backend cannot be reached
def test_a_refused_connection_is_told_at_once(forward):
    with refusing_address() as (host, port):
        with pytest.raises(ConnectRefused) as caught:
            forward(f"http://{host}:{port}")
        assert (caught.value.status, caught.value.sent, caught.value.instance) == (502, False, "i1")
        is_clean(forward, f"http://{host}:{port}")


def test_a_connection_that_does_not_come_about_ends_at_its_limit(forward):
    with silent_address() as (host, port), ends_after(0.3), pytest.raises(ConnectTimeout) as caught:
        forward(f"http://{host}:{port}", timeouts=Timeouts(connect=0.3))
    assert (caught.value.status, caught.value.sent) == (504, False)


def test_the_requests_deadline_bounds_connecting_too(forward):
    with silent_address() as (host, port), ends_after(0.3), pytest.raises(DeadlineExceeded):
        forward(f"http://{host}:{port}", timeouts=Timeouts(connect=5.0, request=0.3))


def test_a_deadline_that_is_over_costs_no_attempt(forward):
    with FakeBackend(behaviours.echo) as backend:
        forward(backend.url)
        with pytest.raises(DeadlineExceeded):
            forward(backend.url, timeouts=Timeouts(request=0.0))
        assert len(backend.requests) == 1
        assert forward(backend.url).status == 200
        assert backend.connections == 1


def test_a_name_that_does_not_resolve_costs_at_most_its_limit():
    gate = threading.Event()

    def lookup(host):
        gate.wait(30)
        return []

    with Forwarding(lookup=lookup) as forward:
        with ends_after(0.3), pytest.raises(NameUnresolved):
            forward("http://backend.test:80", timeouts=Timeouts(dns=0.3))
        gate.set()


def test_all_addresses_of_a_name_are_tried():
    with FakeBackend(behaviours.echo) as backend, refusing_address():
        lookup = {"backend.test": ["127.0.0.99", "127.0.0.98", "127.0.0.1"]}.__getitem__
        with Forwarding(lookup=lookup) as forward:
            for _ in range(3):
                assert forward(f"http://backend.test:{backend.port}", method="POST").status == 200
                backend.drop_connections()


def test_an_address_that_swallows_packets_leaves_time_for_the_next():
    forwarding = Forwarding(lookup=lambda host: ["127.0.0.1", "127.0.0.2"])
    with (
        silent_address() as (_, port),
        socket.create_server(("127.0.0.2", port)),
        forwarding as forward,
        pytest.raises(UpstreamTimeout),  # the second one takes the connection, and never answers
    ):
        forward(f"http://backend.test:{port}", timeouts=Timeouts(connect=2.0, upstream=0.1))


def test_each_connect_asks_whether_the_address_is_allowed():
    asked = []

    def rule(instance, address, port):
        asked.append((instance.id, address, port))
        return "outside admin.register_networks"

    with FakeBackend(behaviours.echo) as backend, Forwarding(rule=rule) as forward:
        for _ in range(2):
            with pytest.raises(AddressRefused, match="register_networks"):
                forward(f"http://localhost:{backend.port}")
        assert ("i1", "127.0.0.1", backend.port) in asked
        assert backend.connections == 0
        is_clean(forward, f"http://localhost:{backend.port}")


# --- the backend does not answer in time
@pytest.mark.parametrize("method, body", [("GET", None), ("POST", b"hello")])
def test_a_backend_that_hangs_costs_the_limit(forward, method, body):
    with FakeBackend(behaviours.hang) as backend:
        for _ in range(2):
            with ends_after(0.4), pytest.raises(UpstreamTimeout) as caught:
                forward(backend.url, method=method, body=body, timeouts=Timeouts(upstream=0.4))
            assert (caught.value.status, caught.value.failure) == (504, "timeout")
        is_clean(forward, backend.url)
        backend.wait_until(lambda: not backend._sockets)


def test_a_backend_that_dribbles_its_head_costs_the_limit(forward):
    dribbled = behaviours.dribble(b"HTTP/1.1 200 OK\r\nX: " + b"x" * 1000, 0.03)
    with FakeBackend(dribbled) as backend, ends_after(0.4), pytest.raises(UpstreamTimeout):
        forward(backend.url, timeouts=Timeouts(upstream=0.4))


def test_a_backend_that_dribbles_interim_answers_costs_the_limit(forward):
    def behaviour(call):
        call.request()
        for _ in range(100):
            call.send(b"HTTP/1.1 102 Processing\r\n\r\n")
            call.pause(0.05)

    with FakeBackend(behaviour) as backend, ends_after(0.4), pytest.raises(UpstreamTimeout):
        forward(backend.url, timeouts=Timeouts(upstream=0.4))


def test_the_requests_deadline_bounds_the_head(forward):
    with FakeBackend(behaviours.dribble(b"HTTP/1.1 200 OK\r\nX: " + b"x" * 1000, 0.03)) as backend:
        with ends_after(0.4), pytest.raises(DeadlineExceeded) as caught:
            forward(backend.url, timeouts=Timeouts(upstream=5.0, request=0.4))
        assert caught.value.status == 504


def test_the_limit_holds_on_a_connection_that_had_another_before(forward):
    with FakeBackend(behaviours.script(behaviours.echo, behaviours.hang)) as backend:
        forward(backend.url, timeouts=Timeouts(upstream=5.0))
        with ends_after(0.3), pytest.raises(UpstreamTimeout):
            forward(backend.url, timeouts=Timeouts(upstream=0.3))
        assert backend.connections == 1


def test_a_backend_that_does_not_take_the_body_costs_the_limit(forward):
    with FakeBackend(behaviours.hang_unread) as backend, ends_after(0.4), pytest.raises(UpstreamTimeout):
        forward(backend.url, method="PUT", body=bytes(20_000_000), timeouts=Timeouts(upstream=0.4))


def test_a_body_may_take_longer_than_the_head_if_it_keeps_coming():
    clock = FakeClock()
    with FakeBackend(behaviours.slow_body([b"one"] * 5, 0.05)) as backend, Forwarding(now=clock.monotonic) as forward:
        found = []
        for piece in pieces(forward(backend.url)):
            found.append(piece)
            clock.advance(PATIENT.upstream - 1)
        assert b"".join(found) == b"one" * 5


@pytest.mark.parametrize("chunked", [False, True])
def test_waiting_for_the_client_does_not_count(chunked):
    """The deadline is paused while the client sends, for small bodies as for streamed ones."""
    clock = FakeClock()

    class Slow(Client):
        def read1(self, size):
            clock.advance(1000.0)
            return super().read1(size)

    headers = [("Host", "h")] if chunked else [("Host", "h"), ("Content-Length", "3")]
    exchange = make_exchange(method="POST", headers=headers, body=Slow(b"a", b"b", b"c"), chunked=chunked)
    with FakeBackend(behaviours.echo) as backend, Forwarding(now=clock.monotonic) as forward:
        assert forward(backend.url, exchange).status == 200
        assert backend.requests[0].body == b"abc"
    assert exchange.bytes_in == 3
    assert exchange.upstream_seconds == 0.0
    assert exchange.deadline == clock.monotonic() + PATIENT.request


# --- the backend ends the connection
@pytest.mark.parametrize(
    "behaviour",
    [behaviours.reset, behaviours.close, *(behaviours.reset_after(stage) for stage in ("head", "body", "answer_head"))],
)
@pytest.mark.parametrize("method", ["GET", "POST"])
def test_a_connection_that_ends_before_the_answer_is_a_failure(forward, behaviour, method):
    with FakeBackend(behaviour) as backend:
        with pytest.raises(UpstreamReset) as caught:
            forward(backend.url, method=method, body=b"hello" if method == "POST" else None)
        assert (caught.value.status, caught.value.sent) == (502, True)
        is_clean(forward, backend.url)
        assert backend.connections == 1, "a fresh connection that fails is not replaced"


@pytest.mark.parametrize("behaviour", [behaviours.close, behaviours.reset_after("answer_head"), behaviours.reset])
def test_how_a_connection_ended_is_told(forward, behaviour):
    with FakeBackend(behaviour) as backend, pytest.raises(UpstreamReset) as caught:
        forward(backend.url)
    assert re.fullmatch(
        "The backend ended the connection: (before its answer was whole|Connection reset by peer)", caught.value.detail
    )


def test_a_stale_connection_is_replaced_for_whatever_is_safe_to_send_again(forward):
    for arguments in (
        {"method": "GET"},
        {"method": "PUT", "body": b"hello"},
        {"method": "PUT", "body": b"x" * 1000, "chunked": True},
        {"method": "DELETE"},
    ):
        with FakeBackend(behaviours.script(behaviours.echo, _reset_when_asked_again, behaviours.echo)) as backend:
            content(forward(backend.url, **arguments))
            answer = forward(backend.url, **arguments)
            assert answer.status == 200
            content(answer)
            assert backend.connections == 2
            assert backend.requests[-1].complete
            assert backend.requests[-1].body == arguments.get("body", b"")


def _reset_when_asked_again(call):
    """How it looks when the backend had closed the connection just before the request came."""
    call.reset()


def test_a_connection_closed_while_idle_is_replaced_for_every_method(forward):
    with FakeBackend(behaviours.close_after(behaviours.echo)) as backend:
        for number in range(1, 4):
            assert forward(backend.url, method="POST", body=b"hello").status == 200
            backend.wait_until(lambda: not backend._sockets)
            assert (len(backend.requests), backend.connections) == (number, number)


def test_a_connection_that_said_something_while_idle_is_replaced(forward):
    late = b"HTTP/1.1 408 Request Timeout\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"

    def behaviour(call):
        behaviours.echo(call)
        assert gate.wait(10)
        call.send(late)
        spoken.set()

    gate, spoken = threading.Event(), threading.Event()
    with FakeBackend(behaviour) as backend:
        assert forward(backend.url, method="POST", body=b"hello").status == 200
        gate.set()
        assert spoken.wait(10)
        assert forward(backend.url, method="POST", body=b"hello").status == 200
        assert backend.connections == 2


def test_a_post_that_may_have_been_processed_is_not_sent_again(forward):
    with FakeBackend(behaviours.script(behaviours.echo, behaviours.close, behaviours.echo)) as backend:
        forward(backend.url, method="POST", body=b"one")
        with pytest.raises(UpstreamReset):
            forward(backend.url, method="POST", body=b"two")
        assert [request.body for request in backend.requests] == [b"one", b"two"]


def test_a_get_that_was_answered_in_part_is_not_sent_again(forward):
    with FakeBackend(behaviours.script(behaviours.echo, behaviours.reset_after("answer_head"))) as backend:
        forward(backend.url)
        with pytest.raises(UpstreamReset):
            forward(backend.url)
        assert len(backend.requests) == 2


def test_a_replacement_that_fails_too_is_a_failure(forward):
    with FakeBackend(behaviours.script(behaviours.echo, behaviours.close)) as backend:
        forward(backend.url)
        with pytest.raises(UpstreamReset):
            forward(backend.url)
        assert backend.connections == 2


def test_a_long_body_is_sent_once(forward):
    def half(call):
        call.some(500_000)
        call.reset()

    with FakeBackend(behaviours.script(behaviours.echo, half)) as backend:
        forward(backend.url)
        exchange = make_exchange(method="PUT", body=bytes(5_000_000))
        with pytest.raises(UpstreamReset):
            forward(backend.url, exchange)
        assert not exchange.upload.replayable
        assert len(backend.requests) == 2


def test_an_exchange_with_a_short_body_can_be_forwarded_again(forward):
    for arguments in ({"body": b"hello"}, {"body": b"hello", "chunked": True}):
        with FakeBackend(behaviours.statuses(503, 200)) as backend:
            exchange = make_exchange(method="POST", **arguments)
            assert [forward(backend.url, exchange).status for _ in range(2)] == [503, 200]
            assert exchange.upload.replayable
            assert [request.body for request in backend.requests] == [b"hello", b"hello"]
            assert exchange.bytes_in == 5


# --- an answer before the body is sent
@pytest.mark.parametrize("keep", [False, True])
@pytest.mark.parametrize("chunked", [False, True])
def test_an_answer_that_comes_while_the_client_uploads_is_delivered(forward, keep, chunked):
    with FakeBackend(behaviours.early_answer(413, b"too much", read=1000, keep=keep)) as backend:
        answer = forward(backend.url, method="POST", body=bytes(30_000_000), chunked=chunked)
        assert (answer.status, content(answer)) == (413, b"too much")
        is_clean(forward, backend.url)
        backend.wait_for_requests(1)
        assert not backend.requests[0].complete


def test_an_answer_that_overtakes_the_end_of_the_connection_is_delivered(forward):
    """The backend answers and closes without reading the body, so that what is sent to it is answered by RST."""

    def behaviour(call):
        call.head()
        call.answer(401, [("Connection", "close")], b"who are you?")
        call.close()

    with FakeBackend(behaviour) as backend:
        for size in (10, 64_000, 10_000_000):
            answer = forward(backend.url, method="POST", body=bytes(size))
            assert (answer.status, content(answer)) == (401, b"who are you?")


def test_an_answer_to_a_body_that_nobody_reads_is_delivered(forward):
    """The upload stands still, for the backend reads nothing, when the answer comes."""

    def behaviour(call):
        call.head()
        call.pause(0.2)
        call.answer(507, [], b"no room")
        call.backend._closing.wait(30)
        call.open = False

    with FakeBackend(behaviour) as backend:
        answer = forward(backend.url, method="POST", body=bytes(20_000_000))
        assert (answer.status, content(answer)) == (507, b"no room")


def test_an_answer_ends_an_upload_between_two_pieces_of_the_client(forward):
    answered = threading.Event()

    def behaviour(call):
        call.some(1)
        call.answer(409, [], b"enough")
        answered.set()

    class Endless:
        reads = 0

        def read1(self, size):
            self.reads += 1
            if self.reads > 1:
                assert answered.wait(10)
            return b"x" * 10 if self.reads < 1000 else b""

        read = None

    client = Endless()
    with FakeBackend(behaviour) as backend:
        answer = forward(backend.url, method="POST", body=client, chunked=True)
        assert (answer.status, content(answer)) == (409, b"enough")
        assert client.reads == 2


def test_interim_answers_do_not_stop_an_upload(forward):
    def behaviour(call):
        call.head()
        for _ in range(3):
            call.send(b"HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n")
        call.send(b"HTTP/1.1 102 Proc")
        call.some(100_000)
        call.send(b"essing\r\n\r\n")
        behaviours.echo(call)

    with FakeBackend(behaviour) as backend:
        assert content(forward(backend.url, method="POST", body=bytes(1_000_000)))
        assert backend.requests[0].complete


# --- the client breaks off
@pytest.mark.parametrize("kind", [ClientGone, ClientTimeout, BodyTooLarge, Malformed])
@pytest.mark.parametrize("length", [50, 5_000_000, None])
def test_a_body_that_the_client_breaks_off_never_becomes_a_whole_request(forward, kind, length):
    headers = [("Host", "h"), *([("Content-Length", str(length))] if length else [])]
    with FakeBackend(behaviours.echo) as backend:
        content(forward(backend.url))
        with pytest.raises(kind):
            forward(backend.url, method="POST", headers=headers, body=Client(b"1234567", kind()), chunked=not length)
        assert content(forward(backend.url))
        assert [request.method for request in backend.requests if request.complete] == ["GET", "GET"]
        broken = next(request for request in backend.wait_for_requests(3) if request.method == "POST")
        assert (broken.body, broken.ended) == (b"1234567", "eof")


@pytest.mark.parametrize("length", [50, 5_000_000])
def test_a_short_read_is_a_client_that_broke_off(forward, length):
    headers = [("Host", "h"), ("Content-Length", str(length))]
    with FakeBackend(behaviours.echo) as backend:
        with pytest.raises(ClientGone):
            forward(backend.url, method="PUT", headers=headers, body=Client(b"1234567"))
        assert content(forward(backend.url))
        assert [request.method for request in backend.requests if request.complete] == ["GET"]


# --- connections are bounded and shared
def test_more_connections_than_the_pool_has_are_refused_after_a_wait():
    gate = threading.Event()
    with FakeBackend(behaviours.held(gate)) as backend, Forwarding(pool=2) as forward:
        threads = [threading.Thread(target=forward, args=(backend.url,)) for _ in range(2)]
        for thread in threads:
            thread.start()
        backend.wait_for_requests(2)
        with ends_after(0.3), pytest.raises(PoolExhausted) as caught:
            forward(backend.url, timeouts=Timeouts(connect=0.3))
        assert (caught.value.status, caught.value.sent, caught.value.failure) == (503, False, "none")
        gate.set()
        for thread in threads:
            thread.join(10)
        assert forward(backend.url).status == 200
        assert backend.connections == 2


def test_who_waits_for_a_connection_gets_the_one_that_is_given_back():
    gate = threading.Event()
    with FakeBackend(behaviours.held(gate)) as backend, Forwarding(pool=1) as forward:
        statuses = []
        threads = [threading.Thread(target=lambda: statuses.append(forward(backend.url).status)) for _ in range(4)]
        for thread in threads:
            thread.start()
        backend.wait_for_requests(1)
        gate.set()
        for thread in threads:
            thread.join(20)
        assert statuses == [200] * 4
        assert backend.connections == 1


def test_threads_do_not_get_each_others_answers(forward):
    def work(number):
        for turn in range(50):
            mark = f"/{number}-{turn}"
            assert f'"target": "{mark}"'.encode() in content(forward(backend.url, target=mark))
        done.append(number)

    done = []
    with FakeBackend(behaviours.echo) as backend:
        threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
        assert sorted(done) == list(range(8))
        assert backend.connections <= 8


# --- what is not forwarded
def test_a_request_that_has_been_here_is_a_loop(forward):
    with FakeBackend(behaviours.echo) as backend:
        with pytest.raises(LoopDetected):
            forward(backend.url, headers=[("Host", "h"), ("Via", f"1.1 nginx, 1.1 {PSEUDONYM}")])
        assert backend.connections == 0


def test_connect_is_not_forwarded(forward):
    with FakeBackend(behaviours.echo) as backend, pytest.raises(NotSupported):
        forward(backend.url, method="CONNECT")
