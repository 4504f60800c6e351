from __future__ import annotations

import ctypes
import errno
import mmap
import os
import threading
from collections.abc import Iterator

import pytest

from gateway.errors import StoreUnavailable
from gateway.state.engines.node import mutex
from gateway.state.engines.node.mutex import trylock, unlock, wait
from tests.support.engines import Worker


@pytest.fixture
def address() -> Iterator[int]:
    memory = mmap.mmap(-1, mutex.SIZE)
    pinned = ctypes.c_char.from_buffer(memory)
    start = ctypes.addressof(pinned)
    mutex.initialise(range(start, start + 1))
    yield start
    del pinned
    memory.close()


def test_a_mutex_is_taken_once(address: int) -> None:
    assert trylock[address] == 0
    assert trylock[address] == errno.EBUSY
    unlock[address]
    assert trylock[address] == 0
    unlock[address]


def test_who_waits_gets_it_when_it_is_given_back(address: int) -> None:
    reader, writer = os.pipe()

    def hold() -> None:
        assert trylock[address] == 0
        os.write(writer, b".")
        threading.Event().wait(0.02)
        unlock[address]

    holder = Worker(hold)
    os.read(reader, 1)
    assert not wait(address, trylock[address])
    unlock[address]
    holder.result()
    holder.close()
    os.close(reader)
    os.close(writer)


def test_a_holder_that_died_is_reported_once_and_blocks_nobody(address: int) -> None:
    dead = Worker(lambda: trylock[address])
    assert dead.result() == 0
    dead.close()
    assert wait(address, trylock[address])
    unlock[address]
    assert trylock[address] == 0
    unlock[address]


def test_a_holder_that_does_not_run_is_not_waited_for_without_end(
    address: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mutex, "_PATIENCE", 0.01)
    assert trylock[address] == 0
    with pytest.raises(StoreUnavailable, match=r"held for 0.01 seconds"):
        wait(address, trylock[address])
    unlock[address]


def test_a_mutex_that_is_broken_is_an_error(address: int) -> None:
    with pytest.raises(StoreUnavailable, match="EINVAL"):
        wait(address, errno.EINVAL)
