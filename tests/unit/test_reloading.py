from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from gateway import cli, reloading
from gateway.config.addresses import Bind
from gateway.config.problems import ConfigErrors
from gateway.reloading import Outcome, Place, locate, outcome

VALID: dict[str, Any] = {"version": 1, "services": {}, "routes": []}


def readiness(generation: int, last_reload: dict[str, Any] | None = None) -> dict[str, Any]:
    return {"status": "ready", "generation": generation, "last_reload": last_reload}


def report(at: int, *errors: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"ok": not errors, "at": f"2026-01-01T00:00:0{at}.000Z", "errors": list(errors), **more}


def error(line: int, path: str, message: str) -> dict[str, Any]:
    return {"file": "/etc/gateway.yaml", "line": line, "path": path, "message": message}


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "gateway.yaml"


# --- the outcome ----------------------------------------------------------------------------------------------------
def test_nothing_new_is_no_outcome_yet():
    assert outcome(readiness(1), readiness(1)) is None
    assert outcome(readiness(2, report(1)), readiness(2, report(1))) is None


def test_a_new_generation_is_told():
    assert outcome(readiness(2, report(1)), readiness(3, report(2))) == (0, "reloaded: generation 3")


def test_a_report_of_success_counts_with_its_generation_only():
    assert outcome(readiness(2, report(1)), readiness(2, report(2))) is None


def test_a_refusal_tells_every_error_with_its_place_and_exits_with_78():
    found = report(2, error(9, "routes[0].pth", "unknown key"), error(1, "", "not YAML"))
    told = outcome(readiness(2), readiness(2, found))
    assert told is not None
    assert told.status == 78
    assert told.text.splitlines() == [
        "/etc/gateway.yaml:9: routes[0].pth: unknown key",
        "/etc/gateway.yaml:1: not YAML",
        "refused: the gateway goes on with generation 2",
    ]


def test_errors_that_the_report_leaves_out_are_counted():
    told = outcome(readiness(1), readiness(1, report(2, error(1, "a", "b"), omitted=7)))
    assert told is not None
    assert "and 7 more" in told.text


# --- where the gateway is -------------------------------------------------------------------------------------------
def located(file: Path, **more: Any) -> Place:
    file.write_text(json.dumps({**VALID, **more}))
    return locate(file)


def test_the_internal_listener_tells_and_the_state_folder_lies_beside_the_file(file: Path):
    assert located(file) == Place("node", file.parent / "var/state", Bind("127.0.0.1", 8001))


def test_whichever_listener_carries_the_admin_api_tells(file: Path):
    place = located(file, admin={"listeners": ["external"], "token": "t"}, listeners={"internal": None})
    assert place.admin == Bind("0.0.0.0", 8000)
    assert place.admin.near == "127.0.0.1"
    assert located(file, admin={"listeners": []}).admin is None


def test_mistakes_elsewhere_in_the_file_do_not_matter(file: Path):
    place = located(file, routes=[{"id": "a", "pth": "/a"}], server={"threads": "many"})
    assert place == Place("node", file.parent / "var/state", Bind("127.0.0.1", 8001))
    assert located(file, listeners={"internal": {"bind": ["nonsense"]}}).admin is None


@pytest.mark.parametrize("text", ["version: 1\nroutes:\n  - {id: b, path", "", "version: 1\nstate: {path: 7}\n"])
def test_a_file_that_does_not_tell_the_state_folder_is_an_error(file: Path, text: str):
    file.write_text(text)
    with pytest.raises(ConfigErrors):
        locate(file)


# --- the command ----------------------------------------------------------------------------------------------------
def test_a_gateway_that_does_not_run_is_told_with_its_folder_and_what_to_do(
    file: Path, capsys: pytest.CaptureFixture[str]
):
    file.write_text(json.dumps(VALID))
    assert cli.main(["reload", str(file)]) == 1
    told = capsys.readouterr().err
    assert f"no gateway runs on the state folder {file.parent}/var/state" in told
    assert f"gateway run {file}" in told
    assert not (file.parent / "var").exists()


def test_with_the_memory_engine_the_signal_is_the_operators_business(file: Path, capsys: pytest.CaptureFixture[str]):
    file.write_text(json.dumps({**VALID, "state": {"engine": "memory"}}))
    assert cli.main(["reload", str(file)]) == 1
    assert "kill -HUP" in capsys.readouterr().err


def test_a_file_that_cannot_be_read_is_told_with_its_place_and_78(file: Path, capsys: pytest.CaptureFixture[str]):
    file.write_text("routes: [\n")
    assert cli.main(["reload", str(file)]) == 78
    told = capsys.readouterr().err
    assert told.startswith(f"{file}:2:")
    assert "nothing was sent" in told


def test_what_came_of_it_goes_to_standard_output_and_what_is_wrong_to_standard_error(
    file: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
):
    for status in (0, 78):
        monkeypatch.setattr(reloading, "reload", lambda file, status=status: Outcome(status, "told"))
        assert cli.main(["reload", str(file)]) == status
    assert capsys.readouterr() == ("told\n", "told\n")
