"""What the master makes once, before the first fork, and every worker of every generation inherits."""

from __future__ import annotations

import contextlib
import resource
from dataclasses import dataclass
from typing import Any

from gateway.config.model import Config
from gateway.server.handover import Handover
from gateway.state.control import ControlPage


@dataclass(frozen=True, slots=True)
class Shared:
    """page: the master's word to its workers. handover: where their idle connections change hands.

    segment_fd: the node engine's shared memory, None with another engine. folder: kept for its lock, which makes the
    state folder this gateway's.
    """

    page: ControlPage
    handover: Handover
    segment_fd: int | None = None
    folder: Any = None


def prepare(config: Config) -> Shared:
    """Make the state folder and the shared memory ready, without opening the engine. StateError: they cannot be had."""
    if config.state.engine == "memory":
        return Shared(ControlPage(), Handover())
    from gateway.state.engines import node  # Linux only

    folder = node.prepare(config.state.path, config.state.max_size)
    segment_fd = node.create_segment(config.state.max_size)
    return Shared(ControlPage(), Handover(), segment_fd, folder)


def raise_file_limit() -> None:
    """Let workers have as many descriptors as the system allows: each client and backend connection is one."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != resource.RLIM_INFINITY and soft < hard:
        with contextlib.suppress(ValueError, OSError):  # what the system allows may be less than it says
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
