from __future__ import annotations

import os
from pathlib import Path

import pytest

from gateway.dev.reload import Supervisor, code_of, configuration_of, stamp


@pytest.fixture
def supervisor(tmp_path: Path) -> Supervisor:
    (tmp_path / "conf").mkdir()
    (tmp_path / "conf" / "gateway.yaml").write_text("version: 1\n")
    (tmp_path / "my_setup.py").write_text("")
    return Supervisor(
        [], {}, configuration=configuration_of(tmp_path / "conf" / "gateway.yaml"), code=code_of(tmp_path)
    )


def test_nothing_is_asked_for_without_an_edit(supervisor: Supervisor):
    assert supervisor.look() is None


def test_an_edit_of_the_configuration_asks_for_a_reload_once(supervisor: Supervisor, tmp_path: Path):
    (tmp_path / "conf" / "gateway.yaml").write_text("version: 1\nroutes: []\n")
    assert supervisor.look() == "reload"
    assert supervisor.look() is None


def test_a_file_that_may_be_included_counts_as_configuration(supervisor: Supervisor, tmp_path: Path):
    (tmp_path / "conf" / "routes.d").mkdir()
    (tmp_path / "conf" / "routes.d" / "a.yaml").write_text("routes: []\n")
    assert supervisor.look() == "reload"
    (tmp_path / "conf" / "routes.d" / "a.yaml").unlink()
    assert supervisor.look() == "reload"


def test_an_edit_of_code_asks_for_a_restart_whatever_else_was_edited(supervisor: Supervisor, tmp_path: Path):
    (tmp_path / "conf" / "gateway.yaml").write_text("version: 1\nroutes: []\n")
    (tmp_path / "my_setup.py").write_text("x = 1\n")
    assert supervisor.look() == "restart"


def test_an_edit_that_keeps_the_size_is_seen_by_its_time(supervisor: Supervisor, tmp_path: Path):
    file = tmp_path / "conf" / "gateway.yaml"
    os.utime(file, ns=(1, 1))
    assert supervisor.look() == "reload"


def test_a_file_that_is_gone_has_no_stamp(tmp_path: Path):
    assert stamp([tmp_path / "none"]) == {}
