"""Which CPUs there are for the workers, which one each worker is pinned to, how its threads take turns there, and whose
share of it they have.

Threads that share one interpreter lock and run on two CPUs fight over it: a worker that is pinned to one CPU serves
nearly twice the requests. With a cgroup CPU quota there is no pinning by itself: the kernel stops the whole group when
the quota is used up, and a worker that cannot move would then wait for its CPU as well.
"""

from __future__ import annotations

import contextlib
import math
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Literal


def affinity() -> tuple[int, ...]:
    """The CPUs that this process may run on, in order."""
    if hasattr(os, "sched_getaffinity"):
        return tuple(sorted(os.sched_getaffinity(0)))
    return tuple(range(os.cpu_count() or 1))


def quota(root: Path = Path("/")) -> float | None:
    """CPUs' worth of time that the cgroups of this process allow, None without a limit.

    Reads version 2 (`cpu.max`, the tightest of the group and those above it) and version 1 (`cpu.cfs_quota_us`).
    `root` stands for the file system's root.
    """
    limits: list[float] = []
    with contextlib.suppress(OSError):
        for line in (root / "proc/self/cgroup").read_text().splitlines():
            number, controllers, group = line.split(":", 2)
            if number == "0" and not controllers:
                for mount in ("sys/fs/cgroup", "sys/fs/cgroup/unified"):
                    limits += [limit for path in _up(root / mount, group) if (limit := _version2(path))]
            elif "cpu" in controllers.split(","):
                for mount in ("sys/fs/cgroup/cpu", f"sys/fs/cgroup/{controllers}"):
                    limits += [limit for path in _up(root / mount, group) if (limit := _version1(path))]
    return min(limits, default=None)


def usable_cpus(root: Path = Path("/")) -> tuple[int, ...]:
    """As many of the process's CPUs as it can keep busy: min(affinity, ceil(quota)), at least one."""
    cpus = affinity()
    limit = quota(root)
    return cpus if limit is None else cpus[: max(1, math.ceil(limit))]


def cpu_for(
    slot: int,
    workers: int,
    setting: bool | Literal["auto"],
    *,
    cpus: Sequence[int] | None = None,
    limit: float | None = None,
) -> int | None:
    """The CPU for the worker in `slot`, None to leave it to the scheduler.

    setting: `server.pin_cpus`. "auto" pins when there is a CPU for each of the `workers` and no quota.
    cpus, limit: the affinity and the quota, when the caller knows them; a worker that is pinned no longer does.
    """
    if cpus is None:
        cpus, limit = affinity(), quota()
    if setting is False or (setting == "auto" and (limit is not None or workers > len(cpus))):
        return None
    return cpus[slot % len(cpus)]


def pin(cpu: int) -> None:
    """Keep this process, and the threads it starts from now on, on one CPU. OSError when it may not run there."""
    os.sched_setaffinity(0, {cpu})


def take_turns() -> None:
    """Let no thread of this process interrupt another one when it is woken (SCHED_BATCH, sched(7)).

    A thread whose socket has become ready can do nothing before it has the interpreter lock, which the interrupted one
    holds: each such interruption costs two switches for nothing. Shares of CPU time stay as they are. Threads started
    from now on do the same. Without effect where the kernel has no such policy or does not allow it.
    """
    if hasattr(os, "SCHED_BATCH"):
        with contextlib.suppress(OSError):
            os.sched_setscheduler(0, os.SCHED_BATCH, os.sched_param(0))


def own_share(master: int, root: Path = Path("/")) -> None:
    """Give this process a CPU share of its own, where the kernel shares CPUs out by session (sched(7), autogroup) and
    the master leads a session, as a service or a container does. `master`: its process id.

    Otherwise all workers together have one service's share. On a busy machine they are over it, and then each answer of
    a backend beside them interrupts them, often with the interpreter lock in hand. In a terminal's session they stay:
    its signals are for them as well.
    """
    try:
        by_session = (root / "proc/sys/kernel/sched_autogroup_enabled").read_text().strip() == "1"
        if by_session and os.getsid(0) == master:
            os.setsid()
    except OSError:  # another system, or this process leads a group already
        return


def _up(mount: Path, group: str) -> list[Path]:
    """The group's folder and those above it. In a container without its own cgroup namespace only the mount exists."""
    folders = [mount]
    for part in Path(group).parts:
        if part not in ("/", ".."):
            folders.append(folders[-1] / part)
    return folders


def _version2(folder: Path) -> float | None:
    with contextlib.suppress(OSError, ValueError):
        allowed, period = (folder / "cpu.max").read_text().split()
        if allowed != "max":
            return int(allowed) / int(period)
    return None


def _version1(folder: Path) -> float | None:
    with contextlib.suppress(OSError, ValueError):
        allowed = int((folder / "cpu.cfs_quota_us").read_text())
        if allowed > 0:
            return allowed / int((folder / "cpu.cfs_period_us").read_text())
    return None
