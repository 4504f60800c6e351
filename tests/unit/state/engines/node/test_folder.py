from __future__ import annotations

import fcntl
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from gateway.state.engines import StateError
from gateway.state.engines.node.folder import SMALLEST, holder, prepare


def test_the_holder_is_the_process_that_prepared_the_folder(tmp_path: Path):
    folder = prepare(tmp_path / "state", SMALLEST)
    assert holder(tmp_path / "state") == os.getpid()
    folder.close()
    assert holder(tmp_path / "state") is None


def test_a_folder_that_is_not_there_has_no_holder(tmp_path: Path):
    assert holder(tmp_path / "state") is None
    (tmp_path / "file").touch()
    assert holder(tmp_path / "file" / "state") is None


@pytest.mark.parametrize("text", ["", "not a number", "0", "999999999", str(os.getppid())])
def test_a_process_that_has_not_the_lock_open_is_no_holder(tmp_path: Path, text: str):
    (tmp_path / "lock").write_text(text)
    assert holder(tmp_path) is None


def test_looking_for_the_holder_keeps_nobody_from_the_folder(tmp_path: Path):
    """A probe that took the lock for a moment would make a gateway that starts meanwhile give up."""
    (tmp_path / "lock").write_text(str(os.getpid()))
    child = [sys.executable, "-c", "import sys; input(); import fcntl; fcntl.flock(open(sys.argv[1]), 2 | 4)"]
    with (tmp_path / "lock").open() as lock:
        with subprocess.Popen([*child, tmp_path / "lock"], stdin=subprocess.PIPE) as other:
            assert holder(tmp_path) == os.getpid()
            other.communicate(b"\n")
        assert other.returncode == 0
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may look everywhere")
def test_a_folder_of_another_user_is_an_error(tmp_path: Path):
    (tmp_path / "lock").touch(0)
    with pytest.raises(StateError, match="cannot be looked into by this user"):
        holder(tmp_path)


@contextmanager
def kept(folder: Path, text: str) -> Iterator[subprocess.Popen[bytes]]:
    """A process that has the folder's lock until it is killed, while `text` stands in the file."""
    folder.mkdir()
    (folder / "lock").write_text(text)
    code = "import sys, fcntl; fcntl.flock(lock := open(sys.argv[1]), 2 | 4); print(flush=True); input()"
    child = [sys.executable, "-c", code, folder / "lock"]
    with subprocess.Popen(child, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as other:
        assert other.stdout is not None
        other.stdout.readline()
        yield other
        other.kill()


@pytest.mark.parametrize("number", [lambda: 999999999, os.getpid], ids=["none", "ours"])
def test_workers_without_their_master_are_named_after_some_patience(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: Callable[[], int]
):
    """A number of ours is one from before a container was started again."""
    monkeypatch.setattr("gateway.state.engines.node.folder.PATIENCE", 0.3)
    with kept(tmp_path / "state", str(number())) as other:
        began = time.monotonic()
        with pytest.raises(
            StateError, match=f"workers of a gateway whose master is gone, process ids {other.pid}: they"
        ):
            prepare(tmp_path / "state", SMALLEST)
        assert time.monotonic() - began > 0.3


def test_workers_without_their_master_are_waited_for(tmp_path: Path):
    with kept(tmp_path / "state", "999999999\n") as other:
        threading.Timer(0.3, other.kill).start()
        prepare(tmp_path / "state", SMALLEST).close()


def test_another_gateway_is_not_waited_for(tmp_path: Path):
    with kept(tmp_path / "state", "") as other:
        (tmp_path / "state" / "lock").write_text(str(other.pid))
        began = time.monotonic()
        with pytest.raises(StateError, match=f"in use by the gateway with process id {other.pid}; stop it"):
            prepare(tmp_path / "state", SMALLEST)
        assert time.monotonic() - began < 2
