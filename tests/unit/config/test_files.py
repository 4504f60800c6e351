from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest

from gateway.config.files import Unreadable, decode, problem_with, read_bytes


def test_a_file_within_the_limit_is_read(tmp_path: Path):
    (tmp_path / "a").write_bytes(b"12345")
    assert read_bytes(str(tmp_path / "a"), 5) == b"12345"
    with pytest.raises(Unreadable, match="larger than 4 bytes"):
        read_bytes(str(tmp_path / "a"), 4)


def test_what_is_no_file_is_refused_without_waiting(tmp_path: Path):
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "loop").symlink_to("loop")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "socket"))
        names = ("nowhere", "pipe", "socket", "a" * 300, "nul\0", "loop", "")
        said = [problem_with(str(tmp_path / name)) for name in names]
    assert said == [
        "no such file or directory",
        "it is a pipe, socket or device, not a file",
        "no such device or address",
        "file name too long",
        "the file's name holds a NUL",
        "too many levels of symbolic links",
        "it is a folder, not a file",
    ]
    assert problem_with("/dev/zero") == "it is a pipe, socket or device, not a file"


def test_no_descriptor_is_left_open(tmp_path: Path):
    before = len(os.listdir("/proc/self/fd"))
    for path in (tmp_path, tmp_path / "nowhere", "/dev/zero"):
        assert problem_with(str(path))
    assert len(os.listdir("/proc/self/fd")) == before


def test_utf_8_with_or_without_a_byte_order_mark():
    assert decode("ä".encode()) == decode(b"\xef\xbb\xbf" + "ä".encode()) == "ä"


@pytest.mark.parametrize(
    ("content", "place"),
    [(b"\xff\xfea\0", (1, 1)), (b"a: 1\nb: \xe4\n", (2, 4)), ("ä: ".encode() + b"\xc3", (1, 4)), (b"\x80", (1, 1))],
)
def test_what_is_not_utf_8_is_refused_with_its_place(content: bytes, place: tuple[int, int]):
    with pytest.raises(Unreadable, match="not UTF-8") as refused:
        decode(content)
    assert (refused.value.line, refused.value.column) == place
