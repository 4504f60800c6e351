"""What all scenarios have: backends in processes of their own, and a line for what was measured."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator

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


@pytest.fixture
def figures(record_property: Callable[[str, object], None]) -> Figures:
    """figures("p99 3 ms"): shown under the test's name in the summary of the run, whoever runs it."""

    def note(text: str) -> None:
        record_property("figures", f"{text} ({load_average()})")

    return note
