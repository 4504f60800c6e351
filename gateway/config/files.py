"""Reading the files of a configuration: bounded, never blocking, always with a sentence for what went wrong."""

from __future__ import annotations

import os
import stat

LARGEST = 16 * 1024**2  # bytes of a configuration file; 10,000 routes have 1.5 MiB
LARGEST_VALUE = 64 * 1024  # bytes of a file that ${file:…} names


class Unreadable(Exception):
    """A file cannot be used. The message does not name it. line, column: where, from 1."""

    def __init__(self, message: str, line: int = 1, column: int = 1) -> None:
        super().__init__(message)
        self.line = line
        self.column = column


def read_bytes(path: str, limit: int) -> bytes:
    """The content of a regular file of at most `limit` bytes. Unreadable says what is in the way."""
    try:
        # O_NONBLOCK: opening a pipe that nobody writes to would wait forever
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except ValueError:
        raise Unreadable("the file's name holds a NUL") from None
    except OSError as error:
        raise Unreadable(_said(error)) from None
    try:
        mode = os.fstat(descriptor).st_mode
        if stat.S_ISDIR(mode):
            raise Unreadable("it is a folder, not a file")
        if not stat.S_ISREG(mode):
            raise Unreadable("it is a pipe, socket or device, not a file")
        with open(descriptor, "rb", closefd=False) as file:
            content = file.read(limit + 1)
    except OSError as error:
        raise Unreadable(_said(error)) from None
    finally:
        os.close(descriptor)
    if len(content) > limit:
        raise Unreadable(f"it is larger than {limit} bytes")
    return content


def decode(content: bytes) -> str:
    """UTF-8 text, without a byte order mark. Unreadable tells the place of the first byte that is none."""
    try:
        return content.removeprefix(b"\xef\xbb\xbf").decode()
    except UnicodeDecodeError as error:
        before = error.object[: error.start].decode()
        line, column = before.count("\n") + 1, len(before) - before.rfind("\n")
        raise Unreadable("not UTF-8 text", line, column) from None


def problem_with(path: str) -> str | None:
    """Why a file cannot be read, as a phrase; None when it can."""
    try:
        read_bytes(path, LARGEST)
    except Unreadable as error:
        return str(error)
    return None


def _said(error: OSError) -> str:
    return (error.strerror or "it cannot be read").lower()
