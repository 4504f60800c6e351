"""One record a request, at the right time, however its answer ended."""

from types import SimpleNamespace

import pytest

from gateway.clock import FakeClock
from gateway.edge.record import Recorder
from gateway.errors import NoRoute, UpstreamReset
from gateway.exchange import Answer, Exchange


class Log:
    """Stands for the access log and the metrics."""

    def __init__(self):
        self.lines = []
        self.counted = []

    def write(self, exchange, status, reason, bytes_out, seconds):
        self.lines.append((status, reason, bytes_out, seconds))

    def observe(self, exchange, status, reason, seconds):
        self.counted.append((status, reason, seconds))


class Stream:
    """A body in chunks; an exception among them is raised."""

    def __init__(self, *chunks):
        self.chunks = iter(chunks)
        self.closed = 0

    def __iter__(self):
        return self

    def __next__(self):
        chunk = next(self.chunks)
        if isinstance(chunk, Exception):
            raise chunk
        return chunk

    def close(self):
        self.closed += 1


@pytest.fixture
def log():
    return Log()


@pytest.fixture
def clock():
    return FakeClock(monotonic=50.0)


@pytest.fixture
def recorder(log, clock):
    return Recorder(log, log, clock)


@pytest.fixture
def answer(recorder):
    """Records an answer with the given body; returns the answer."""

    def record(body, *, status=200, method="GET", headers=(), refusal=None):
        exchange = Exchange({"REQUEST_METHOD": method}, "external")
        exchange.received = 50.0
        made = Answer(status, list(headers), body, refusal=refusal)
        recorder.begin(exchange)
        recorder.whole(exchange, made)
        return made

    return record


def test_a_whole_answer_is_recorded_at_once(answer, log, clock):
    clock.advance(0.5)
    made = answer([b"hello"])
    assert made.body == [b"hello"]
    assert log.lines == [(200, None, 5, 0.5)]
    assert log.counted == [(200, None, 0.5)]


def test_a_refusal_is_recorded_with_its_reason(answer, log):
    answer([b"{}"], status=404, refusal=NoRoute())
    assert log.lines[0][:3] == (404, "no_route", 2)


def test_a_stream_is_recorded_when_it_has_ended(answer, log, clock):
    stream = Stream(b"ab", b"cde")
    made = answer(stream)
    assert next(made.body) == b"ab"
    clock.advance(2.0)
    assert not log.lines
    assert list(made.body) == [b"cde"]
    assert log.lines == [(200, None, 5, 2.0)]
    made.body.close()
    assert stream.closed == 1
    assert len(log.lines) == len(log.counted) == 1


def test_a_stream_that_the_backend_breaks_off_says_so_and_stays_broken(answer, log):
    made = answer(Stream(b"ab", UpstreamReset()))
    next(made.body)
    with pytest.raises(UpstreamReset):
        next(made.body)
    made.body.close()
    assert [line[:3] for line in log.lines] == [(200, "upstream_reset", 2)]


def test_a_stream_that_the_client_leaves_says_so(answer, log):
    made = answer(Stream(b"ab", b"cde"))
    next(made.body)
    made.body.close()
    assert [line[:3] for line in log.lines] == [(200, "client_gone", 2)]


def test_a_server_may_stop_when_the_announced_length_was_moved(answer, log):
    made = answer(Stream(b"ab", b"cde"), headers=[("content-length", "5")])
    next(made.body)
    next(made.body)
    made.body.close()
    assert [line[:3] for line in log.lines] == [(200, None, 5)]


@pytest.mark.parametrize(("status", "method"), [(200, "HEAD"), (204, "GET"), (304, "GET")])
def test_an_answer_that_has_no_body_may_be_closed_unread(answer, log, status, method):
    answer(Stream(b"ab"), status=status, method=method).body.close()
    assert log.lines[0][:3] == (status, None, 0)


def test_a_bug_in_a_stream_is_an_internal_error(answer, log, capsys):
    made = answer(Stream(b"ab", ValueError("bug")))
    next(made.body)
    with pytest.raises(ValueError, match="bug"):
        next(made.body)
    assert log.lines[0][:3] == (200, "internal_error", 2)
    assert "internal_error" in capsys.readouterr().out


def test_a_close_that_fails_is_recorded_all_the_same(answer, log):
    class Broken(Stream):
        def close(self):
            raise OSError("gone")

    made = answer(Broken(b"ab"))
    with pytest.raises(OSError, match="gone"):
        made.body.close()
    assert log.lines[0][1] == "client_gone"


def test_a_record_that_fails_costs_nobody_the_answer(clock, capsys):
    class Broken:
        def write(self, *_):
            raise ValueError("no")

    exchange = Exchange({"REQUEST_METHOD": "GET"}, "external")
    recorder = Recorder(Broken(), None, clock)
    recorder.begin(exchange)
    recorder.whole(exchange, Answer(200, [], [b""]))
    assert "record_failed" in capsys.readouterr().out


# --- what the end of the process cuts off
def test_an_answer_that_is_cut_off_is_recorded_once(answer, recorder, log, clock):
    made = answer(Stream(b"ab", b"cde"), status=206)
    next(made.body)
    clock.advance(2.0)
    recorder.cut()
    assert log.lines == [(206, "cut_off", 2, 2.0)]
    assert list(made.body) == [b"cde"]
    made.body.close()
    recorder.cut()
    assert len(log.lines) == len(log.counted) == 1


def test_a_request_without_an_answer_is_cut_off_too(recorder, log):
    exchange = Exchange({"REQUEST_METHOD": "POST"}, "external")
    exchange.upload = SimpleNamespace(received=7)
    recorder.begin(exchange)
    recorder.cut()
    assert [line[:3] for line in log.lines] == [(503, "cut_off", 0)]
    assert exchange.bytes_in == 7
    late = Answer(200, [], Stream(b"ab"))
    recorder.whole(exchange, late)
    assert list(late.body) == [b"ab"]
    assert len(log.lines) == 1


def test_nothing_is_cut_off_when_all_is_done(answer, recorder, log):
    answer([b"hello"])
    answer(Stream(b"ab")).body.close()
    del log.lines[:]
    recorder.cut()
    assert log.lines == []
