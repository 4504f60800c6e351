"""Backends that fail as they are told, and one gateway for the tests of a module."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator

import pytest

from tests.support.faults import OK, FaultBackend
from tests.wire.scenarios.conftest import figures as figures  # noqa: PLC0414 - a fixture, given on


@pytest.fixture(scope="module")
def processes() -> Iterator[Callable[..., list[FaultBackend]]]:
    """processes("a", "b"): started, ended with the module."""
    with contextlib.ExitStack() as stack:
        yield lambda *names: [stack.enter_context(FaultBackend(name)) for name in names]


@pytest.fixture(scope="module")
def abc(processes: Callable[..., list[FaultBackend]]) -> list[FaultBackend]:
    return processes("a", "b", "c")


@pytest.fixture
def fresh(abc: list[FaultBackend]) -> list[FaultBackend]:
    """The three, well, with nothing in flight and nothing counted."""
    for backend in abc:
        backend.behave(OK)
        backend.release()
        backend.drop()
        backend.wait_for(in_flight=0)
        backend.forget()
    return abc
