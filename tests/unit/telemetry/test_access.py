"""The access line: every key, nothing secret, nothing that a client could make a second line of."""

import json
from types import SimpleNamespace

import pytest

from gateway.clock import FakeClock
from gateway.config.model import Logging
from gateway.exchange import Exchange
from gateway.telemetry.access import AccessLog, QueryMask

KEYS = [
    "time", "level", "event", "request_id", "method", "path", "query", "listener", "client", "route", "service",
    "instance", "attempts", "status", "reason", "bytes_in", "bytes_out", "duration_ms", "upstream_ms",
]  # fmt: skip


def exchange(**values):
    made = Exchange({"REQUEST_METHOD": "GET"}, "external")
    made.request_id = "abc"
    made.raw_path = "/echo/a"
    made.client = "203.0.113.9"
    for name, value in values.items():
        setattr(made, name, value)
    return made


def line(of=None, status=200, reason=None, bytes_out=5, seconds=0.0123456, **settings):
    lines = []
    log = AccessLog(Logging(**settings), lines.append, FakeClock(wall=1_700_000_000.0625))
    log.write(of or exchange(), status, reason, bytes_out, seconds)
    return lines[0] if lines else None


def test_it_holds_every_key_in_order():
    told = json.loads(line())
    assert list(told) == KEYS
    assert told == {
        "time": "2023-11-14T22:13:20.062Z", "level": "info", "event": "request", "request_id": "abc", "method": "GET",
        "path": "/echo/a", "query": None, "listener": "external", "client": "203.0.113.9", "route": None,
        "service": None, "instance": None, "attempts": 0, "status": 200, "reason": None, "bytes_in": 0, "bytes_out": 5,
        "duration_ms": 12.346, "upstream_ms": 0.0,
    }  # fmt: skip


def test_it_names_route_service_and_instance():
    told = json.loads(
        line(
            exchange(
                route=SimpleNamespace(id="r"), service_name="s", instance=SimpleNamespace(id="i"), attempts=2,
                bytes_in=7, upstream_seconds=0.5,
            ),
            status=502,
            reason="upstream_reset",
        )
    )  # fmt: skip
    assert (told["route"], told["service"], told["instance"], told["attempts"]) == ("r", "s", "i", 2)
    assert (told["level"], told["status"], told["reason"]) == ("error", 502, "upstream_reset")
    assert (told["bytes_in"], told["upstream_ms"]) == (7, 500.0)


@pytest.mark.parametrize("format", ["json", "console"])
def test_a_client_cannot_write_lines_of_its_own(format):
    evil = '"\\\r\n{"event":"x"}\x1b[2J\x00\x85\xff'
    written = line(exchange(method=evil, raw_path=evil, client=evil, query=evil, request_id=evil), format=format)
    assert written.isascii()
    assert written[:-1].isprintable()
    assert written.endswith("\n")
    if format == "json":
        assert json.loads(written)["path"] == evil


@pytest.mark.parametrize(
    ("query", "shown"),
    [
        ("a=1&b=2", "a=1&b=2"),
        ("token=abc", "token=***"),
        ("a=1&Token=abc&b=2", "a=1&Token=***&b=2"),
        ("%74oken=abc", "%74oken=***"),
        ("%54%4f%4B%45%4E=abc", "%54%4f%4B%45%4E=***"),
        ("x-api-key=abc=def", "x-api-key=***"),
        ("a=1;password=abc", "a=1;password=***"),
        ("a=1;token=abc;b=2&c;&token=d", "a=1;token=***;b=2&c;&token=***"),
        ("token=a&token=b", "token=***&token=***"),
        ("tokens=1&mytoken=2", "tokens=1&mytoken=2"),
        ("token", "token"),
        ("a=token", "a=token"),
        ("", ""),
        ("+token=abc", "+token=***"),
        ("%ff=%zz", "%ff=%zz"),
    ],
)
def test_query_values_of_masked_names_are_hidden(query, shown):
    assert QueryMask(Logging().mask)(query) == shown


def test_the_line_shows_the_masked_query():
    assert json.loads(line(exchange(query="token=abc")))["query"] == "token=***"
    assert "/echo/a?token=***" in line(exchange(query="token=abc"), format="console")


def test_the_console_line_leads_with_what_was_asked_and_answered():
    written = line(exchange(service_name="echo"), status=404, reason="no_route", format="console")
    assert written.startswith("2023-11-14T22:13:20.062Z GET /echo/a 404 12.3ms reason=no_route listener=external")
    assert "service=echo" in written
    assert "request_id=abc" in written


def test_switched_off_it_still_tells_of_errors():
    assert line(access=False) is None
    assert line(status=499, access=False) is None
    assert json.loads(line(status=500, access=False))["status"] == 500


def test_a_sample_keeps_its_share_and_every_error():
    lines = []
    log = AccessLog(Logging(sample=0.25), lines.append, FakeClock())
    for _ in range(4000):
        log.write(exchange(), 200, None, 0, 0.0)
    assert 800 < len(lines) < 1200
    lines.clear()
    for _ in range(100):
        log.write(exchange(), 503, "overloaded", 0, 0.0)
    assert len(lines) == 100


def test_the_time_follows_the_clock():
    lines = []
    clock = FakeClock(wall=1_700_000_000.5)
    log = AccessLog(Logging(), lines.append, clock)
    log.write(exchange(), 200, None, 0, 0.0)
    clock.advance(0.25)
    log.write(exchange(), 200, None, 0, 0.0)
    clock.advance(60)
    log.write(exchange(), 200, None, 0, 0.0)
    times = [json.loads(each)["time"] for each in lines]
    assert times == ["2023-11-14T22:13:20.500Z", "2023-11-14T22:13:20.750Z", "2023-11-14T22:14:20.750Z"]
