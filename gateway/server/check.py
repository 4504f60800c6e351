"""`python -m gateway.server.check FILE [--json]`: what a start examines, without starting. It is `gateway check`."""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

from gateway.config.problems import ConfigErrors, Problem
from gateway.server.examine import EX_CONFIG, examine


def main(arguments: list[str] | None = None) -> int:
    """Returns the exit status: 0, or 78 when the configuration cannot be used."""
    parser = argparse.ArgumentParser(prog="gateway check")
    parser.add_argument("file", type=Path)
    parser.add_argument("--json", action="store_true")
    chosen = parser.parse_args(arguments)
    errors: tuple[Problem, ...] = ()
    warnings: tuple[Problem, ...] = ()
    said = ""
    try:
        config = examine(chosen.file)
    except ConfigErrors as found:
        errors = found.problems
    else:
        warnings = config.warnings
        said = f"{chosen.file}: valid, {len(config.routes)} routes, {len(config.services)} services"
    if chosen.json:
        print(json.dumps({"ok": not errors, "errors": _told(errors), "warnings": _told(warnings)}))
    else:
        for problem in errors:
            print(problem, file=sys.stderr)
        for problem in warnings:
            print(f"{problem} (warning)", file=sys.stderr)
        if said:
            print(said)
    return EX_CONFIG if errors else 0


def _told(problems: tuple[Problem, ...]) -> list[dict[str, Any]]:
    return [{**asdict(problem), "message": problem.message} for problem in problems]


if __name__ == "__main__":
    sys.exit(main())
