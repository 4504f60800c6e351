"""Tests marked `load` measure what the machine can do: they run last and one after the other, whatever else runs."""

from __future__ import annotations

import pytest


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    items.sort(key=lambda item: item.get_closest_marker("load") is not None)  # stable: the rest keeps its order
    for item in items:
        if item.get_closest_marker("load"):
            item.add_marker(pytest.mark.xdist_group("load"))


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
