"""Starting the node engine: what the operator gets to read when it cannot, and what survives a restart and a reboot."""

from __future__ import annotations

import errno
import os
import resource
import stat
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from gateway.clock import FakeClock
from gateway.errors import StoreUnavailable
from gateway.state.engines import StateError
from gateway.state.engines.node import NodeEngine, folder, prepare
from gateway.state.operations.sequence import NEXT
from tests.support.engines import SIZE, Worker

NOBODY = 65534


def refusal(path: Path, max_size: int = SIZE) -> str:
    """What `prepare` says."""
    with pytest.raises(StateError) as caught:
        prepare(path, max_size)
    return str(caught.value)


@contextmanager
def small_disk(size: str) -> Iterator[Path | None]:
    """A tmpfs of that size; None where this process may not mount one."""
    with tempfile.TemporaryDirectory() as place:
        command = ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", place]
        mounted = os.getuid() == 0 and subprocess.run(command, check=False, capture_output=True).returncode == 0
        try:
            yield Path(place) if mounted else None
        finally:
            if mounted:
                subprocess.run(["umount", place], check=True)


@contextmanager
def files_limited_to(size: int) -> Iterator[None]:
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def in_child(work: Callable[[], str]) -> str:
    worker = Worker(work)
    try:
        return worker.result(20)
    finally:
        worker.close()


def as_ordinary_user(work: Callable[[], str]) -> str:
    """The superuser may write everywhere: let somebody else try."""

    def run() -> str:
        if os.getuid() == 0:
            os.setgroups([])
            os.setgid(NOBODY)
            os.setuid(NOBODY)
        return work()

    return in_child(run)


# --- the folder -------------------------------------------------------------------------------------------------------
def test_the_folder_is_created_for_the_owner_alone_with_its_disk_space_set_aside(tmp_path: Path) -> None:
    path = tmp_path / "var" / "state"
    made = prepare(path, SIZE)
    assert stat.S_IMODE(path.stat().st_mode) == 0o700
    documents = (path / "documents.mdb").stat()
    assert documents.st_blocks * 512 >= SIZE
    assert stat.S_IMODE(documents.st_mode) == 0o600
    made.close()


def test_a_second_master_on_the_folder_is_told_who_has_it(tmp_path: Path) -> None:
    first = prepare(tmp_path / "state", SIZE)
    said = in_child(lambda: refusal(tmp_path / "state"))
    assert f"is in use by the gateway with process id {os.getpid()}" in said
    first.close()
    prepare(tmp_path / "state", SIZE).close()


def test_workers_that_outlive_their_master_keep_the_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gateway.state.engines.node.folder.PATIENCE", 0.2)
    waiting, ready = os.pipe()
    held, hold = os.pipe()

    def master() -> None:
        made = prepare(tmp_path / "state", SIZE)
        if os.fork() == 0:
            os.close(hold)
            os.write(ready, b"%d" % os.getpid())
            os.read(held, 1)  # until the test is over
            os._exit(0)
        os.kill(os.getpid(), 9)
        made.close()

    dead = Worker(master)
    assert dead.died_of() == 9
    worker = os.read(waiting, 20).decode()
    assert f"workers of a gateway whose master is gone, process ids {worker}:" in refusal(tmp_path / "state")
    dead.close()
    for descriptor in (waiting, ready, held, hold):
        os.close(descriptor)


def test_an_engine_without_a_master_takes_the_folder_for_itself(tmp_path: Path) -> None:
    engine = NodeEngine(tmp_path / "state", SIZE, FakeClock())
    assert "is in use" in refusal(tmp_path / "state")
    engine.close()
    NodeEngine(tmp_path / "state", SIZE, FakeClock()).close()


