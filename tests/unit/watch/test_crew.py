from __future__ import annotations

import threading

import structlog

from gateway.watch.crew import Crew

PATIENCE = 10.0  # seconds; for what is there in a moment


def test_work_that_hangs_delays_the_rest_only_when_all_threads_hang() -> None:
    crew = Crew("test", 3)
    gate, done = threading.Event(), threading.Semaphore(0)
    for _ in range(2):
        crew.submit(lambda: gate.wait(PATIENCE))
    for _ in range(5):
        crew.submit(done.release)
    assert all(done.acquire(timeout=PATIENCE) for _ in range(5))
    crew.submit(lambda: gate.wait(PATIENCE))
    crew.submit(done.release)
    assert not done.acquire(blocking=False)
    gate.set()
    assert done.acquire(timeout=PATIENCE)
    crew.stop()


def test_threads_come_as_they_are_needed_and_end_when_it_stops() -> None:
    crew, before = Crew("ends", 8), threading.active_count()
    assert threading.active_count() == before
    done = threading.Event()
    crew.submit(done.set)
    assert done.wait(PATIENCE)
    (thread,) = [one for one in threading.enumerate() if one.name == "ends-1"]
    crew.stop()
    thread.join(PATIENCE)
    assert not thread.is_alive()


def test_an_exception_is_logged_and_ends_no_thread() -> None:
    crew, done = Crew("test", 1), threading.Event()
    with structlog.testing.capture_logs() as lines:
        crew.submit(lambda: 1 / 0)
        crew.submit(done.set)
        assert done.wait(PATIENCE)
    assert [line["event"] for line in lines] == ["work_failed"]
    crew.stop()
