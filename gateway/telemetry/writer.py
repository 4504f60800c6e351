"""A background writer for log lines: a request appends to a deque, one thread moves batches to the file descriptor.

Nobody who logs ever waits for whoever reads the log. What the reader does not take within the capacity is dropped,
counted, and told in a line of its own once there is room again.
"""

from __future__ import annotations

import atexit
import os
import select
import stat
import threading
import time
import weakref
from collections import deque
from collections.abc import Callable

# Lines of several workers meet in one pipe: only writes of at most PIPE_BUF bytes are never torn (POSIX, write(2)).
_ATOMIC = select.PIPE_BUF
_BATCH = 256 * 1024  # bytes a write to anything but a pipe or socket


def _dropped(count: int) -> str:
    return f'{{"level":"warning","event":"log_lines_dropped","dropped":{count}}}\n'


class LineWriter:
    """`write(line)` takes one whole line with its newline; made and started in the process that logs.

    fd: where to, 1 by default. interval: seconds between flushes. capacity: lines held back at most.
    notice: renders the line that tells how many were dropped.
    Before start() and after stop() a line is written at once, in the caller's thread.
    """

    def __init__(
        self,
        fd: int = 1,
        *,
        interval: float = 0.1,
        capacity: int = 20_000,
        notice: Callable[[int], str] = _dropped,
    ) -> None:
        self._fd = fd
        self._interval = interval
        self._capacity = capacity
        self._notice = notice
        self._queue: deque[str] = (
            deque()
        )  # appended to by every thread, emptied under _flushing (deque ends are atomic)
        self._counting = threading.Lock()  # guards _dropped
        self._dropped = 0
        self._flushing = threading.Lock()  # guards _rest, and that batches leave in order
        self._rest = b""  # what the descriptor did not take
        self._stopping = threading.Event()
        self._thread: threading.Thread | None = None
        try:
            kind = os.fstat(fd).st_mode
            self._chunk = _ATOMIC if stat.S_ISFIFO(kind) or stat.S_ISSOCK(kind) else _BATCH
        except OSError:
            self._chunk = _ATOMIC
        # A fork without exec (multiprocessing in somebody's `setup`) has no writer thread: back to direct writes there,
        # and what is queued belongs to the parent.
        me = weakref.ref(self)
        os.register_at_fork(after_in_child=lambda: _reset(me()))

    def write(self, line: str) -> None:
        """Take one line. Never raises, never waits once started."""
        queue = self._queue
        if len(queue) >= self._capacity:
            self._drop(1)
            return
        queue.append(line)
        if self._thread is None:
            self.flush()

    def start(self) -> None:
        """Start the thread; at the interpreter's exit what is left is written."""
        if self._thread is None:
            self._stopping.clear()
            self._thread = threading.Thread(target=self._run, name="log-writer", daemon=True)
            self._thread.start()
            atexit.register(self.stop)

    def stop(self, timeout: float = 2.0) -> None:
        """Write what is left and end the thread; gives up after `timeout` seconds when nobody reads. Idempotent."""
        thread = self._thread
        if thread is None:
            return
        atexit.unregister(self.stop)
        self._stopping.set()
        thread.join(timeout)
        self._thread = None
        if not thread.is_alive():  # else it hangs in a write that nobody reads
            self.flush()

    def flush(self, patience: float = 0.0) -> bool:
        """Write what is queued now; waits up to `patience` seconds for a full descriptor. True: all of it went out."""
        with self._flushing:
            until = time.monotonic() + patience
            if not self._drain(len(self._queue), until):
                return False
            with self._counting:
                dropped, self._dropped = self._dropped, 0
            if dropped:
                try:
                    self._rest = self._send(self._notice(dropped).encode(), until)
                except OSError:
                    self._drop(dropped)
            return not self._rest

    def _run(self) -> None:
        while not self._stopping.wait(self._interval):
            self.flush(self._interval)
        self.flush(1.0)

    def _drop(self, lines: int) -> None:
        with self._counting:
            self._dropped += lines

    def _drain(self, lines: int, until: float) -> bool:
        """Write the first `lines` of the queue: those that come meanwhile wait, so that a flush ends under any load."""
        queue = self._queue
        while self._rest or lines > 0:
            batch: list[str] = []
            size = len(self._rest)
            while lines > 0 and size < self._chunk:
                line = queue[0]
                size += len(line) if line.isascii() else len(_encoded(line))
                if size > self._chunk and (batch or self._rest):
                    break
                queue.popleft()
                lines -= 1
                batch.append(line)
            data = self._rest + _encoded("".join(batch))
            try:
                self._rest = self._send(data, until)
            except OSError:  # closed, or the disk is full: nobody to tell now, counted for when there is
                self._rest = b""
                self._drop(data.count(b"\n"))
            if self._rest:
                return False
        return True

    def _send(self, data: bytes, until: float) -> bytes:
        """Write; returns what a full descriptor did not take until then. OSError: it takes nothing any more."""
        while data:
            try:
                data = data[os.write(self._fd, data) :]
            except BlockingIOError:
                left = until - time.monotonic()
                if left <= 0 or not self._writable(left):
                    break
        return data

    def _writable(self, seconds: float) -> bool:
        poll = select.poll()
        poll.register(self._fd, select.POLLOUT)
        return bool(poll.poll(seconds * 1000))

    def __repr__(self) -> str:
        return f"LineWriter(fd={self._fd}, queued={len(self._queue)}, dropped={self._dropped})"


def _encoded(text: str) -> bytes:
    return text.encode("utf-8", "backslashreplace")


def _reset(writer: LineWriter | None) -> None:
    if writer is not None:
        writer._queue.clear()
        writer._rest = b""
        writer._thread = None
        writer._counting = threading.Lock()
        writer._flushing = threading.Lock()
