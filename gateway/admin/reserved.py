"""Routes that no request can reach, because the admin API or /metrics answers their path before them."""

from __future__ import annotations

from gateway.config.document import Document
from gateway.config.model import Config

from .table import tables


def nothing_is_reserved(config: Config, document: Document) -> None:
    """Refuse a route whose every listener answers its path itself; warn of one that is left with another listener."""
    if not document.sound("admin") or not document.sound("metrics"):
        return
    carried = tables(config.admin, config.metrics)
    for number, route in enumerate(config.routes):
        if not document.sound("routes", number):
            continue
        pattern = document.pattern(route.path)
        if pattern.kind not in ("exact", "template"):
            continue
        # What stands for a variable of the route is a segment that only a variable of the admin API matches.
        path = "/" + "/".join("{}" if segment is None else segment for segment in pattern.segments)
        found = {plane: carried[plane].find(path) for plane in route.listeners if plane in carried}
        taken = {plane: resource[0].path for plane, resource in found.items() if resource is not None}
        if not taken:
            continue
        where = " and ".join(sorted(taken))
        answered = f"there the gateway itself answers {next(iter(taken.values()))}"
        if len(taken) == len(set(route.listeners)):
            listed = f"its listener is {where}" if len(taken) == 1 else f"its listeners are {where}"
            document.refuse(("routes", number), f"no request can match: {listed}, and {answered}")
        else:
            document.warn(("routes", number), f"no request can match on the {where} listener: {answered}")
