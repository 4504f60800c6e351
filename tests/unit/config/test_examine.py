from __future__ import annotations

import sys
from pathlib import Path

import pytest

from gateway.config.examine import examine
from gateway.config.load import load
from gateway.config.model import Config
from gateway.config.problems import ConfigErrors

BASE = """\
version: 1
listeners:
  external: {bind: ["127.0.0.1:8000"]}
services: {echo: {}}
routes:
  - {id: echo, path: /echo/*, service: echo}
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "gateway.yaml"
    path.write_text(BASE)
    return path


def refused(file: Path, current: Config | None = None) -> list[tuple[int, str, str]]:
    with pytest.raises(ConfigErrors) as found:
        examine(file, current)
    return [(problem.line, problem.path, problem.message) for problem in found.value]


def test_a_good_file_is_what_the_loader_makes_of_it(file: Path):
    assert examine(file) == load(file)
    assert examine(file, load(file)) == load(file)


def test_functions_that_cannot_be_had_are_problems_at_their_keys(file: Path):
    file.write_text(BASE + "routing: {function: no_such_module:choose}\nsetup: os.path:no_such_function\n")
    (routing, setup) = refused(file)
    assert routing[:2] == (7, "routing.function")
    assert "no_such_module cannot be imported" in routing[2]
    assert setup[:2] == (8, "setup")
    assert "has no no_such_function" in setup[2]
    assert "no_such_module" not in sys.modules


def test_what_the_gateway_cannot_change_while_it_runs_is_refused_with_both_values(file: Path):
    current = load(file)
    file.write_text(
        BASE.replace("8000", "9000")
        + "state: {path: elsewhere, max_size: 1MiB, engine: memory}\nserver: {threads: 3}\n"
    )
    problems = refused(file, current)
    assert [problem[:2] for problem in problems] == [
        (3, "listeners.external.bind"), (7, "state.path"), (7, "state.max_size"), (7, "state.engine"),
    ]  # fmt: skip
    assert problems[0][2] == "needs a restart: the gateway runs with 127.0.0.1:8000, not 127.0.0.1:9000"
    assert problems[2][2] == "needs a restart: the gateway runs with 256MiB, not 1MiB"


def test_a_listener_that_appears_or_disappears_needs_a_restart(file: Path):
    current = load(file)
    file.write_text(BASE.replace("  external:", "  internal: null\n  external:"))
    ((_, path, message),) = refused(file, current)
    assert path == "listeners.internal.bind"
    assert message.endswith("127.0.0.1:8001, not none")


def test_a_file_with_other_problems_is_not_told_to_need_a_restart(file: Path):
    current = load(file)
    file.write_text("version: 1\nservices: {}\nroutes: []\nstate: {path: elsewhere}\nserver: {threads: 0}\n")
    assert [path for _, path, _ in refused(file, current)] == ["server.threads"]
