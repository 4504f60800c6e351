"""What all scenarios have: backends in processes of their own, and a line for what was measured."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Iterator
from typing import Self

import pytest

from tests.support.proc import load_average
from tests.support.scenario_backend import BackendProcess

Figures = Callable[[str], None]


@pytest.fixture
def backends() -> Iterator[Callable[..., list[BackendProcess]]]:
    """backends("a", "b"): started, ended with the test."""
    with contextlib.ExitStack() as stack:

        def start(*names: str) -> list[BackendProcess]:
            return [stack.enter_context(BackendProcess(name)) for name in names]

        yield start


class Stalls:
    """How long the machine leaves a thread waiting that only wants to wake up: the worst while the block runs."""

    STEP = 0.01  # seconds

    def __init__(self) -> None:
        self.longest = 0.0
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def _watch(self) -> None:
        before = time.monotonic()
        while not self._stop.wait(self.STEP):
            now = time.monotonic()
            self.longest = max(self.longest, now - before - self.STEP)
            before = now

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()


@pytest.fixture
def figures(record_property: Callable[[str, object], None]) -> Iterator[Figures]:
    """figures("p99 3 ms"): shown under the test's name in the summary of the run, with how busy the machine was."""
    with Stalls() as stalls:

        def note(text: str) -> None:
            record_property("figures", f"{text} ({load_average()}, stalls up to {stalls.longest * 1000:.0f} ms)")

        yield note
