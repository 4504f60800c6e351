"""Lines reach the descriptor in order, in whole lines, and never hold up who logs."""

import contextlib
import json
import os
import threading

import pytest

from gateway.telemetry.writer import LineWriter


@pytest.fixture
def pipe():
    read, write = os.pipe()
    yield read, write
    for fd in (read, write):
        with contextlib.suppress(OSError):
            os.close(fd)


def _fill(fd: int) -> int:
    """Make a non-blocking pipe full; the number of bytes in it."""
    os.set_blocking(fd, False)
    size = 0
    for block in (b"x" * 4096, b"x"):
        try:
            while True:
                size += os.write(fd, block)
        except BlockingIOError:
            pass
    return size


def _drain(fd: int, size: int) -> None:
    while size:
        size -= len(os.read(fd, size))


def _held(writer: LineWriter) -> None:
    """Queue instead of writing at once, without a thread that the test would have to wait for."""
    writer._thread = threading.current_thread()


def test_before_start_a_line_is_written_at_once(pipe):
    read, write = pipe
    LineWriter(write).write("one\n")
    assert os.read(read, 100) == b"one\n"


def test_a_started_writer_writes_what_it_holds_when_it_stops(pipe):
    read, write = pipe
    writer = LineWriter(write, interval=60)
    writer.start()
    for number in range(100):
        writer.write(f"{number}\n")
    writer.stop()
    assert os.read(read, 100_000).decode().split() == [str(number) for number in range(100)]
    writer.write("after\n")
    assert os.read(read, 100) == b"after\n"


def test_a_started_writer_flushes_by_itself(pipe):
    read, write = pipe
    writer = LineWriter(write, interval=0.01)
    writer.start()
    writer.write("soon\n")
    assert os.read(read, 100) == b"soon\n"  # blocks until it is there; the suite's timeout is the limit
    writer.stop()


def test_stopping_twice_is_harmless(pipe):
    writer = LineWriter(pipe[1])
    writer.start()
    writer.stop()
    writer.stop()


def test_beyond_the_capacity_lines_are_dropped_counted_and_told(pipe):
    read, write = pipe
    writer = LineWriter(write, capacity=3, notice="dropped {}\n".format)
    _held(writer)
    for number in range(10):
        writer.write(f"{number}\n")
    assert writer.flush()
    assert os.read(read, 1000) == b"0\n1\n2\ndropped 7\n"


def test_the_standard_notice_is_a_line_of_json(pipe):
    read, write = pipe
    writer = LineWriter(write, capacity=0)
    writer.write("lost\n")
    writer.flush()
    assert json.loads(os.read(read, 1000)) == {"level": "warning", "event": "log_lines_dropped", "dropped": 1}


def test_a_full_pipe_keeps_the_lines_for_later(pipe):
    read, write = pipe
    writer = LineWriter(write)
    _held(writer)
    size = _fill(write)
    writer.write("kept\n")
    writer.write("too\n")
    assert not writer.flush()
    _drain(read, size)
    assert writer.flush()
    assert os.read(read, 100) == b"kept\ntoo\n"


def test_a_closed_descriptor_costs_lines_but_raises_nothing(pipe):
    read, write = pipe
    writer = LineWriter(write)
    os.close(read)
    writer.write("lost\n")
    writer.write("lost\n")
    assert "dropped=2" in repr(writer)


def test_lines_in_a_pipe_are_never_torn_by_another_writer(pipe, monkeypatch):
    _, write = pipe
    sizes = []
    writer = LineWriter(write)
    _held(writer)
    monkeypatch.setattr(os, "write", lambda fd, data: sizes.append(data) or len(data))
    for _ in range(100):
        writer.write("x" * 299 + "\n")
    writer.write("y" * 9000 + "\n")
    writer.write("z\n")
    writer.flush()
    *short, long, last = sizes
    assert all(len(data) <= 4096 and data.endswith(b"\n") for data in short)
    assert len(short) == 8
    assert (len(long), last) == (9001, b"z\n")


def test_a_file_gets_whole_batches(tmp_path, monkeypatch):
    with open(tmp_path / "log", "wb", buffering=0) as file:
        writer = LineWriter(file.fileno())
        _held(writer)
        for _ in range(100):
            writer.write("x" * 299 + "\n")
        writes = []
        real = os.write
        monkeypatch.setattr(os, "write", lambda fd, data: writes.append(1) or real(fd, data))
        writer.flush()
    assert len(writes) == 1
    assert (tmp_path / "log").stat().st_size == 30_000


def test_a_forked_child_writes_directly_and_not_what_its_parent_holds(pipe):
    read, write = pipe
    writer = LineWriter(write, interval=60)
    writer.write("before\n")
    _held(writer)
    writer.write("the parent's\n")
    child = os.fork()
    if child == 0:
        writer.write("the child's\n")
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0
    assert os.read(read, 1000) == b"before\nthe child's\n"
    writer.flush()
    assert os.read(read, 1000) == b"the parent's\n"
