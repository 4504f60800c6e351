"""What `setup: inventory:configure` runs: every instance of inventory.txt is registered, every other one removed."""

from __future__ import annotations

import os
from pathlib import Path

from gateway.watch.setup import CodeRegistry

INVENTORY = Path(os.environ.get("INVENTORY") or Path(__file__).with_name("inventory.txt"))


def configure(registry: CodeRegistry) -> None:
    """Called once after the start, in a thread beside the requests. What it raises is logged as `setup_failed`."""
    wanted = set()
    for line in INVENTORY.read_text().splitlines():
        if line.strip() and not line.startswith("#"):
            service, id, address, *weight = line.split()
            registry.register(service, id, address, weight=int(weight[0]) if weight else 1)
            wanted.add((service, id))
    # Registrations outlive a restart, so what the inventory listed before is still there.
    for service, ids in registry.services().items():
        for id in ids:
            if (service, id) not in wanted:
                registry.deregister(service, id)
