"""The example in docs/state.md is run as it stands, on every engine."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from gateway.clock import FakeClock
from gateway.state.engines import LONGEST_KEY
from gateway.state.engines.node.segment import COLUMNS, WORKERS
from gateway.state.operations import LARGEST_RECORD
from tests.support.engines import KINDS, engine_of

PAGE = (Path(__file__).resolve().parents[4] / "docs" / "state.md").read_text()


@pytest.mark.parametrize("kind", KINDS)
def test_the_example_does_what_it_says(kind: str, tmp_path: Path) -> None:
    (example,) = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    with engine_of(kind, tmp_path, FakeClock()) as engine:
        names: dict[str, object] = {"engine": engine}
        exec(example, names)
        assert names["allowance"].remaining == 199  # type: ignore[attr-defined]
        assert engine.version("registrations") == names["version"]
        assert engine.get("registrations/echo/inst-1") == b"{}"


def test_the_limits_are_the_ones_in_force() -> None:
    assert f"{WORKERS} worker slots, {COLUMNS:,} counters, {LARGEST_RECORD} bytes a record" in PAGE
    assert f"{LONGEST_KEY} bytes a document's key" in PAGE
