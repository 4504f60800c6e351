"""What the master does once so that no process that it forks has to: on a machine without an idle moment every
millisecond of a child's work delays a reload by ten.
"""

from __future__ import annotations

from gateway import plugin
from gateway.config.model import Config
from gateway.config.shape import shape_of
from gateway.upstream import balancers


def preload() -> None:
    """Import the plug points' kinds that every worker imports, and derive what examining a configuration needs.

    Modules that the configuration names are not among it: those are imported in the children alone.
    """
    shape_of(Config)
    plugin.load_all(balancers)
