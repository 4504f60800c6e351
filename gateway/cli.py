"""The command `gateway`."""

from __future__ import annotations

import argparse
import json
import os
import signal
import sys
from collections.abc import Sequence
from dataclasses import asdict
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NoReturn

if TYPE_CHECKING:
    from gateway.config.problems import Problem

DEFAULT: Final = "conf/gateway.yaml"
EX_CONFIG: Final = 78  # sysexits.h: the configuration cannot be used


def main(arguments: Sequence[str] | None = None) -> int:
    """Returns the exit status: 0, 1 for a failure, 2 for wrong usage, 78 for a configuration that cannot be used."""
    own = list(sys.argv[1:] if arguments is None else arguments)
    behind: list[str] = []
    if "--" in own:
        own, behind = own[: own.index("--")], own[own.index("--") + 1 :]
    parser = _parser()
    chosen = parser.parse_args(own)
    if behind and chosen.run is not _run:
        parser.error("only run passes options on")
    chosen.gunicorn = behind
    try:
        status: int = chosen.run(chosen)
        sys.stdout.flush()
    except BrokenPipeError:  # `gateway routes | head` has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # nor may the interpreter's last flush fail
        return 1
    return status


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="gateway", description="An API gateway: one YAML file, gunicorn, SIGHUP.")
    commands = parser.add_subparsers(required=True, metavar="COMMAND", title="commands")

    run = _command(commands, "run", _run, "serve a configuration with gunicorn", file=True)
    run.add_argument("--workers", "-w", type=int, metavar="N", help="processes, instead of server.workers")
    run.add_argument(
        "--reload", action="store_true", help="SIGHUP after an edit of the configuration, restart after one of code"
    )
    run.usage = "gateway run [-h] [--workers N] [--reload] [FILE] [-- GUNICORN_OPTION ...]"

    check = _command(commands, "check", _check, "examine a configuration as a start does: exit 0 or 78", file=True)
    check.add_argument("--json", action="store_true", help="errors and warnings as JSON, for editors")

    _command(commands, "reload", _reload, "have the running gateway take up its edited configuration", file=True)

    routes = _command(commands, "routes", _routes, "print the routes in the order in which they are matched", file=True)
    routes.add_argument("--json", action="store_true", help="the same as JSON")

    _command(commands, "schema", _schema, "print the JSON Schema of the configuration")

    demo = _command(commands, "demo", _demo, "serve with two echo backends, to try it out", file=True)
    demo.add_argument("--reload", action="store_true", help="as for run")

    _command(commands, "version", _version, "print the version")
    return parser


def _command(commands: Any, name: str, run: Any, help: str, *, file: bool = False) -> argparse.ArgumentParser:
    parser: argparse.ArgumentParser = commands.add_parser(name, help=help, description=f"{help[0].upper()}{help[1:]}.")
    parser.set_defaults(run=run)
    if file:
        parser.add_argument(
            "file",
            nargs="?",
            type=Path,
            metavar="FILE",
            default=Path(os.environ.get("GATEWAY_CONFIG") or DEFAULT),
            help=f"the configuration; $GATEWAY_CONFIG or {DEFAULT} when left out",
        )
    return parser


def _run(chosen: argparse.Namespace) -> int:
    command = [sys.executable, "-m", "gunicorn", "-c", "python:gateway.server.gunicorn_conf", "gateway.wsgi:app"]
    if chosen.workers is not None:
        command += ["--workers", str(chosen.workers)]
    command += chosen.gunicorn
    env = {**os.environ, "GATEWAY_CONFIG": str(chosen.file.absolute())}
    if chosen.reload:
        from gateway.dev.reload import Supervisor, code_of, configuration_of

        configuration, code = configuration_of(chosen.file.absolute()), code_of(Path.cwd())
        return Supervisor(command, env, configuration=configuration, code=code).run()
    # Ignored signals stay ignored over exec: a SIGHUP before gunicorn has its handler must not end the start.
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    return _exec(command, env)


def _exec(command: list[str], env: dict[str, str]) -> NoReturn:
    sys.stdout.flush()
    sys.stderr.flush()
    os.execve(command[0], command, env)  # noqa: S606  # our own interpreter; it is to take this process's place


def _check(chosen: argparse.Namespace) -> int:
    from gateway.admin.reserved import nothing_is_reserved
    from gateway.config.examine import examine
    from gateway.config.problems import ConfigErrors

    sys.path.insert(0, os.getcwd())  # as gunicorn does, for the modules that the configuration names
    errors: Sequence[Problem] = ()
    warnings: Sequence[Problem] = ()
    try:
        config = examine(chosen.file, also=(nothing_is_reserved,))
    except ConfigErrors as found:
        errors = found.problems
    else:
        warnings = config.warnings
    if chosen.json:
        told = {"ok": not errors, "errors": list(map(_told, errors)), "warnings": list(map(_told, warnings))}
        print(json.dumps(told, indent=2))
    else:
        for problem in errors:
            print(problem, file=sys.stderr)
        for problem in warnings:
            print(f"{problem} (warning)", file=sys.stderr)
        if not errors:
            print(f"{chosen.file}: valid, {len(config.routes)} routes, {len(config.services)} services")
    return EX_CONFIG if errors else 0


def _told(problem: Problem) -> dict[str, Any]:
    return {**asdict(problem), "message": problem.message}


def _reload(chosen: argparse.Namespace) -> int:
    from gateway.reloading import reload

    status, text = reload(chosen.file)
    print(text, file=sys.stderr if status else sys.stdout)
    return status


def _routes(chosen: argparse.Namespace) -> int:
    from gateway.config.load import load
    from gateway.config.problems import ConfigErrors
    from gateway.routing.table import rows

    try:
        config = load(chosen.file)
    except ConfigErrors as errors:
        print(errors, file=sys.stderr)
        return EX_CONFIG
    table = rows(config.routes)
    if chosen.json:
        print(json.dumps({"routes": table}, indent=2))
    else:
        _print_columns([("LISTENERS", "HOSTS", "PATH", "METHODS", "HEADERS", "TO", "ID"), *map(_shown, table)])
    return 0


def _shown(row: dict[str, Any]) -> tuple[str, ...]:
    if row["fixed_response"]:
        target = f"status {row['fixed_response']['status']}"
    elif row["split"]:
        target = ", ".join(f"{share['service']} {share['weight']}" for share in row["split"])
    else:
        target = row["service"] or "-"
    return (
        ", ".join(row["listeners"]),
        ", ".join(row["hosts"]) or "any",
        row["path"],
        ", ".join(row["methods"]) or "any",
        ", ".join(f"{name}: {value}" for name, value in row["headers"].items()) or "any",
        target,
        row["id"],
    )


def _print_columns(rows: Sequence[Sequence[str]]) -> None:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        print("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())


def _schema(chosen: argparse.Namespace) -> int:
    from gateway.config.schema import schema

    print(json.dumps(schema(), indent=2))
    return 0


def _demo(chosen: argparse.Namespace) -> int:
    from gateway.dev.demo import run

    return run(chosen.file, options=["--reload"] if chosen.reload else [])


def _version(chosen: argparse.Namespace) -> int:
    print(metadata.version("gateway"))
    return 0


if __name__ == "__main__":
    sys.exit(main())