def test_a_folder_that_cannot_be_created_is_named_with_the_cause(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    assert (
        refusal(tmp_path / "file" / "state") == f"state.path {tmp_path}/file/state cannot be created: Not a directory"
    )
    assert "cannot be created: File exists" in refusal(tmp_path / "file")


def test_a_folder_that_cannot_be_written_is_named_with_the_cause() -> None:
    with tempfile.TemporaryDirectory() as name:
        path = Path(name)
        path.chmod(0o555)
        written = as_ordinary_user(lambda: refusal(path))
        created = as_ordinary_user(lambda: refusal(path / "state"))
        path.chmod(0o700)
    assert written == f"state.path {name} cannot be written: Permission denied"
    assert created == f"state.path {name}/state cannot be created: Permission denied"


def test_a_full_disk_is_an_error_at_the_start_that_takes_nothing_away() -> None:
    with small_disk("4m") as disk:
        if disk is None:
            with tempfile.TemporaryDirectory() as name, files_limited_to(2 * 1024**2):
                assert f"has no room for {SIZE} bytes" in refusal(Path(name) / "state")
            return
        for _ in range(2):
            said = refusal(disk / "state")
            why = f"has no room for {SIZE} bytes: {os.strerror(errno.ENOSPC)}; make room, or lower state.max_size"
            assert said == f"state.path {disk}/state {why}"
        prepare(disk / "state", SIZE // 4).close()


def test_what_was_set_aside_before_the_disk_was_full_is_given_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    reserve = folder._reserve

    def half(descriptor: int, size: int) -> bool:
        assert reserve(descriptor, size // 2)
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(folder, "_reserve", half)
    assert "has no room" in refusal(tmp_path / "state")
    assert (tmp_path / "state" / "documents.mdb").stat().st_blocks == 0


def test_a_filesystem_that_sets_nothing_aside_must_have_the_room_now(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(folder, "_reserve", lambda descriptor, size: False)
    assert "has no room" in refusal(tmp_path / "state", 2**60)
    prepare(tmp_path / "state", SIZE).close()


def test_a_limit_on_the_size_of_files_is_an_error_at_the_start(tmp_path: Path) -> None:
    with files_limited_to(2 * 1024**2):
        assert "RLIMIT_FSIZE" in refusal(tmp_path / "state")


def test_a_disk_that_fills_up_later_refuses_nothing_that_was_set_aside() -> None:
    with small_disk("8m") as disk:
        if disk is None:
            return  # `test_the_folder_is_created…` shows that the blocks are there
        engine = NodeEngine(disk / "state", SIZE, FakeClock())
        with pytest.raises(OSError, match=os.strerror(errno.ENOSPC)), open(disk / "rest", "wb", buffering=0) as rest:
            while True:
                rest.write(bytes(4096))
        for number in range(100):
            engine.put(f"r/{number}", bytes(1000))
        assert len(engine.scan("r/")) == 100
        engine.close()


def test_a_network_filesystem_is_refused_by_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(folder, "filesystem", lambda path: 0x6969)
    assert "is on a network filesystem (nfs); choose a folder on a local disk" in refusal(tmp_path / "state")


def test_the_filesystem_is_the_one_that_the_kernel_names(tmp_path: Path) -> None:
    assert folder.filesystem(Path("/proc")) == 0x9FA0
    with pytest.raises(OSError, match="No such file"):
        folder.filesystem(tmp_path / "missing")


def test_a_size_that_no_engine_can_work_with_is_refused(tmp_path: Path) -> None:
    assert refusal(tmp_path / "state", 4096) == ("state.max_size is 4096 bytes; the node engine needs at least 1048576")


# --- the engine -------------------------------------------------------------------------------------------------------
def test_a_damaged_file_is_an_error_at_the_start_that_leaves_nothing_locked(tmp_path: Path) -> None:
    prepare(tmp_path / "state", SIZE).close()
    (tmp_path / "state" / "documents.mdb").write_bytes(b"x" * 8192)
    for _ in range(2):
        with pytest.raises(StateError, match=r"documents.mdb cannot be opened: .*; restore it, or remove it"):
            NodeEngine(tmp_path / "state", SIZE, FakeClock())
    (tmp_path / "state" / "documents.mdb").unlink()
    NodeEngine(tmp_path / "state", SIZE, FakeClock()).close()


@pytest.mark.parametrize("slot", [-1, 512])
def test_a_slot_beyond_the_table_is_refused(tmp_path: Path, slot: int) -> None:
    with pytest.raises(StateError, match=f"worker slot {slot}; there are 0 to 511"):
        NodeEngine(tmp_path / "state", SIZE, FakeClock(), slot=slot)


def test_a_descriptor_that_is_no_segment_is_refused(tmp_path: Path) -> None:
    with open(tmp_path / "other", "w+b") as other:
        other.write(bytes(4096))
        other.flush()
        with pytest.raises(StateError, match="is something else"):
            NodeEngine(tmp_path / "state", SIZE, FakeClock(), other.fileno())


def test_documents_survive_a_restart_and_transient_state_does_not(tmp_path: Path) -> None:
    clock = FakeClock()
    engine = NodeEngine(tmp_path / "state", SIZE, clock)
    engine.put("r/kept", b"1")
    engine.put("r/passing", b"2", ttl=30)
    counters = engine.counters("some", held=False)
    counters.row[counters.column("a")] += 1
    engine.close()
    clock.advance(29)
    engine = NodeEngine(tmp_path / "state", SIZE, clock)
    assert engine.scan("r/") == [("r/kept", b"1"), ("r/passing", b"2")]
    clock.advance(1)
    assert engine.scan("r/") == [("r/kept", b"1")]
    counters = engine.counters("some", held=False)
    assert counters.total(counters.column("a")) == 0
    engine.close()


def test_after_a_reboot_what_is_left_of_a_ttl_is_told_by_wall_clock(tmp_path: Path) -> None:
    engine = NodeEngine(tmp_path / "state", SIZE, FakeClock(monotonic=90_000, wall=1_700_000_000), boot_id="one")
    engine.put("r/kept", b"1")
    engine.put("r/short", b"2", ttl=60)
    engine.put("r/long", b"3", ttl=600)
    engine.close()
    clock = FakeClock(monotonic=20, wall=1_700_000_100)
    for _ in range(2):
        engine = NodeEngine(tmp_path / "state", SIZE, clock, boot_id="two")
        assert engine.scan("r/") == [("r/kept", b"1"), ("r/long", b"3")]
        clock.advance(200)
        clock._wall += 3600  # set while running: only what passed before this boot is told by it
        engine.close()
    engine = NodeEngine(tmp_path / "state", SIZE, clock, boot_id="two")
    clock.advance(99)
    assert engine.get("r/long") == b"3"
    clock.advance(1)
    assert engine.scan("r/") == [("r/kept", b"1")]
    engine.close()


def test_an_engine_that_was_closed_says_so(tmp_path: Path) -> None:
    engine = NodeEngine(tmp_path / "state", SIZE, FakeClock())
    record = engine.record(NEXT, "a")
    record.apply(NEXT)
    engine.close()
    engine.close()
    with pytest.raises(ValueError, match=r"closed|released"):
        record.apply(NEXT)
    with pytest.raises(StoreUnavailable):
        engine.put("r/a", b"1")
