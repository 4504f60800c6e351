from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

import pytest

from gateway import cli
from gateway.server import launch

ROUTES = [
    {"id": "all", "path": "/*", "service": "echo"},
    {"id": "one", "path": "/x", "service": "echo", "methods": ["GET"]},
]


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "gateway.yaml"
    path.write_text(json.dumps({"version": 1, "services": {"echo": {}}, "routes": ROUTES}))
    return path


class Executed(Exception):
    pass


@pytest.fixture
def executed(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """What `gateway run` would have replaced this process by."""
    seen: dict[str, Any] = {}

    def execve(path: str, command: list[str], env: dict[str, str]) -> None:
        seen.update(command=command, env=env)
        raise Executed

    monkeypatch.setattr(os, "execve", execve)
    monkeypatch.setattr("signal.signal", lambda *_: None)
    return seen


def test_run_becomes_gunicorn_with_the_packaged_settings(executed: dict[str, Any], file: Path):
    with pytest.raises(Executed):
        cli.main(["run", str(file)])
    assert executed["command"] == [
        sys.executable, "-m", "gunicorn", "-c", "python:gateway.server.gunicorn_conf", "gateway.wsgi:app",
    ]  # fmt: skip
    assert executed["env"]["GATEWAY_CONFIG"] == str(file)


def test_run_passes_workers_and_what_is_behind_two_dashes_on(executed: dict[str, Any], file: Path):
    with pytest.raises(Executed):
        cli.main(["run", "-w", "3", str(file), "--", "--pid", "x"])
    assert executed["command"][-4:] == ["--workers", "3", "--pid", "x"]


def test_run_takes_a_relative_path_from_where_it_is_called(
    executed: dict[str, Any], file: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.chdir(file.parent)
    with pytest.raises(Executed):
        cli.main(["run", "gateway.yaml"])
    assert executed["env"]["GATEWAY_CONFIG"] == str(file)


@pytest.mark.parametrize("arguments", [[], ["no-such-command"], ["check", "--", "x"], ["run", "--no-such-option"]])
def test_wrong_usage_is_told_and_exits_with_2(arguments: list[str], capsys: pytest.CaptureFixture[str]):
    with pytest.raises(SystemExit) as ended:
        cli.main(arguments)
    assert ended.value.code == 2
    assert "usage: gateway" in capsys.readouterr().err


def test_help_tells_every_command(capsys: pytest.CaptureFixture[str]):
    with pytest.raises(SystemExit):
        cli.main(["--help"])
    told = capsys.readouterr().out
    commands = ("run", "check", "reload", "routes", "schema", "demo", "version")
    assert all(f"    {command} " in told for command in commands)


def test_check_of_a_valid_file_is_0(file: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(sys, "path", list(sys.path))
    assert cli.main(["check", str(file)]) == 0
    assert capsys.readouterr().out == f"{file}: valid, 2 routes, 1 services\n"


def test_check_of_a_broken_file_is_78_with_places(
    file: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(sys, "path", list(sys.path))
    file.write_text("version: 1\nservices: {}\nroutes: []\nserver: {threads: 0}\n")
    assert cli.main(["check", str(file)]) == 78
    assert capsys.readouterr().err.startswith(f"{file}:4:")
    assert cli.main(["check", "--json", str(file)]) == 78
    (error,) = json.loads(capsys.readouterr().out)["errors"]
    assert (error["file"], error["line"], error["path"]) == (str(file), 4, "server.threads")


def test_check_and_a_start_know_the_admin_apis_paths(
    file: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(sys, "path", list(sys.path))
    taken = {"id": "taken", "path": "/services", "service": "echo", "listeners": ["internal"]}
    file.write_text(json.dumps({"version": 1, "services": {"echo": {}}, "routes": [taken]}))
    assert cli.main(["check", str(file)]) == 78
    assert "the gateway itself answers /services" in capsys.readouterr().err
    (problem,) = launch._examined(file, None).problems
    assert "the gateway itself answers /services" in problem.why


def test_routes_are_columns_in_the_order_of_matching(file: Path, capsys: pytest.CaptureFixture[str]):
    assert cli.main(["routes", str(file)]) == 0
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert lines == [
        ["LISTENERS", "HOSTS", "PATH", "METHODS", "HEADERS", "TO", "ID"],
        ["external", "any", "/x", "GET", "any", "echo", "one"],
        ["external", "any", "/*", "any", "any", "echo", "all"],
    ]


def test_routes_of_a_broken_file_are_78(file: Path, capsys: pytest.CaptureFixture[str]):
    file.write_text("nonsense")
    assert cli.main(["routes", str(file)]) == 78
    assert str(file) in capsys.readouterr().err
