from __future__ import annotations

import pytest

from gateway.config.model import Retries
from gateway.errors import (
    BadAnswer,
    ConnectRefused,
    ConnectTimeout,
    DeadlineExceeded,
    NameUnresolved,
    PoolExhausted,
    UpstreamFailure,
    UpstreamReset,
    UpstreamTimeout,
)
from gateway.exchange import Answer, Exchange
from gateway.upstream.retries import LONGEST_PAUSE, RetryPolicy, compiled, merged


class Upload:
    def __init__(self, replayable: bool) -> None:
        self.replayable = replayable


def policy(**settings: object) -> RetryPolicy:
    made = compiled(Retries(**settings))  # type: ignore[arg-type]
    assert made is not None
    return made


def exchange(method: str = "GET", *, key: str | None = None, upload: Upload | None = None) -> Exchange:
    made = Exchange({"REQUEST_METHOD": method}, "external")
    made.headers = [("Host", "x"), *([] if key is None else [(key, "42")])]
    made.upload = upload
    return made


def deadline(*, sent: bool) -> DeadlineExceeded:
    error = DeadlineExceeded()
    error.sent = sent
    return error


@pytest.mark.parametrize(
    ("outcome", "get", "post"),
    [
        (ConnectRefused(), True, True),
        (ConnectTimeout(), True, True),
        (NameUnresolved(), True, True),
        (PoolExhausted(), True, True),
        (UpstreamReset(), True, False),
        (BadAnswer(), True, False),
        (UpstreamTimeout(), False, False),  # not in the default `when`
        (deadline(sent=True), False, False),
        (deadline(sent=False), False, False),
        (Answer(502, [], [b""]), True, False),
        (Answer(503, [], [b""]), True, False),
        (Answer(504, [], [b""]), True, False),
        (Answer(500, [], [b""]), False, False),
        (Answer(429, [], [b""]), False, False),
        (Answer(200, [], [b""]), False, False),
    ],
)
def test_what_is_tried_again_by_default(outcome: Answer | UpstreamFailure, get: bool, post: bool) -> None:
    assert policy().covers(exchange("GET"), outcome) is get
    assert policy().covers(exchange("POST"), outcome) is post
    assert policy().covers(exchange("POST", key="idempotency-KEY"), outcome) is get


@pytest.mark.parametrize("method", ["GET", "HEAD", "OPTIONS", "PUT", "DELETE"])
def test_methods_that_may_be_repeated(method: str) -> None:
    assert policy().covers(exchange(method), UpstreamReset())


def test_a_body_that_is_not_kept_is_sent_once() -> None:
    assert policy().covers(exchange("PUT", upload=Upload(True)), ConnectRefused())
    assert not policy().covers(exchange("PUT", upload=Upload(False)), ConnectRefused())


def test_when_and_methods_are_the_operator_s() -> None:
    own = policy(when=("timeout", 500), methods=("post",))
    assert own.covers(exchange("POST"), UpstreamTimeout())
    assert own.covers(exchange("POST"), Answer(500, [], [b""]))
    assert not own.covers(exchange("POST"), ConnectRefused())
    assert not own.covers(exchange("GET"), UpstreamTimeout())


def test_one_attempt_is_no_policy() -> None:
    assert compiled(Retries(attempts=1)) is None


def test_a_route_s_keys_go_over_the_service_s() -> None:
    assert merged(Retries(attempts=3, backoff=1.0), {"attempts": 5}) == Retries(attempts=5, backoff=1.0)
    assert merged(Retries(attempts=3), None) == Retries(attempts=3)


def test_the_pause_is_drawn_from_a_bound_that_doubles() -> None:
    own = policy(attempts=9, backoff=0.1)
    assert [own.pause(attempts, 1.0) for attempts in (1, 2, 3)] == pytest.approx([0.1, 0.2, 0.4])
    assert own.pause(1, 0.0) == 0.0
    assert own.pause(1, 0.5) == pytest.approx(0.05)
    assert own.pause(60, 1.0) == LONGEST_PAUSE


@pytest.mark.parametrize("outcome", [UpstreamTimeout(), Answer(500, [], [b""])])
def test_a_failed_probe_of_a_half_open_breaker_is_tried_elsewhere_whatever_failed(
    outcome: Answer | UpstreamFailure,
) -> None:
    assert not policy().covers(exchange("GET"), outcome)
    assert policy().covers(exchange("GET"), outcome, probe=True)
    assert not policy().covers(exchange("POST"), outcome, probe=True)  # it may have been acted on
    assert not policy().covers(exchange("GET"), Answer(404, [], [b""]), probe=True)
