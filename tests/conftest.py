"""Tests marked `load` measure what the machine can do: they run last and one after the other, whatever else runs."""

from __future__ import annotations

import pytest


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    items.sort(key=lambda item: item.get_closest_marker("load") is not None)  # stable: the rest keeps its order
    for item in items:
        if item.get_closest_marker("load"):
            item.add_marker(pytest.mark.xdist_group("load"))
