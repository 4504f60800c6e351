"""Tests marked `load` measure what the machine can do: they run last, one after the other, and while no other runs."""

from __future__ import annotations

import fcntl
from collections.abc import Iterator
from pathlib import Path

import pytest


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    items.sort(key=lambda item: item.get_closest_marker("load") is not None)  # stable: the rest keeps its order
    for item in items:
        if item.get_closest_marker("load"):
            item.add_marker(pytest.mark.xdist_group("load"))


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_protocol(item: pytest.Item) -> Iterator[None]:
    """A load test waits for those of other processes, and they for it."""
    with Path(__file__).open() as lock:
        fcntl.flock(lock, fcntl.LOCK_EX if item.get_closest_marker("load") else fcntl.LOCK_SH)
        return (yield)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """What tests measured (`record_property("figures", …)`), passed or not."""
    found = [
        (report.nodeid.rpartition("/")[2], value)
        for outcome in ("passed", "failed")
        for report in terminalreporter.stats.get(outcome, [])
        for name, value in getattr(report, "user_properties", ())
        if name == "figures"
    ]
    if found:
        terminalreporter.section("figures")
        for node, value in found:
            terminalreporter.line(f"{node}: {value}")
