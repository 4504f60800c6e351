"""The folder of the node engine, as the master prepares it before the first fork, without opening LMDB."""

from __future__ import annotations

import contextlib
import ctypes
import errno
import fcntl
import os
import resource
import time
from collections.abc import Iterator
from pathlib import Path

from gateway.config.model import SMALLEST_STATE
from gateway.state.engines import StateError

DOCUMENTS = "documents.mdb"
READERS = 16384  # at a time, over all workers; design: at least 4 x workers x threads
SMALLEST = SMALLEST_STATE
PATIENCE = 5.0  # seconds; workers whose master was killed may be about to end

_LOCK = "lock"
_PAUSE = 0.1
_READER_SIZE = 64  # bytes in LMDB's lock file
_KEEP_SIZE = 1  # FALLOC_FL_KEEP_SIZE

# statfs(2), linux/magic.h. Locks and mappings are not coherent there, or end with the network.
_REMOTE = {
    0x6969: "nfs",
    0x517B: "smb",
    0xFF534D42: "cifs",
    0xFE534D42: "smb2",
    0x01021997: "9p",
    0x65735546: "fuse",
    0x00C36400: "ceph",
    0x5346414F: "afs",
    0x6B414653: "afs",
    0x73757245: "coda",
    0x01161970: "gfs2",
    0x7461636F: "ocfs2",
    0x0BD00BD0: "lustre",
    0x47504653: "gpfs",
    0x786F4256: "vboxsf",
}

_libc = ctypes.CDLL(None, use_errno=True)


class Folder:
    """A prepared folder. It stays this gateway's until `close` and the end of every process forked meanwhile."""

    def __init__(self, path: Path, lock: int) -> None:
        self.path = path
        self._lock = lock

    def close(self) -> None:
        if self._lock >= 0:
            os.close(self._lock)
            self._lock = -1


def prepare(path: Path, max_size: int) -> Folder:
    """Create the folder (0700), make it this gateway's, and set `max_size` bytes of disk aside for its documents.

    Keep what is returned for as long as workers run. Waits up to `PATIENCE` seconds for workers whose master is gone.
    Raises StateError when the folder cannot be created or written, is on a network filesystem, belongs to another
    gateway, or has no room.
    """
    path = Path(os.path.realpath(path))  # messages read better without `..`
    if max_size < SMALLEST:
        raise StateError(f"state.max_size is {max_size} bytes; the node engine needs at least {SMALLEST}")
    try:
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
        kind = _REMOTE.get(filesystem(path))
    except OSError as error:
        raise StateError(f"state.path {path} cannot be created: {error.strerror}") from error
    if kind is not None:
        raise StateError(f"state.path {path} is on a network filesystem ({kind}); choose a folder on a local disk")
    lock = _lock(path)
    try:
        _allocate(path / f"{DOCUMENTS}-lock", (READERS + 1) * _READER_SIZE, grow=True)  # mapped: must not be sparse
        _allocate(path / DOCUMENTS, max_size, grow=False)
    except OSError as error:
        os.close(lock)
        if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
            why = f"has no room for {max_size} bytes: {error.strerror}; make room, or lower state.max_size"
            raise StateError(f"state.path {path} {why}") from error
        raise StateError(f"state.path {path} cannot be written: {error.strerror}") from error
    return Folder(path, lock)


def holder(path: Path) -> int | None:
    """The process id of the gateway whose folder this is; None when none runs. StateError: this user may not know.

    Nothing is locked here: a look that holds the lock, however briefly, could keep a gateway from starting. The number
    in the file may be another process's by now, or mean one in another container, so that process must have this very
    file open.
    """
    try:
        lock = os.stat(path / _LOCK)
        text = (path / _LOCK).read_text("ascii", "replace").strip()
        if text.isdigit() and _descriptors(text, lock):
            return int(text)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise StateError(f"state.path {path} cannot be looked into by this user: {error.strerror}") from error
    return None


def _descriptors(pid: str, file: os.stat_result) -> int:
    """How many a process has of a file."""
    found = 0
    for descriptor in os.listdir(f"/proc/{pid}/fd"):
        with contextlib.suppress(FileNotFoundError):  # closed meanwhile
            found += os.path.samestat(os.stat(f"/proc/{pid}/fd/{descriptor}"), file)
    return found


