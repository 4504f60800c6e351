"""Configurations as text in, a Config or its problems out."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from textwrap import dedent

import pytest

from gateway.config.load import load
from gateway.config.model import Config
from gateway.config.problems import ConfigErrors, Problem

SMALLEST = "version: 1\nservices: {echo: {}}\nroutes: []\n"


def write(folder: Path, text: str, name: str = "gateway.yaml") -> Path:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(dedent(text), encoding="utf-8")
    return path


def config_of(folder: Path, text: str, environment: Mapping[str, str] | None = None) -> Config:
    return load(write(folder, text), environment or {})


def problems_of(folder: Path, text: str, environment: Mapping[str, str] | None = None) -> tuple[Problem, ...]:
    with pytest.raises(ConfigErrors) as refused:
        config_of(folder, text, environment)
    return refused.value.problems


def problem_of(folder: Path, text: str, environment: Mapping[str, str] | None = None) -> Problem:
    """The only problem."""
    problems = problems_of(folder, text, environment)
    assert len(problems) == 1, "\n".join(map(str, problems))
    return problems[0]


@pytest.fixture
def everything_built(monkeypatch: pytest.MonkeyPatch) -> None:
    """For what is checked of keys that are refused as not built."""
    monkeypatch.setattr("gateway.config.load.refuse_unbuilt", lambda *_: None)
