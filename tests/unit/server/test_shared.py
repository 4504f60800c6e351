from __future__ import annotations

import os
import resource
from pathlib import Path

import pytest

from gateway.config.model import Config, State
from gateway.server import shared
from gateway.state.engines import StateError


def test_the_memory_engine_needs_a_page_and_nothing_on_disk(tmp_path: Path):
    made = shared.prepare(Config(state=State(engine="memory", path=tmp_path / "state")))
    assert (made.page.generation, made.segment_fd, made.folder) == (0, None, None)
    assert list(tmp_path.iterdir()) == []
    made.handover.close()


def test_a_state_folder_belongs_to_one_gateway(tmp_path: Path):
    config = Config(state=State(path=tmp_path / "state", max_size=1024**2))
    made = shared.prepare(config)
    assert made.segment_fd is not None
    with pytest.raises(StateError, match="in use"):
        shared.prepare(config)
    made.folder.close()
    made.handover.close()
    os.close(made.segment_fd)
    again = shared.prepare(config)
    again.folder.close()
    again.handover.close()
    os.close(again.segment_fd)


def test_the_limit_of_open_files_is_raised_to_what_is_allowed():
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    lower = 512 if hard == resource.RLIM_INFINITY else min(512, hard)
    resource.setrlimit(resource.RLIMIT_NOFILE, (lower, hard))
    try:
        shared.raise_file_limit()
        assert resource.getrlimit(resource.RLIMIT_NOFILE)[0] == hard or lower == hard
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
