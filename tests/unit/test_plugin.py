from __future__ import annotations

import sys
from pathlib import Path

import pytest

from gateway import plugin


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest):
    """Writes a module under a name of its own and answers that name."""
    monkeypatch.syspath_prepend(tmp_path)
    name = f"plugged_{abs(hash(request.node.nodeid))}"

    def write(text: str) -> str:
        (tmp_path / f"{name}.py").write_text(text)
        return name

    yield write
    sys.modules.pop(name, None)


def test_a_reference_is_the_function_of_the_module(module):
    name = module("def choose(request):\n    return 'chosen'\n")
    assert plugin.resolve(f"{name}:choose")(None) == "chosen"


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "has no choose"),
        ("choose = 3\n", "is not callable"),
        ("1 / 0\n", "ZeroDivisionError: division by zero"),
        ("def (:\n", "SyntaxError"),
        ("import sys\nsys.exit(3)\n", "SystemExit: 3"),
        ("import not_there_either\n", "No module named 'not_there_either'"),
    ],
)
def test_a_reference_to_nothing_callable_tells_why(module, text, why):
    name = module(text)
    with pytest.raises(LookupError, match=why):
        plugin.resolve(f"{name}:choose")


def test_a_module_that_does_not_exist_is_named():
    with pytest.raises(LookupError, match="no_such_module cannot be imported"):
        plugin.resolve("no_such_module:choose")
