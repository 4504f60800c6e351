from __future__ import annotations

import gc
import os
import signal
import sys
import time

import pytest

from gateway.config.model import Config, Listener, Listeners, Route, Server, Service
from gateway.config.problems import Problem
from gateway.server.examination import Examination, Outcome

FILE = "gateway.yaml"


def told(outcome: Outcome) -> str:
    assert outcome.config is None
    (problem,) = outcome.problems
    return problem.message


def test_the_configuration_comes_back_whole():
    config = Config(
        listeners=Listeners(external=Listener(bind=("unix:/x",)), internal=None),
        server=Server(security_headers={"X-A": "b"}),
        services={"echo": Service()},
        routes=(Route(id="r", path="/x"),),
    )
    outcome = Examination(FILE, lambda: Outcome(config=config)).run()
    assert outcome == Outcome(config=config)
    assert type(outcome.config.admin) is type(config.admin)  # type: ignore[union-attr]


def test_frozen_mappings_stay_frozen():
    outcome = Examination(FILE, lambda: Outcome(config=Config())).run()
    with pytest.raises(TypeError):
        outcome.config.services["x"] = Service()  # type: ignore[union-attr,index]


def test_many_problems_come_back():
    problems = [
        Problem(file=FILE, why="no", path=f"routes[{number}]", line=number) for number in range(20_000)
    ]  # over a pipe's 64 KiB
    assert Examination(FILE, lambda: Outcome(problems=problems)).run().problems == problems


def test_what_is_done_in_it_stays_in_it():
    def examine() -> Outcome:
        sys.modules["gateway_test_marker"] = sys
        os.environ["GATEWAY_TEST_MARKER"] = "x"
        return Outcome(config=Config())

    assert Examination(FILE, examine).run().config == Config()
    assert "gateway_test_marker" not in sys.modules
    assert "GATEWAY_TEST_MARKER" not in os.environ


def test_code_that_hangs_is_ended_in_time():
    began = time.monotonic()
    assert "more than 0.3 s" in told(Examination(FILE, lambda: time.sleep(60), limit=0.3).run())  # type: ignore[arg-type]
    assert time.monotonic() - began < 5


@pytest.mark.parametrize(
    ("examine", "message"),
    [
        (lambda: os._exit(7), "ended with status 7"),
        (lambda: os.kill(os.getpid(), signal.SIGKILL), "ended with SIGKILL"),
        (lambda: 1 / 0, "ended with status 1"),
        (lambda: sys.exit(0), "ended with status 1"),
        (lambda: None, "has no result"),
    ],
)
def test_code_that_ends_or_kills_the_process_is_a_problem(examine, message, capfd):
    assert message in told(Examination(FILE, examine).run())


def test_the_reason_of_a_failure_is_on_standard_error(capfd):
    Examination(FILE, lambda: 1 / 0).run()  # type: ignore[arg-type,return-value]
    assert "ZeroDivisionError" in capfd.readouterr().err


def test_signals_of_the_master_do_not_reach_it_by_its_handlers():
    seen = []
    former = signal.signal(signal.SIGTERM, lambda *_: seen.append(1))
    try:
        examination = Examination(FILE, lambda: time.sleep(30))  # type: ignore[arg-type]
        examination.start()
        os.kill(examination.pid, signal.SIGTERM)
        _, status = os.waitpid(examination.pid, 0)
        assert "SIGTERM" in told(examination.finish(status))
    finally:
        signal.signal(signal.SIGTERM, former)
    assert seen == []


def test_it_ends_by_itself_when_nobody_looks_after_it():
    examination = Examination(FILE, lambda: time.sleep(60), limit=0.1)  # type: ignore[arg-type,return-value]
    examination.start()
    _, status = os.waitpid(examination.pid, 0)
    assert "SIGALRM" in told(examination.finish(status))


def test_what_the_master_made_is_not_collected_again():
    """A walk over it would copy its memory, and take longer than most examinations."""
    outcome = Examination(FILE, lambda: Outcome(problems=[Problem(file=FILE, why=str(gc.get_freeze_count()))])).run()
    assert int(told(outcome)) > 10_000
