"""Every line of the gateway's own log: one shape, no secrets."""

import json
import logging

import pytest
import structlog

from gateway.config.model import Logging
from gateway.telemetry import logs


@pytest.fixture
def lines():
    yield (written := [])
    structlog.reset_defaults()
    written.clear()


def _configure(lines, **settings):
    logs.configure(Logging(**settings), lines.append, lambda: 1_700_000_000.1239)
    return structlog.get_logger("test")


def test_a_json_line_begins_with_time_level_and_event(lines):
    _configure(lines).info("reloaded", generation=3)
    assert lines == ['{"time":"2023-11-14T22:13:20.123Z","level":"info","event":"reloaded","generation":3}\n']


def test_the_level_holds_back_what_is_below_it(lines):
    log = _configure(lines, level="warning")
    log.info("quiet")
    log.warning("loud")
    assert [json.loads(line)["event"] for line in lines] == ["loud"]


def test_masked_names_are_masked_in_any_case_and_at_any_depth(lines):
    log = _configure(lines)
    log.info(
        "seen",
        Token="a1",
        request={"headers": [("Authorization", "a2"), ("Accept", "b1")], "deep": [{"PASSWORD": "a3"}]},
    )
    told = json.loads(lines[0])
    assert told["Token"] == "***"
    assert told["request"] == {"headers": [["Authorization", "***"], ["Accept", "b1"]], "deep": [{"PASSWORD": "***"}]}


def test_configured_names_replace_the_standard_ones(lines):
    _configure(lines, mask=("pin",)).info("seen", pin="1", token="2")
    assert json.loads(lines[0])["pin"] == "***"
    assert json.loads(lines[0])["token"] == "2"


@pytest.mark.parametrize("format", ["json", "console"])
def test_an_exception_comes_with_its_traceback(lines, format):
    log = _configure(lines, format=format)
    try:
        raise ValueError("broken")
    except ValueError:
        log.exception("failed")
    assert "Traceback" in lines[0]
    assert "ValueError: broken" in lines[0]


def test_the_console_shows_event_and_fields(lines):
    _configure(lines, format="console").warning("reload_refused", line=7)
    assert "reload_refused" in lines[0]
    assert "line=7" in lines[0]
    assert lines[0].endswith("\n")


def test_lines_of_the_standard_library_take_the_same_shape(lines):
    _configure(lines)
    handler = logs.StdlibHandler()
    logger = logging.Logger("gunicorn.error")
    logger.addHandler(handler)
    logger.warning("worker %d left", 7)
    assert json.loads(lines[0]) == {
        "time": "2023-11-14T22:13:20.123Z", "level": "warning", "event": "worker 7 left", "logger": "gunicorn.error",
    }  # fmt: skip


def test_a_logger_made_before_a_later_configure_writes_to_the_later_sink(lines):
    log = _configure(lines)
    log.info("first")
    second = []
    logs.configure(Logging(), second.append, lambda: 0.0)
    log.info("second")
    assert (len(lines), len(second)) == (1, 1)
