"""Rules for the shared state."""

from __future__ import annotations

from ..document import Document
from ..model import SMALLEST_STATE, Config
from ..quantities import format_size


def there_is_room(config: Config, document: Document) -> None:
    """What the node engine would refuse at the start is refused before it."""
    path = ("state", "max_size")
    if config.state.engine == "node" and config.state.max_size < SMALLEST_STATE and document.sound(*path):
        allowed = f"{format_size(SMALLEST_STATE)} or more"
        document.refuse(path, "too small for the node engine", found=document.found(*path), allowed=allowed)


def one_process_has_one_memory(config: Config, document: Document) -> None:
    if config.state.engine == "memory" and config.server.workers != 1:
        why = "each worker has registrations, breakers and counters of its own, which the others do not see"
        document.warn(("state", "engine"), why, likely="server: {workers: 1}")
