from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from gateway.server import pinning
from tests.support.engines import Worker


def files(root: Path, contents: dict[str, str]) -> Path:
    for name, text in contents.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return root


@pytest.mark.parametrize(
    ("contents", "quota"),
    [
        ({}, None),
        ({"proc/self/cgroup": "0::/\n"}, None),
        ({"proc/self/cgroup": "0::/\n", "sys/fs/cgroup/cpu.max": "max 100000\n"}, None),
        ({"proc/self/cgroup": "0::/\n", "sys/fs/cgroup/cpu.max": "150000 100000\n"}, 1.5),
        ({"proc/self/cgroup": "0::/a/b\n", "sys/fs/cgroup/a/cpu.max": "50000 100000\n"}, 0.5),
        (
            {
                "proc/self/cgroup": "0::/a/b\n",
                "sys/fs/cgroup/a/cpu.max": "200000 100000\n",
                "sys/fs/cgroup/a/b/cpu.max": "300000 100000\n",
            },
            2.0,
        ),
        ({"proc/self/cgroup": "0::/../a\n", "sys/fs/cgroup/a/cpu.max": "200000 100000\n"}, 2.0),
        (
            {
                "proc/self/cgroup": "4:cpu,cpuacct:/a\n2:cpuset:/a\n0::/x\n",
                "sys/fs/cgroup/cpu,cpuacct/a/cpu.cfs_quota_us": "250000",
                "sys/fs/cgroup/cpu,cpuacct/a/cpu.cfs_period_us": "100000",
            },
            2.5,
        ),
        (
            {
                "proc/self/cgroup": "1:cpu:/docker/0123\n",
                "sys/fs/cgroup/cpu/cpu.cfs_quota_us": "100000",
                "sys/fs/cgroup/cpu/cpu.cfs_period_us": "100000",
            },
            1.0,
        ),
        (
            {
                "proc/self/cgroup": "1:cpu:/\n",
                "sys/fs/cgroup/cpu/cpu.cfs_quota_us": "-1",
                "sys/fs/cgroup/cpu/cpu.cfs_period_us": "100000",
            },
            None,
        ),
        ({"proc/self/cgroup": "0::/\n", "sys/fs/cgroup/cpu.max": "nonsense"}, None),
    ],
)
def test_the_quota_is_that_of_the_tightest_group(tmp_path: Path, contents: dict[str, str], quota: float | None) -> None:
    assert pinning.quota(files(tmp_path, contents)) == quota


@pytest.mark.parametrize(("limit", "usable"), [("max", (2, 3, 5, 7)), ("150000", (2, 3)), ("1000", (2,))])
def test_usable_are_as_many_cpus_as_the_quota_can_keep_busy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, limit: str, usable: tuple[int, ...]
) -> None:
    monkeypatch.setattr(pinning, "affinity", lambda: (2, 3, 5, 7))
    root = files(tmp_path, {"proc/self/cgroup": "0::/\n", "sys/fs/cgroup/cpu.max": f"{limit} 100000"})
    assert pinning.usable_cpus(root) == usable


@pytest.mark.parametrize(
    ("setting", "workers", "limit", "cpus"),
    [
        ("auto", 2, None, [4, 6, 4]),
        ("auto", 1, None, [4, 6, 4]),
        ("auto", 3, None, [None, None, None]),
        ("auto", 2, 2.0, [None, None, None]),
        (True, 3, 1.0, [4, 6, 4]),
        (False, 1, None, [None, None, None]),
    ],
)
def test_a_worker_gets_a_cpu_where_there_is_one_for_each(
    setting: Any, workers: int, limit: float | None, cpus: list[int | None]
) -> None:
    found = [pinning.cpu_for(slot, workers, setting, cpus=(4, 6), limit=limit) for slot in range(3)]
    assert found == cpus


def test_the_affinity_is_this_processs() -> None:
    assert pinning.affinity()
    assert pinning.cpu_for(0, 1, True) == pinning.affinity()[0]


def test_threads_take_turns_without_interrupting_each_other() -> None:
    def policy() -> int:
        pinning.take_turns()
        return os.sched_getscheduler(0)

    worker = Worker(policy)  # a process of its own: the tests' stays as it is
    try:
        assert worker.result() == os.SCHED_BATCH
    finally:
        worker.close()


@pytest.mark.parametrize(
    ("contents", "leads", "alone"),
    [
        ({"proc/sys/kernel/sched_autogroup_enabled": "1\n"}, True, True),
        ({"proc/sys/kernel/sched_autogroup_enabled": "1\n"}, False, False),
        ({"proc/sys/kernel/sched_autogroup_enabled": "0\n"}, True, False),
        ({}, True, False),
    ],
)
def test_a_worker_of_a_service_has_a_session_of_its_own(
    tmp_path: Path, contents: dict[str, str], leads: bool, alone: bool
) -> None:
    def has_its_own() -> bool:
        pinning.own_share(os.getsid(0) if leads else os.getpid(), files(tmp_path, contents))
        return os.getsid(0) == os.getpid()

    worker = Worker(has_its_own)
    try:
        assert worker.result() is alone
    finally:
        worker.close()


def test_a_process_that_leads_its_session_stays_as_it_is(tmp_path: Path) -> None:
    def twice() -> int:
        root = files(tmp_path, {"proc/sys/kernel/sched_autogroup_enabled": "1\n"})
        pinning.own_share(os.getsid(0), root)
        pinning.own_share(os.getsid(0), root)
        return os.getsid(0) - os.getpid()

    worker = Worker(twice)
    try:
        assert worker.result() == 0
    finally:
        worker.close()
