"""The README's tour, pasted line by line into a shell in a copy of the repository, shows what the README says.

Once into an interactive bash on a terminal, where a background job is a process group of its own; once each into a bash
and a dash that have no job control and end at the first line that fails.
"""

from __future__ import annotations

import contextlib
import json
import os
import pty
import re
import select
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest

from tests.support.process import ROOT, PortReservation, eventually

STEP_LIMIT = 60.0  # seconds; the longest is the start
_TOUR = re.compile(r"^```sh tour\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_DROPPED = re.compile("GATEWAY_|GUNICORN|MAKE|MFLAGS|.*_proxy$|.*_PROXY$")


def tour() -> list[str]:
    """Every line that a reader is asked to paste."""
    return [line for block in _TOUR.findall((ROOT / "README.md").read_text()) for line in block.splitlines()]


# --- what each line is to show ----------------------------------------------------------------------------------------
def nothing(shown: str) -> None:
    assert shown == ""


def nothing_to_do(shown: str) -> None:
    assert shown == "make: Nothing to be done for 'install'."


def background_job(shown: str) -> None:
    assert re.fullmatch(r"(\[1\] \d+)?", shown)


def echoed(shown: str) -> None:
    assert json.loads(shown)["instance"] in {"inst-1", "inst-2"}


def echoed_query(shown: str) -> None:
    echoed(shown)
    assert json.loads(shown)["path"] == "/echo/a/b?x=1"


def two_instances(shown: str) -> None:
    (service,) = json.loads(shown)["services"]
    assert [(one["id"], one["state"]) for one in service["instances"]] == [("inst-1", "up"), ("inst-2", "up")]


def ready(shown: str) -> None:
    told = json.loads(shown)
    assert (told["status"], told["generation"], told["routes"], told["instances"]) == ("ready", 1, 1, 2)


def refused(shown: str) -> None:
    assert json.loads(shown)["reason"] == "no_route"


def logged(shown: str) -> None:
    line = json.loads(shown)
    assert (line["event"], line["path"], line["status"], line["reason"]) == ("request", "/nothing", 404, "no_route")


def routes(shown: str) -> None:
    assert [line.split()[-1] for line in shown.splitlines()] == ["ID", "hello", "echo"]


def reloaded(shown: str) -> None:
    assert shown == "reloaded: generation 2"


def greeting(shown: str) -> None:
    assert shown == "hello, world"


def mistake(shown: str) -> None:
    first, last, status = shown.splitlines()
    assert status == "exit status 78"
    assert re.search(r"/conf/gateway\.yaml:\d+: routes\[2\]\.servce: unknown key \(did you mean service\?\)$", first)
    assert last == "refused: the gateway goes on with generation 2"


def three_instances(shown: str) -> None:
    assert [one["id"] for one in json.loads(shown)["instances"]] == ["inst-1", "inst-2", "mine"]


def stopped(shown: str) -> None:
    assert re.fullmatch(r"(\[1\].*make run.*)?", shown)


def checked_out(shown: str) -> None:
    assert shown in ("", "Updated 1 path from the index")


STEPS: list[tuple[str, Callable[[str], None]]] = [
    ("make install", nothing_to_do),
    ("make run", background_job),
    ("curl .*/echo/hello", echoed),
    ("curl .*/echo/a/b", echoed_query),
    ("curl .*/services", two_instances),
    ("curl .*/readyz", ready),
    ("curl .*/nothing", refused),
    ("grep", logged),
    ("echo", nothing),
    (".*gateway routes", routes),
    (".*gateway reload", reloaded),
    ("curl .*/hello", greeting),
    ("echo", nothing),
    (".*gateway reload", mistake),
    ("curl .*/hello", greeting),
    ("curl .*POST .*/register", nothing),
    ("curl .*/services/echo", three_instances),
    ("curl .*DELETE .*/register", nothing),
    ("kill", stopped),
    ("git checkout", checked_out),
]


# --- the copy and the shell -------------------------------------------------------------------------------------------
class Copy:
    """The tracked files with ports of their own, committed, beside a .venv that is ready."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._reservations = [PortReservation(), PortReservation()]
        listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
        for name in filter(None, listed.split("\0")):
            if (ROOT / name).exists():
                (folder / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(ROOT / name, folder / name)
        shipped = folder / "conf" / "gateway.yaml"
        shipped.write_text(self.ported(shipped.read_text()))
        git = ["git", "-c", "user.name=reader", "-c", "user.email=reader@example.com"]
        for command in (["init", "-q"], ["add", "-A"], ["commit", "-q", "-m", "As cloned"]):
            subprocess.run([*git, *command], cwd=folder, check=True)
        (folder / ".venv").mkdir()
        (folder / ".venv" / "bin").symlink_to(Path(sys.prefix) / "bin")
        (folder / ".venv" / ".installed").touch()

    def ported(self, text: str) -> str:
        for shipped, used in zip((8000, 8001), self._reservations, strict=True):
            text = text.replace(f"127.0.0.1:{shipped}", f"127.0.0.1:{used.port}")
        return text

    def has_both_backends(self) -> bool:
        return "The gateway is ready" in (self.folder / "gateway.log").read_text()

    def processes(self) -> list[int]:
        """Those whose working directory is the copy."""
        found = []
        for entry in Path("/proc").iterdir():
            with contextlib.suppress(OSError):
                if entry.name.isdigit() and Path(os.readlink(entry / "cwd")) == self.folder:
                    found.append(int(entry.name))
        return found

    def release(self) -> None:
        for pid in self.processes():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        for one in self._reservations:
            one.release()


class Shell:
    """A shell that is given one line at a time; `paste` returns what it showed."""

    def __init__(self, folder: Path, command: Sequence[str], *, interactive: bool) -> None:
        env = {name: value for name, value in os.environ.items() if not _DROPPED.match(name)}
        env |= {"TERM": "dumb", "PS1": "", "PS2": ""}
        self._interactive = interactive
        self._theirs = self._ours = -1
        if interactive:
            self._ours, self._theirs = pty.openpty()
            command = ["setsid", "--ctty", *command]
        to, back = (self._theirs, self._theirs) if interactive else (subprocess.PIPE, subprocess.PIPE)
        self._shell = subprocess.Popen(
            command, cwd=folder, env=env, stdin=to, stdout=back, stderr=back if interactive else subprocess.STDOUT
        )
        self._number = 0
        if interactive:
            self.paste("stty -echo")

    def paste(self, line: str) -> str:
        self._number += 1
        # What the shell is told is not what it prints, so that its echo of the input is not mistaken for the end.
        self._write(f'{line}\necho "<$(({self._number} + 0))>"\n'.encode())
        end = f"<{self._number}>\n".encode()
        shown = b""
        until = time.monotonic() + STEP_LIMIT
        while end not in shown.replace(b"\r", b""):
            ready = select.select([self._output], [], [], max(0.0, until - time.monotonic()))[0]
            data = os.read(self._output, 65536) if ready else b""
            assert data, f"{line!r} {'ended the shell' if ready else 'did not end'}; it showed:\n{shown.decode()}"
            shown += data
        return shown.replace(b"\r", b"").decode().partition(end.decode())[0].strip()

    @property
    def _output(self) -> int:
        return self._ours if self._interactive else self._shell.stdout.fileno()  # type: ignore[union-attr]

    def _write(self, data: bytes) -> None:
        if self._interactive:
            os.write(self._ours, data)
        else:
            self._shell.stdin.write(data)  # type: ignore[union-attr]
            self._shell.stdin.flush()  # type: ignore[union-attr]

    def close(self) -> None:
        self._shell.kill()
        with self._shell:
            pass
        for descriptor in (self._ours, self._theirs):
            if descriptor >= 0:
                os.close(descriptor)


@pytest.fixture
def copy() -> Iterator[Copy]:
    with tempfile.TemporaryDirectory(prefix="gateway-tour-") as folder:
        made = Copy(Path(folder).resolve())
        try:
            yield made
        finally:
            made.release()


BASH = ["bash", "--norc", "--noprofile"]
SHELLS = {
    "bash on a terminal": [*BASH, "-i"],
    "bash without job control": [*BASH, "-e"],
    "dash without job control": ["dash", "-e"],
}


@pytest.mark.parametrize("command", SHELLS.values(), ids=SHELLS)
def test_the_tour_works_as_pasted(copy: Copy, command: list[str]):
    if shutil.which(command[0]) is None:
        pytest.skip(f"{command[0]} is not installed")
    lines = tour()
    assert len(lines) == len(STEPS), "README.md and the steps above have the same lines"
    shell = Shell(copy.folder, command, interactive="-i" in command)
    try:
        for line, (pattern, check) in zip(lines, STEPS, strict=True):
            assert re.match(pattern, line)
            shown = shell.paste(copy.ported(line))
            print(f"$ {line}\n{shown}")
            check(shown)
            if check is echoed:  # one backend answers; the next lines tell of both, and a reader is slower than this
                eventually(copy.has_both_backends)
    finally:
        shell.close()
    eventually(lambda: not copy.processes(), what="no process is left")
    changed = subprocess.run(["git", "status", "--short"], cwd=copy.folder, capture_output=True, text=True, check=True)
    assert changed.stdout == ""