def _keepers(file: os.stat_result) -> Iterator[int]:
    """Every other process that has the file open, as far as this user may know."""
    for pid in os.listdir("/proc"):
        with contextlib.suppress(OSError):  # it has ended, or is another user's
            if pid.isdigit() and int(pid) != os.getpid() and _descriptors(pid, file):
                yield int(pid)


def filesystem(path: Path) -> int:
    """The filesystem's magic number, statfs(2)."""
    buffer = (ctypes.c_long * 64)()  # struct statfs begins with f_type, a word on the 64-bit platforms
    if _libc.statfs(os.fsencode(path), buffer):
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return buffer[0] & 0xFFFFFFFF


def _lock(path: Path) -> int:
    """A flock, which every process that is forked from here on shares: workers without their master still hold it."""
    try:
        lock = os.open(path / _LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise StateError(f"state.path {path} cannot be written: {error.strerror}") from error
    try:
        _take(path, lock)
        os.ftruncate(lock, 0)
        os.pwrite(lock, f"{os.getpid()}\n".encode(), 0)
    except BlockingIOError:
        why = _in_use(path, lock)
        os.close(lock)
        raise StateError(f"state.path {path} is in use by {why}") from None
    except OSError as error:
        os.close(lock)
        raise StateError(f"state.path {path} cannot be written: {error.strerror}") from error
    return lock


def _take(path: Path, lock: int) -> None:
    """BlockingIOError: another gateway has it, or, after some patience, workers whose master is gone."""
    until = time.monotonic() + PATIENCE
    while True:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if _master(path, lock) is not None or time.monotonic() >= until:
                raise
            time.sleep(_PAUSE)
        else:
            return


def _master(path: Path, lock: int) -> int | None:
    """The process id of the gateway that has the folder; None when its master is gone. lock: ours, in vain."""
    try:
        found = holder(path)
    except StateError:  # this user may not know
        return None
    if found == os.getpid() and _descriptors(str(found), os.fstat(lock)) == 1:
        return None  # the number is from before a container was started again
    return found


def _in_use(path: Path, lock: int) -> str:
    keepers = [] if _master(path, lock) is not None else sorted(_keepers(os.fstat(lock)))
    if keepers:
        return (
            f"workers of a gateway whose master is gone, process ids {', '.join(map(str, keepers))}: "
            "they are finishing their requests; start again when they are done, or end them with SIGQUIT"
        )
    pid = os.pread(lock, 32, 0).decode("ascii", "replace").strip() or "unknown"
    return f"the gateway with process id {pid}; stop it and its workers, or set another state.path"


def _allocate(path: Path, size: int, *, grow: bool) -> None:
    """Have the disk set `size` bytes aside. Without `grow` the file keeps its length, which LMDB goes by."""
    limit = resource.getrlimit(resource.RLIMIT_FSIZE)[0]
    if limit != resource.RLIM_INFINITY and limit < size:
        raise OSError(errno.EFBIG, f"the process may write {limit} bytes to a file (RLIMIT_FSIZE)")
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    before = os.fstat(descriptor).st_size
    try:
        if grow:
            os.posix_fallocate(descriptor, 0, size)
        elif not _reserve(descriptor, size):
            # Not every local filesystem can; then what is free now has to do.
            disk = os.fstatvfs(descriptor)
            if disk.f_bavail * disk.f_frsize + before < size:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    except OSError:
        os.ftruncate(descriptor, before)  # gives back what was set aside before the disk was full
        raise
    finally:
        os.close(descriptor)


def _reserve(descriptor: int, size: int) -> bool:
    """fallocate(2) with FALLOC_FL_KEEP_SIZE, which `os` does not have. False where the filesystem does not know it."""
    while _libc.fallocate(descriptor, _KEEP_SIZE, ctypes.c_int64(0), ctypes.c_int64(size)):
        code = ctypes.get_errno()
        if code == errno.EOPNOTSUPP:
            return False
        if code != errno.EINTR:
            raise OSError(code, os.strerror(code))
    return True
