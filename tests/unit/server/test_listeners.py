from __future__ import annotations

import socket
from pathlib import Path

import pytest

from gateway.config.model import Config, Listener, Listeners
from gateway.server.listeners import binds, obstacles


def config(external: tuple[str, ...] = (), internal: tuple[str, ...] = ()) -> Config:
    return Config(
        listeners=Listeners(
            external=Listener(bind=external) if external else None,
            internal=Listener(bind=internal) if internal else None,
        )
    )


@pytest.fixture
def taken():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        yield f"127.0.0.1:{listener.getsockname()[1]}"


def test_external_binds_come_before_internal_ones():
    assert list(binds(config(("a:1", "b:2"), ("c:3",)))) == [
        ("external", "a:1"),
        ("external", "b:2"),
        ("internal", "c:3"),
    ]
    assert list(binds(config(internal=("c:3",)))) == [("internal", "c:3")]


def test_a_port_in_use_is_named_with_its_listener_after_the_patience_is_spent(taken):
    naps: list[float] = []
    notices: list[str] = []
    found = obstacles(config(internal=(taken,)), patience=2.0, notice=notices.append, sleep=naps.append)
    assert found == [f"listeners.internal.bind: {taken}: in use by another process (`ss -lntxp` shows it)"]
    assert sum(naps) == 2.0
    assert len(notices) == 1


def test_a_port_that_becomes_free_in_time_is_no_obstacle():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        bind = f"127.0.0.1:{listener.getsockname()[1]}"
        assert obstacles(config((bind,)), sleep=lambda _: listener.close()) == []


def test_an_address_of_another_machine_is_refused_without_waiting():
    naps: list[float] = []
    (found,) = obstacles(config(("192.0.2.1:8000",)), sleep=naps.append)
    assert "not an address of this machine" in found
    assert naps == []


def test_every_obstacle_is_told(taken):
    found = obstacles(config((taken, "192.0.2.1:8000"), ("127.0.0.1:x",)))
    assert [text.split(":")[0] for text in found] == [
        "listeners.external.bind", "listeners.external.bind", "listeners.internal.bind",
    ]  # fmt: skip


def test_a_unix_socket_that_another_server_listens_on_is_not_taken_from_it(tmp_path: Path):
    path = tmp_path / "gateway.sock"
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen()
        (found,) = obstacles(config((f"unix:{path}",)), patience=0)
        assert "in use by another process" in found
    assert obstacles(config((f"unix:{path}",)), patience=0) == []  # it is gone, its file is left


def test_a_unix_socket_needs_its_folder_and_no_file_in_its_place(tmp_path: Path):
    (missing,) = obstacles(config((f"unix:{tmp_path}/none/gateway.sock",)))
    assert f"the folder {tmp_path}/none does not exist" in missing
    (tmp_path / "file").touch()
    (file,) = obstacles(config((f"unix:{tmp_path}/file",)))
    assert "not a socket" in file
