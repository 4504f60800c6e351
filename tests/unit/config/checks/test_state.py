"""Rules for the shared state."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.unit.config.support import SMALLEST, config_of, problem_of


def test_a_store_that_could_not_be_made_is_refused(tmp_path: Path):
    problem = problem_of(tmp_path, SMALLEST + "state: {max_size: 1023KiB}")
    assert (problem.line, problem.path) == (4, "state.max_size")
    assert "1MiB or more" in problem.message


@pytest.mark.parametrize("state", ["{max_size: 1MiB}", "{engine: memory, max_size: 1KiB}"])
def test_a_store_that_can_be_made_is_not(tmp_path: Path, state: str):
    config_of(tmp_path, SMALLEST + f"state: {state}\nserver: {{workers: 1}}")


@pytest.mark.parametrize("server", ["{}", "{workers: 2}"])
def test_a_memory_that_several_workers_would_have_each_is_a_warning(tmp_path: Path, server: str):
    (warning,) = config_of(tmp_path, SMALLEST + f"state: {{engine: memory}}\nserver: {server}").warnings
    assert (warning.line, warning.path) == (4, "state.engine")


def test_the_memory_of_one_worker_is_not(tmp_path: Path):
    assert config_of(tmp_path, SMALLEST + "state: {engine: memory}\nserver: {workers: 1}").warnings == ()
